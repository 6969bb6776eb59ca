# Finds LibTorch where CMAKE_PREFIX_PATH has one, else in LibTorch_HINTS, else in .venv; defines libtorch::libtorch.
# Installed with the package, for those who use it.
#
# TorchConfig.cmake is not used: that of a CUDA build demands a CUDA toolkit even for a program that never calls nvcc.
# The libraries are linked directly; a CUDA build's own are linked where they are there, so that CUDA devices work.
set(_roots ${CMAKE_PREFIX_PATH} $ENV{CMAKE_PREFIX_PATH})
string(REPLACE ":" ";" _roots "${_roots}")
list(TRANSFORM _roots REPLACE "/share/cmake/*$" "")  # torch.utils.cmake_prefix_path ends so
file(GLOB _venv "${CMAKE_CURRENT_LIST_DIR}/../.venv/lib/python3*/site-packages/torch")
find_path(LibTorch_ROOT_DIR share/cmake/Torch/TorchConfig.cmake HINTS ${_roots} ${LibTorch_HINTS} ${_venv} NO_CACHE)

set(LibTorch_VERSION "")
if(LibTorch_ROOT_DIR)
  file(GLOB_RECURSE _header "${LibTorch_ROOT_DIR}/include/torch/csrc/api/include/torch/version.h"
       "${LibTorch_ROOT_DIR}/include/torch/headeronly/version.h")
  foreach(_h IN LISTS _header)
    file(STRINGS "${_h}" _lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
    if(_lines)
      string(REGEX REPLACE "[^0-9;]" "" _numbers "${_lines}")
      string(REPLACE ";" "." LibTorch_VERSION "${_numbers}")
    endif()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_ROOT_DIR VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "name the folder of a LibTorch in CMAKE_PREFIX_PATH (in compress's sources, scripts/setup.sh installs one)")

if(LibTorch_FOUND AND NOT TARGET libtorch::libtorch)
  set(_lib "${LibTorch_ROOT_DIR}/lib")
  set(_libraries "")
  foreach(_name torch torch_cpu c10 torch_cuda c10_cuda)
    if(EXISTS "${_lib}/lib${_name}.so")
      add_library(libtorch::${_name} SHARED IMPORTED)
      set_target_properties(libtorch::${_name} PROPERTIES IMPORTED_LOCATION "${_lib}/lib${_name}.so")
      list(APPEND _libraries libtorch::${_name})
    endif()
  endforeach()

  # LibTorch ships fmt headers of its own that would shadow the ones spdlog was built with: a folder with only a link to
  # the system's goes first.
  find_path(LibTorch_FMT_INCLUDE_DIR fmt/core.h PATHS /usr/include NO_DEFAULT_PATH NO_CACHE)
  if(NOT LibTorch_FMT_INCLUDE_DIR)
    find_path(LibTorch_FMT_INCLUDE_DIR fmt/core.h NO_CACHE)
  endif()
  set(_shim "")
  if(LibTorch_FMT_INCLUDE_DIR)
    set(_shim "${CMAKE_BINARY_DIR}/fmt-first")
    file(MAKE_DIRECTORY "${_shim}")
    file(CREATE_LINK "${LibTorch_FMT_INCLUDE_DIR}/fmt" "${_shim}/fmt" SYMBOLIC)
  endif()

  add_library(libtorch::libtorch INTERFACE IMPORTED)
  target_include_directories(libtorch::libtorch SYSTEM BEFORE INTERFACE
    ${_shim} "${LibTorch_ROOT_DIR}/include" "${LibTorch_ROOT_DIR}/include/torch/csrc/api/include")
  target_link_libraries(libtorch::libtorch INTERFACE -Wl,--no-as-needed ${_libraries} -Wl,--as-needed)
endif()
