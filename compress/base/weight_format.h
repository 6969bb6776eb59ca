#pragma once
// The names of the ways in which matrices of weights are kept. What each is: compress/storage.

#include <array>
#include <string_view>
#include <utility>

namespace compression {

/// How the weights of linear layers and of embedding tables are stored and used. A program's own kinds of storage
/// (add_storage()) have other numbers.
enum class WeightFormat { float32, float16, bfloat16, int8 };
constexpr std::array<std::pair<WeightFormat, std::string_view>, 4> enum_names(WeightFormat) {
  return {{{WeightFormat::float32, "fp32"},
           {WeightFormat::float16, "fp16"},
           {WeightFormat::bfloat16, "bf16"},
           {WeightFormat::int8, "int8"}}};
}

/// Whether each weight is a number of its own, of fewer bits than float32.
constexpr bool is_16bit(WeightFormat format) {
  return format == WeightFormat::float16 || format == WeightFormat::bfloat16;
}

}  // namespace compression
