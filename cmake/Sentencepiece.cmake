# sentencepiece_object(VARIABLE SOURCE FUNCTION)
#
# SOURCE and the sentencepiece library, of which scripts/setup.sh has put the sources into .deps, as one object file, in
# which all symbols are local but FUNCTION, which SOURCE defines. Linked as it is, the library would share FLAGS_minloglevel
# with LibTorch's c10, which has another type there, and its copies of protobuf and Abseil with whoever else has one.
set(COMPRESS_SENTENCEPIECE_DIR ${PROJECT_SOURCE_DIR}/.deps/sentencepiece CACHE PATH "Sources of sentencepiece 0.2.0")

function(sentencepiece_object variable source function)
  set(root ${COMPRESS_SENTENCEPIECE_DIR}/sentencepiece)
  if(NOT EXISTS ${root}/src/sentencepiece_processor.h)
    message(FATAL_ERROR "no sources of sentencepiece in ${root}: run scripts/setup.sh")
  endif()
  set(own bpe_model char_model error filesystem model_factory model_interface normalizer sentencepiece_processor
          unigram_model util word_model builtin_pb/sentencepiece.pb builtin_pb/sentencepiece_model.pb)
  list(TRANSFORM own PREPEND ${root}/src/)
  list(TRANSFORM own APPEND .cc)
  file(GLOB protobuf ${root}/third_party/protobuf-lite/*.cc)
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/sentencepiece/config.h.new
       "#define VERSION \"0.2.0\"\n#define PACKAGE \"sentencepiece\"\n#define PACKAGE_STRING \"sentencepiece\"\n")
  configure_file(${CMAKE_CURRENT_BINARY_DIR}/sentencepiece/config.h.new ${CMAKE_CURRENT_BINARY_DIR}/sentencepiece/config.h
                 COPYONLY)

  add_library(compress_sentencepiece OBJECT ${source} ${own} ${protobuf} ${root}/third_party/absl/flags/flag.cc)
  target_include_directories(compress_sentencepiece PRIVATE ${PROJECT_SOURCE_DIR})
  target_include_directories(compress_sentencepiece SYSTEM PRIVATE
    ${CMAKE_CURRENT_BINARY_DIR}/sentencepiece ${root} ${root}/src ${root}/src/builtin_pb ${root}/third_party
    ${root}/third_party/protobuf-lite)
  target_compile_definitions(compress_sentencepiece PRIVATE HAVE_PTHREAD=1 _USE_INTERNAL_STRING_VIEW)
  target_compile_options(compress_sentencepiece PRIVATE -w -pthread -fno-gnu-unique
                         $<$<BOOL:${COMPRESS_SANITIZE}>:-fno-sanitize=all>)
  set_target_properties(compress_sentencepiece PROPERTIES CXX_STANDARD 17 CXX_VISIBILITY_PRESET hidden
                                                          VISIBILITY_INLINES_HIDDEN ON)

  set(object ${CMAKE_CURRENT_BINARY_DIR}/sentencepiece.o)
  add_custom_command(OUTPUT ${object}
    COMMAND ${CMAKE_LINKER} -r --force-group-allocation -o ${object} $<TARGET_OBJECTS:compress_sentencepiece>
    COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=*${function}* ${object}
    DEPENDS compress_sentencepiece $<TARGET_OBJECTS:compress_sentencepiece>
    COMMAND_EXPAND_LISTS VERBATIM COMMENT "Hiding sentencepiece")
  set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  set(${variable} ${object} PARENT_SCOPE)
endfunction()
