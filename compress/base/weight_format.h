#pragma once
// The names of the ways in which matrices of weights are kept. What each is: compress/storage.

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "compress/base/host_tensor.h"  // DType

namespace compression {

/// How the weights of linear layers and of embedding tables are stored and used.
enum class WeightFormat { float32, float16, bfloat16, int8 };
constexpr std::array<std::pair<WeightFormat, std::string_view>, 4> enum_names(WeightFormat) {
  return {{{WeightFormat::float32, "fp32"},
           {WeightFormat::float16, "fp16"},
           {WeightFormat::bfloat16, "bf16"},
           {WeightFormat::int8, "int8"}}};
}

/// Of the tensor that a file has of the weight.
constexpr DType dtype_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::float32:
      return DType::float32;
    case WeightFormat::float16:
      return DType::float16;
    case WeightFormat::bfloat16:
      return DType::bfloat16;
    case WeightFormat::int8:
      break;
  }
  return DType::int8;
}

/// The inverse; nothing for a dtype that no weights have.
constexpr std::optional<WeightFormat> format_of(DType dtype) {
  for (const auto& [format, name] : enum_names(WeightFormat())) {
    if (dtype_of(format) == dtype) return format;
  }
  return std::nullopt;
}

/// Whether each weight is a number of its own, of fewer bits than float32.
constexpr bool is_16bit(WeightFormat format) {
  return format == WeightFormat::float16 || format == WeightFormat::bfloat16;
}

}  // namespace compression
