// A tokenizer.json, and behind a separator a tokenizer_config.json and a text.

#include "compress/tokenizer/tokenizer_json.h"
#include "compress/families/families.h"
#include "compress/tokenizer/tokenizer_settings.h"
#include "tests/fuzz/tokenizers.h"

using namespace compression;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzzing::Folder folder;
  folder.clear();
  fuzzing::Input input(data, size);
  const auto path = folder.write("tokenizer.json", input.part());
  if (const auto settings = input.part(); !settings.empty()) folder.write("tokenizer_config.json", settings);
  fuzzing::allow_errors([&] {
    const TokenizerSettings settings(folder.path(), tokenizer_classes());
    fuzzing::encode_texts(read_tokenizer_json(path, settings), folder.path(), input.rest());
  });
  return 0;
}
