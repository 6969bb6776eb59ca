#pragma once
// What the outputs of a layer go through, one by one.

#include <array>
#include <string_view>
#include <utility>

namespace compression {

/// gelu: Hendrycks and Gimpel, arXiv 1606.08415; gelu_tanh is the form by tanh of the same paper, which transformers
/// calls gelu_new and gelu_pytorch_tanh among others. The numbers stand in the files of the fused runtime
/// (compress/runtime/encoder_state.h).
enum class Activation { none, gelu, gelu_tanh, relu, tanh, silu, sigmoid };
constexpr std::array<std::pair<Activation, std::string_view>, 7> enum_names(Activation) {
  return {{{Activation::none, "none"},
           {Activation::gelu, "gelu"},
           {Activation::gelu_tanh, "gelu_tanh"},
           {Activation::relu, "relu"},
           {Activation::tanh, "tanh"},
           {Activation::silu, "silu"},
           {Activation::sigmoid, "sigmoid"}}};
}

}  // namespace compression
