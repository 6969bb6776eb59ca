#pragma once
// Settings of the quantization stage.

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/spec/config.h"     // ActivationScheme, WeightFormat
#include "compress/workflow/stage.h"  // Stage

namespace compression::quantize {

enum class Scheme { int8_dynamic, int8_static, fp16, bf16 };
constexpr std::array<std::pair<Scheme, std::string_view>, 4> enum_names(Scheme) {
  return {{{Scheme::int8_dynamic, "int8_dynamic"},
           {Scheme::int8_static, "int8_static"},
           {Scheme::fp16, "fp16"},
           {Scheme::bf16, "bf16"}}};
}

/// How the scale of static activations is chosen (observer.h).
enum class ObserverKind { min_max, moving_average, percentile, entropy, mse };
constexpr std::array<std::pair<ObserverKind, std::string_view>, 5> enum_names(ObserverKind) {
  return {{{ObserverKind::min_max, "min_max"},
           {ObserverKind::moving_average, "moving_average"},
           {ObserverKind::percentile, "percentile"},
           {ObserverKind::entropy, "entropy"},
           {ObserverKind::mse, "mse"}}};
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
  ObserverKind observer = ObserverKind::mse;
  double percentile = 99.99;
  int64_t calibration_examples = 512;
  bool smooth_quant = false;
  std::optional<double> smooth_strength;
  bool bias_correction = false;

  /// Whether it reads training texts.
  bool calibrates() const { return scheme == Scheme::int8_static || smooth_quant || bias_correction; }

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("of", self.of, "The model to quantize", Presence::required);
    visit("scheme", self.scheme,
          "int8_dynamic: weights int8 per output channel, activations int8 at run time; int8_static: the same with "
          "activations' scales from calibration texts; fp16, bf16: weights in 16 bits");
    visit("activations", self.activations, "Of int8_dynamic: one scale a token, or one for the whole input");
    visit("embeddings", self.embeddings, "Format of the embedding tables; the scheme's if absent");
    visit("ignore", self.ignore,
          "Of int8: linear layers that stay fp32, as patterns of names in the checkpoint: \"*.output.dense\"");
    visit(
        "max_drop", self.max_drop,
        "Of int8: how much worse the metric on the validation texts may get: fall by, up to 1, or rise by, where less "
        "is better; the layers that lose most stay fp32, as few as that takes");
    visit("sensitivity", self.sensitivity,
          "Of int8: evaluate with each linear layer alone in int8; the table is in compress.json");
    visit("observer", self.observer,
          "Of int8_static: which magnitude of a layer's input is the largest that is kept. min_max: the largest seen; "
          "moving_average: the batches' largest, averaged; percentile: one that few exceed; entropy: that of least "
          "divergence from the histogram; mse: that of least squared error");
    visit("percentile", self.percentile, "Of observer percentile: how many of the magnitudes are kept, in per cent");
    visit("calibration_examples", self.calibration_examples,
          "Of what calibrates: training texts, chosen by the seed; 0: all");
    visit("smooth_quant", self.smooth_quant,
          "Of int8: move differences between features' ranges from activations into weights, where the model stays the "
          "same (SmoothQuant); each layer has the strength that loses least");
    visit("smooth_strength", self.smooth_strength,
          "Of smooth_quant: one strength for all layers, up to 1, in place of the search");
    visit("bias_correction", self.bias_correction,
          "Of int8: biases take back what rounding moves each output by on average");
  }
};
void validate(const QuantizeConfig& config, Problems& problems);

std::unique_ptr<Stage> make_stage(const QuantizeConfig& config);

}  // namespace compression::quantize
