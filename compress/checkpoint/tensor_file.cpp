#include "compress/checkpoint/tensor_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <stdexcept>

#include "compress/base/error.h"      // CheckpointError
#include "compress/base/file.h"       // InputFile
#include "compress/base/json_file.h"  // excerpt

namespace compression {

TensorFile::TensorFile(const std::filesystem::path& path) : file_(std::make_shared<const InputFile>(path)) {}

const std::filesystem::path& TensorFile::path() const {
  return file_->path();
}

const TensorInfo& TensorFile::info(const std::string& name) const {
  if (const auto found = tensors_.find(name); found != tensors_.end()) return found->second;
  throw CheckpointError(
      fmt::format("{}: found no tensor {}, expected one", path().string(), excerpt(nlohmann::json(name))));
}

void TensorFile::read(const std::string& name, std::span<std::byte> memory) const {
  const auto& tensor = info(name);
  const HostTensor numbers{.dtype = tensor.dtype, .shape = tensor.shape};
  if (memory.size() != static_cast<size_t>(numbers.bytes()))
    throw std::invalid_argument("read: memory of another size");
  if (!memory.empty()) fill(name, tensor, memory);
}

HostTensor TensorFile::read(const std::string& name) const {
  constexpr std::align_val_t alignment{64};  // as LibTorch's, for any instruction
  const auto& tensor = info(name);
  HostTensor numbers{.dtype = tensor.dtype, .shape = tensor.shape};
  const auto size = static_cast<size_t>(numbers.bytes());
  const std::shared_ptr<void> memory(::operator new(std::max<size_t>(size, 1), alignment),
                                     [](void* start) { ::operator delete(start, alignment); });
  read(name, {static_cast<std::byte*>(memory.get()), size});
  numbers.data = memory;
  return numbers;
}

}  // namespace compression
