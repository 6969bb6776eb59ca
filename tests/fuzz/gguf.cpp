// A GGUF file, its tensors and its tokenizer: the whole input.

#include "compress/checkpoint/gguf.h"

#include "compress/tokenizer/gguf_tokenizer.h"
#include "tests/fuzz/tokenizers.h"

using namespace compression;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzzing::Folder folder;
  const auto path = folder.write("model.gguf", {reinterpret_cast<const char*>(data), size});
  fuzzing::allow_errors([&] {
    const auto file = GgufFile::open(path);
    for (const auto& [name, info] : file.tensors()) {
      if (!file.read(name).defined()) fuzzing::finding("a tensor without numbers: " + name);
    }
    fuzzing::encode_texts(read_gguf_tokenizer(file.metadata(), path), folder.path(), "I'm  he\r\n re 2024 <x>");
  });
  return 0;
}
