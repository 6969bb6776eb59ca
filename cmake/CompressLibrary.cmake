# compress_library(NAME [SHARED] [PLAIN] SOURCES ... HEADERS ... DEPENDS ... [PRIVATE ...])
#
# One folder's library, static unless it is said to be shared; PLAIN: compiled and linked without LibTorch. Target
# compress_NAME, alias compress::NAME, installed with its headers under the same paths that the #include lines use, below
# include/compress. DEPENDS shows the edges of docs/architecture.md.
function(compress_library name)
  cmake_parse_arguments(arg "SHARED;PLAIN" "" "SOURCES;HEADERS;DEPENDS;PRIVATE" ${ARGN})
  set(target compress_${name})
  if(arg_SHARED)
    add_library(${target} SHARED ${arg_SOURCES})
  else()
    add_library(${target} STATIC ${arg_SOURCES})
  endif()
  add_library(compress::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/compress>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${arg_DEPENDS} PRIVATE ${arg_PRIVATE})
  target_link_options(${target} INTERFACE ${openmp})
  if(arg_PLAIN)
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:compress_warnings> $<BUILD_INTERFACE:compress_openmp>)
  else()
    compress_use(${target})
  endif()
  install(TARGETS ${target} EXPORT compress-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  foreach(header IN LISTS arg_HEADERS)
    cmake_path(GET header PARENT_PATH folder)
    cmake_path(RELATIVE_PATH CMAKE_CURRENT_SOURCE_DIR BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE root)
    install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/compress/${root}/${folder})
  endforeach()
endfunction()

# What every target of the build shares: warnings, libraries and the precompiled header.
function(compress_use target)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:compress_common>)
  target_precompile_headers(${target} REUSE_FROM compress_pch)
endfunction()
