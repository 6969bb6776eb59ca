#pragma once
// Settings of the quantization stage.

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/model/config.h"    // ActivationScheme, WeightFormat
#include "compress/workflow/stage.h"  // Stage

namespace compression::quantize {

enum class Scheme { int8_dynamic, fp16, bf16 };
constexpr std::array<std::pair<Scheme, std::string_view>, 3> enum_names(Scheme) {
  return {{{Scheme::int8_dynamic, "int8_dynamic"}, {Scheme::fp16, "fp16"}, {Scheme::bf16, "bf16"}}};
}

struct QuantizeConfig {
  static constexpr std::string_view kind = "quantize";

  Reference of;
  Scheme scheme = Scheme::int8_dynamic;
  ActivationScheme activations = ActivationScheme::per_token;
  std::optional<WeightFormat> embeddings;
  std::vector<std::string> ignore;
  std::optional<double> max_drop;
  bool sensitivity = false;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("of", self.of, "The model to quantize", Presence::required);
    visit(
        "scheme", self.scheme,
        "int8_dynamic: weights int8 per output channel, activations int8 at run time; fp16, bf16: weights in 16 bits");
    visit("activations", self.activations, "Of int8_dynamic: one scale a token, or one for the whole input");
    visit("embeddings", self.embeddings, "Format of the embedding tables; the scheme's if absent");
    visit("ignore", self.ignore,
          "Of int8_dynamic: linear layers that stay fp32, as patterns of names in the checkpoint: \"*.output.dense\"");
    visit(
        "max_drop", self.max_drop,
        "Of int8_dynamic: how far the metric on the validation texts may fall, from 0 to 1; the layers that lose most "
        "stay fp32, as few as that takes");
    visit("sensitivity", self.sensitivity,
          "Of int8_dynamic: evaluate with each linear layer alone in int8; the table is in compress.json");
  }
};
void validate(const QuantizeConfig& config, Problems& problems);

std::unique_ptr<Stage> make_stage(const QuantizeConfig& config);

}  // namespace compression::quantize
