#include "compress/base/host_tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace compression {
namespace {

/// Bytes from which a tensor has pages of its own: in the allocator's, holes would stay where large ones were.
constexpr size_t own_pages = size_t{1} << 16;

std::shared_ptr<char> zeros(size_t bytes) {
  if (bytes >= own_pages) {
    void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
    return {static_cast<char*>(pages), [bytes](char* begin) { munmap(begin, bytes); }};
  }
  constexpr std::align_val_t alignment{64};  // as LibTorch's, for any instruction
  const auto size = std::max<size_t>(bytes, 8);
  std::shared_ptr<char> memory(static_cast<char*>(::operator new(size, alignment)),
                               [](char* begin) { ::operator delete(begin, alignment); });
  std::memset(memory.get(), 0, size);
  return memory;
}

/// A number is NaN or infinite where all bits of its exponent are set, and NaN where one of its fraction is as well.
template <class Bits>
std::string first_odd(const HostTensor& tensor, int64_t first_row, Bits exponent) {
  const auto* values = tensor.as<Bits>();
  const auto is_odd = [=](Bits bits) { return (bits & exponent) == exponent; };
  constexpr int64_t block = 4096;  // is looked at as a whole, in vectors
  const auto count = tensor.count();
  for (int64_t begin = 0; begin < count; begin += block) {
    const auto end = std::min(begin + block, count);
    Bits any = 0;
    for (auto i = begin; i < end; ++i) any = static_cast<Bits>(any | is_odd(values[i]));
    if (any == 0) continue;
    const auto* odd = std::find_if(values + begin, values + end, is_odd);
    std::vector<int64_t> place;
    auto rest = odd - values;
    for (auto d = tensor.dim() - 1; d >= 0; --d) {
      place.insert(place.begin(), rest % tensor.size(d));
      rest /= tensor.size(d);
    }
    if (!place.empty()) place.front() += first_row;
    const bool is_nan = (*odd & ((exponent & -exponent) - 1)) != 0;
    const bool is_negative = *odd >> (8 * sizeof(Bits) - 1) != 0;
    return fmt::format("{} at [{}]", is_nan ? "nan" : is_negative ? "-inf" : "inf", fmt::join(place, ", "));
  }
  return "";
}

}  // namespace

std::pair<HostTensor, char*> new_tensor(DType dtype, std::vector<int64_t> shape) {
  HostTensor tensor{dtype, std::move(shape)};
  const auto memory = zeros(static_cast<size_t>(tensor.bytes()));
  tensor.data = memory;
  return {std::move(tensor), memory.get()};
}

std::string not_finite(const HostTensor& tensor, int64_t first_row) {
  switch (tensor.dtype) {
    case DType::float64:
      return first_odd<uint64_t>(tensor, first_row, 0x7FF0'0000'0000'0000);
    case DType::float32:
      return first_odd<uint32_t>(tensor, first_row, 0x7F80'0000);
    case DType::float16:
      return first_odd<uint16_t>(tensor, first_row, 0x7C00);
    case DType::bfloat16:
      return first_odd<uint16_t>(tensor, first_row, 0x7F80);
    default:
      return "";
  }
}

}  // namespace compression
