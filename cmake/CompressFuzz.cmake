# What the libraries of the fuzz build (preset `fuzz`) have: libFuzzer's coverage, AddressSanitizer and UBSan, and one thread.
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "found ${CMAKE_CXX_COMPILER_ID}, expected Clang, whose libFuzzer the fuzz targets need")
endif()
add_compile_options(-O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize=vptr
                    -fno-sanitize-recover=undefined)
add_link_options(-fsanitize=address,undefined)

# The kernels' threads are libgomp's, as LibTorch's are; Clang has a runtime of its own, of which two must not meet, and does
# not read the header of GCC. Without -fopenmp a team is one thread.
set(openmp "")
file(WRITE ${CMAKE_BINARY_DIR}/one-thread/omp.h
     "#pragma once\ninline int omp_get_thread_num() { return 0; }\ninline int omp_get_num_threads() { return 1; }\n"
     "inline int omp_get_num_procs() { return 1; }\n"
     "inline int omp_get_max_threads() { return 1; }\ninline int omp_in_parallel() { return 0; }\ninline void omp_set_num_threads(int) {}\n")
include_directories(${CMAKE_BINARY_DIR}/one-thread)
add_compile_definitions(HWY_COMPILE_ONLY_STATIC)  # one set of kernels is enough
