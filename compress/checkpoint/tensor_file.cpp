#include "compress/checkpoint/tensor_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "compress/base/error.h"      // CheckpointError
#include "compress/base/fields.h"     // enum_name
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

std::string_view TensorFile::encoding(const std::string& name) const {
  return enum_name(info(name).dtype);
}

void TensorFile::read(const std::string& name, std::span<std::byte> memory) const {
  const auto& tensor = info(name);
  const HostTensor numbers{.dtype = tensor.dtype, .shape = tensor.shape};
  if (memory.size() != static_cast<size_t>(numbers.bytes()))
    throw std::invalid_argument("read: memory of another size");
  if (!memory.empty()) fill(name, tensor, memory);
}

HostTensor TensorFile::read_rows(const std::string& name, int64_t first, int64_t rows) const {
  auto part = info(name);
  if (part.shape.empty() || first < 0 || rows < 0 || first + rows > part.shape.front()) {
    throw std::invalid_argument("read_rows: rows that the tensor has not");
  }
  const auto row_bytes = (part.end - part.begin) / static_cast<uint64_t>(std::max<int64_t>(part.shape.front(), 1));
  part.begin += static_cast<uint64_t>(first) * row_bytes;
  part.end = part.begin + static_cast<uint64_t>(rows) * row_bytes;
  part.shape.front() = rows;
  auto [numbers, memory] = new_tensor(part.dtype, part.shape);
  if (numbers.bytes() > 0) {
    fill(name, part, {reinterpret_cast<std::byte*>(memory), static_cast<size_t>(numbers.bytes())});
  }
  return numbers;
}

HostTensor TensorFile::read(const std::string& name) const {
  const auto& tensor = info(name);
  auto [numbers, memory] = new_tensor(tensor.dtype, tensor.shape);
  read(name, {reinterpret_cast<std::byte*>(memory), static_cast<size_t>(numbers.bytes())});
  return numbers;
}

}  // namespace compression
