// One byte, in eights the bytes of each record; then the data.pkl of a TorchScript file. What check_pickle() lets pass
// is read by LibTorch's Unpickler, and every tensor of it is gone through.

#include <ATen/Context.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/serialization/unpickler.h>
#include <torch/types.h>

#include "export/archive.h"
#include "tests/fuzz/fuzzing.h"

using namespace compression;

namespace {

struct SameSize : exporter::Records {
  int64_t bytes;
  int64_t size(std::string_view) const override { return bytes; }
};

/// Reads the first and the last byte of each element.
void touch(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.numel() == 0 || tensor.numel() > 4096) return;
  const auto* base = static_cast<const char*>(tensor.data_ptr());
  const auto item = static_cast<int64_t>(tensor.element_size());
  std::vector<int64_t> index(static_cast<size_t>(tensor.dim()));
  volatile char sum = 0;
  for (int64_t n = 0; n < tensor.numel(); ++n) {
    int64_t at = 0, left = n;
    for (int64_t d = tensor.dim(); d-- > 0;) {
      at += left % tensor.size(d) * tensor.stride(d);
      left /= tensor.size(d);
    }
    sum = static_cast<char>(sum + base[at * item] + base[at * item + item - 1]);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzzing::Input input(data, size);
  SameSize records;
  records.bytes = input.byte() * int64_t{8};
  const auto pickle = input.rest();
  fuzzing::allow_errors([&] {
    exporter::check_pickle(pickle, records, "data.pkl");
    size_t at = 0;
    const auto read = [&](char* to, size_t count) {
      count = std::min(count, pickle.size() - at);
      std::memcpy(to, pickle.data() + at, count);
      at += count;
      return count;
    };
    const auto no_type = [](const c10::QualifiedName&) -> c10::StrongTypePtr { throw std::runtime_error("no class"); };
    const auto no_object = [](const c10::StrongTypePtr&,
                              const c10::IValue&) -> c10::intrusive_ptr<c10::ivalue::Object> {
      throw std::runtime_error("no object");
    };
    const auto record = [&](const std::string&) {
      auto bytes = at::getCPUAllocator()->allocate(static_cast<size_t>(records.bytes));
      std::memset(bytes.get(), 0, static_cast<size_t>(records.bytes));
      return bytes;
    };
    try {
      torch::jit::Unpickler unpickler(read, no_type, no_object, record, at::kCPU);
      const auto value = unpickler.parse_ivalue();
      c10::IValue::HashAliasedIValues parts;
      value.getSubValues(parts);
      for (const auto& part : parts) {
        if (part.isTensor()) touch(part.toTensor());
      }
    } catch (const std::exception&) {  // its own answer
    }
  });
  return 0;
}
