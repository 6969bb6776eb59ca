# compress_library(NAME [SHARED | PLAIN [APART]] SOURCES ... HEADERS ... DEPENDS ... [PRIVATE ...])
#
# One folder's library, static unless it is said to be shared. PLAIN: without LibTorch; these are one shared library together,
# compress_plain, of which there is one copy in a process whoever else is linked to it; APART: a static one that is built on
# that. Target compress_NAME, alias compress::NAME, installed with its headers under the same paths that the #include lines
# use, below include/compress. DEPENDS shows the edges of docs/architecture.md.
function(compress_library name)
  cmake_parse_arguments(arg "SHARED;PLAIN;APART" "" "SOURCES;HEADERS;DEPENDS;PRIVATE" ${ARGN})
  set(target compress_${name})
  if(arg_APART)
    set(scope PUBLIC)
    set(package compress-targets)
    add_library(${target} STATIC ${arg_SOURCES})
    target_link_libraries(${target} PUBLIC ${arg_DEPENDS}
                          PRIVATE ${arg_PRIVATE} $<BUILD_INTERFACE:compress_warnings> $<BUILD_INTERFACE:compress_openmp>)
  elseif(arg_PLAIN)
    set(scope INTERFACE)
    set(package compress-runtime-targets)
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE compress_plain ${arg_DEPENDS})
    list(FILTER arg_DEPENDS EXCLUDE REGEX "^compress::")
    target_sources(compress_plain PRIVATE ${arg_SOURCES})
    target_link_libraries(compress_plain PRIVATE ${arg_DEPENDS} ${arg_PRIVATE})
  else()
    set(scope PUBLIC)
    set(package compress-targets)
    set(kind STATIC)
    if(arg_SHARED)
      set(kind SHARED)
    endif()
    add_library(${target} ${kind} ${arg_SOURCES})
    target_link_libraries(${target} PUBLIC ${arg_DEPENDS} PRIVATE ${arg_PRIVATE})
    compress_use(${target})
  endif()
  add_library(compress::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  compress_includes(${target} ${scope})
  target_link_options(${target} INTERFACE ${openmp})
  install(TARGETS ${target} EXPORT ${package} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  foreach(header IN LISTS arg_HEADERS)
    cmake_path(GET header PARENT_PATH folder)
    cmake_path(RELATIVE_PATH CMAKE_CURRENT_SOURCE_DIR BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE root)
    install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/compress/${root}/${folder})
  endforeach()
endfunction()

# Where the #include lines of our own begin, and the C++ of them.
function(compress_includes target scope)
  target_include_directories(${target} ${scope} $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                             $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/compress>)
  target_compile_features(${target} ${scope} cxx_std_20)
endfunction()

# What every target of the build shares: warnings, libraries and the precompiled header.
function(compress_use target)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:compress_common>)
  target_precompile_headers(${target} REUSE_FROM compress_pch)
endfunction()
