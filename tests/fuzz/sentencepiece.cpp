// One byte, the tokenizer class; then a sentencepiece model.

#include "compress/families/families.h"
#include "compress/tokenizer/tokenizer_settings.h"
#include "compress/tokenizer/vocabulary_files.h"
#include "tests/fuzz/tokenizers.h"

using namespace compression;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzzing::Folder folder;
  folder.clear();
  fuzzing::Input input(data, size);
  const char* const classes[] = {"", "XLMRobertaTokenizer", "CamembertTokenizer", "AlbertTokenizer",
                                 "DebertaV2Tokenizer"};
  const std::string name = classes[input.byte() % std::size(classes)];
  if (!name.empty()) folder.write("tokenizer_config.json", "{\"tokenizer_class\": \"" + name + "\"}");
  const auto path = folder.write("tokenizer.model", input.rest());
  fuzzing::allow_errors([&] {
    const TokenizerSettings settings(folder.path(), tokenizer_classes());
    fuzzing::encode_texts(read_sentencepiece(path, settings), folder.path(), input.rest());
  });
  return 0;
}
