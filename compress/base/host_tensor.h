#pragma once
// Tensors as files and kernels have them: numbers in memory, row by row, without LibTorch.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace compression {

enum class DType {
  float32,
  float64,
  float16,
  bfloat16,
  float8_e4m3,
  float8_e5m2,
  int8,
  uint8,
  int16,
  uint16,
  int32,
  uint32,
  int64,
  uint64,
  boolean
};

/// By the names of safetensors, in the order in which its reference library writes them.
constexpr std::array<std::pair<DType, std::string_view>, 15> enum_names(DType) {
  return {{{DType::uint64, "U64"},
           {DType::int64, "I64"},
           {DType::float64, "F64"},
           {DType::float32, "F32"},
           {DType::uint32, "U32"},
           {DType::int32, "I32"},
           {DType::bfloat16, "BF16"},
           {DType::float16, "F16"},
           {DType::uint16, "U16"},
           {DType::int16, "I16"},
           {DType::float8_e4m3, "F8_E4M3"},
           {DType::float8_e5m2, "F8_E5M2"},
           {DType::int8, "I8"},
           {DType::uint8, "U8"},
           {DType::boolean, "BOOL"}}};
}

/// Bytes of a number.
constexpr int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::float64:
    case DType::int64:
    case DType::uint64:
      return 8;
    case DType::float32:
    case DType::int32:
    case DType::uint32:
      return 4;
    case DType::float16:
    case DType::bfloat16:
    case DType::int16:
    case DType::uint16:
      return 2;
    case DType::float8_e4m3:
    case DType::float8_e5m2:
    case DType::int8:
    case DType::uint8:
    case DType::boolean:
      return 1;
  }
  return 0;
}

/// Immutable; copies share the numbers, whose owner `data` keeps alive.
struct HostTensor {
  DType dtype = DType::float32;
  std::vector<int64_t> shape = {};  // empty for a scalar
  std::shared_ptr<const void> data = nullptr;

  bool defined() const { return data != nullptr; }
  int64_t dim() const { return static_cast<int64_t>(shape.size()); }
  int64_t size(int64_t d) const { return shape.at(static_cast<size_t>(d)); }
  int64_t count() const {
    int64_t product = 1;
    for (const auto size : shape) product *= size;
    return product;
  }
  int64_t bytes() const { return count() * size_of(dtype); }

  /// The numbers as `T`, which the caller knows them to be.
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data.get());
  }
};

/// Zeros, and where they may be written. What is large has pages of its own, which nobody has touched yet, and which go
/// back to the system with the tensor. Throws std::bad_alloc.
std::pair<HostTensor, char*> new_tensor(DType dtype, std::vector<int64_t> shape);

/// A tensor whose numbers are read when they are asked for.
struct LazyTensor {
  DType dtype = DType::float32;
  std::vector<int64_t> shape = {};
  std::function<HostTensor()> numbers = {};  // of that dtype, and as many as the shape says; empty: there is no tensor

  LazyTensor() = default;
  LazyTensor(DType type, std::vector<int64_t> sizes, std::function<HostTensor()> read)
      : dtype(type), shape(std::move(sizes)), numbers(std::move(read)) {}
  LazyTensor(HostTensor tensor)  // NOLINT(google-explicit-constructor): one that is in memory is read already
      : dtype(tensor.dtype), shape(tensor.shape) {
    if (tensor.defined()) numbers = [tensor = std::move(tensor)] { return tensor; };
  }

  bool defined() const { return numbers != nullptr; }
  HostTensor read() const {
    auto tensor = numbers();
    tensor.shape = shape;
    return tensor;
  }
};

/// The first NaN or infinity of a tensor of floats of 16 bits or more: "nan at [3, 5]"; empty where there is none.
/// `first_row`: where the tensor begins in that which it is rows of.
std::string not_finite(const HostTensor& tensor, int64_t first_row = 0);

}  // namespace compression
