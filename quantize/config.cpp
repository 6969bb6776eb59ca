#include "quantize/config.h"

namespace compression::quantize {

void validate(const QuantizeConfig& config, Problems& problems) {
  const QuantizeConfig absent;
  const std::string scheme(enum_name(config.scheme));
  const bool is_int8 = config.scheme == Scheme::int8_dynamic || config.scheme == Scheme::int8_static;
  if (config.activations == ActivationScheme::static_per_tensor) {
    problems.add("activations", "found static ones, expected scheme int8_static, which makes them");
  } else if (config.activations != absent.activations && config.scheme != Scheme::int8_dynamic) {
    problems.add("activations", "found " + std::string(enum_name(config.activations)) + " with scheme " + scheme +
                                    (is_int8 ? ", whose scales are of whole tensors" : ", which keeps activations") +
                                    "; expected scheme int8_dynamic with it");
  }
  const auto only_with = [&](bool holds, bool given, const char* key, const std::string& found, const char* expected) {
    problems.require(holds || !given, key, "found with " + found + ", expected " + expected + " with it");
  };
  const auto only_int8 = [&](bool given, const char* key) {
    only_with(is_int8, given, key, "scheme " + scheme, "scheme int8_dynamic or int8_static");
  };
  only_int8(!config.ignore.empty(), "ignore");
  only_int8(config.max_drop.has_value(), "max_drop");
  only_int8(config.sensitivity, "sensitivity");
  only_int8(config.smooth_quant, "smooth_quant");
  only_int8(config.bias_correction, "bias_correction");
  only_with(config.scheme == Scheme::int8_static, config.observer != absent.observer, "observer", "scheme " + scheme,
            "scheme int8_static");
  only_with(config.observer == ObserverKind::percentile, config.percentile != absent.percentile, "percentile",
            "observer " + std::string(enum_name(config.observer)), "observer percentile");
  only_with(config.smooth_quant, config.smooth_strength.has_value(), "smooth_strength", "smooth_quant false",
            "smooth_quant true");
  only_with(config.calibrates(), config.calibration_examples != absent.calibration_examples, "calibration_examples",
            "scheme " + scheme + ", which reads no texts", "scheme int8_static, smooth_quant or bias_correction");
  problems.at_least("max_drop", config.max_drop, 0);
  problems.require(config.percentile > 50 && config.percentile <= 100, "percentile",
                   "found " + number_text(config.percentile) + ", expected a number above 50, up to 100");
  problems.at_least("calibration_examples", config.calibration_examples, 0);
  if (const auto strength = config.smooth_strength) {
    problems.require(*strength > 0 && *strength <= 1, "smooth_strength",
                     "found " + number_text(*strength) + ", expected a number above 0, up to 1");
  }
}

}  // namespace compression::quantize
