// A safetensors file: the whole input.

#include <torch/types.h>

#include "compress/checkpoint/safetensors.h"
#include "compress/state_dict/state_dict.h"
#include "tests/fuzz/fuzzing.h"

using namespace compression;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzzing::Folder folder;
  const auto path = folder.write("model.safetensors", {reinterpret_cast<const char*>(data), size});
  fuzzing::allow_errors([&] {
    const auto file = SafetensorsFile::open(path);
    const auto tensors = read_tensors(file);
    write_safetensors(folder.path() / "again.safetensors", tensors, file.metadata());
    const auto again = SafetensorsFile::open(folder.path() / "again.safetensors");
    for (const auto& [name, tensor] : tensors) {
      const auto other = read_tensor(again, name);
      if (other.sizes() != tensor.sizes() || other.nbytes() != tensor.nbytes() ||
          (tensor.nbytes() > 0 && std::memcmp(other.data_ptr(), tensor.data_ptr(), tensor.nbytes()) != 0)) {
        fuzzing::finding("a tensor that is another one when it is written and read again: " + name);
      }
    }
  });
  return 0;
}
