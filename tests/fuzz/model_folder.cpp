// A folder with a model, and a text that it is asked of: config.json, vocab.txt or tokenizer.json and the text, each up
// to a separator; then model.safetensors.

#include "compress/pipeline/pipeline.h"
#include "tests/fuzz/fuzzing.h"

using namespace compression;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzzing::Folder folder;
  folder.clear();
  fuzzing::Input input(data, size);
  folder.write("config.json", input.part());
  const auto vocabulary = input.part();
  folder.write(vocabulary.starts_with('{') ? "tokenizer.json" : "vocab.txt", vocabulary);
  const std::string text(input.part());
  folder.write("model.safetensors", input.rest());
  fuzzing::allow_errors([&] {
    const auto pipeline = Pipeline::load(folder.path());
    const TextInput texts[] = {{.text = text}};
    for (const auto& prediction : pipeline.run(texts)) pipeline.answer(prediction, texts[0]);
  });
  return 0;
}
