// One byte: vocab.txt, or vocab.json with merges.txt. Then the parts of the input: the files, tokenizer_config.json,
// special_tokens_map.json, and a text.

#include "compress/families/families.h"
#include "compress/tokenizer/tokenizer_settings.h"
#include "compress/tokenizer/vocabulary_files.h"
#include "tests/fuzz/tokenizers.h"

using namespace compression;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzzing::Folder folder;
  folder.clear();
  fuzzing::Input input(data, size);
  const bool of_lines = input.byte() % 2 == 0;
  const auto path = folder.write(of_lines ? "vocab.txt" : "vocab.json", input.part());
  if (!of_lines) folder.write("merges.txt", input.part());
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    if (const auto settings = input.part(); !settings.empty()) folder.write(name, settings);
  }
  fuzzing::allow_errors([&] {
    const TokenizerSettings settings(folder.path(), tokenizer_classes());
    fuzzing::encode_texts(of_lines ? read_vocab_txt(path, settings) : read_vocab_json(path, settings), folder.path(),
                          input.rest());
  });
  return 0;
}
