#include "quantize/config.h"

namespace compression::quantize {

void validate(const QuantizeConfig& config, Problems& problems) {
  const bool quantizes_activations = config.scheme == Scheme::int8_dynamic;
  problems.require(quantizes_activations || config.activations == QuantizeConfig{}.activations, "activations",
                   "found " + std::string(enum_name(config.activations)) + " with scheme " +
                       std::string(enum_name(config.scheme)) +
                       ", which keeps activations; expected scheme int8_dynamic with it");
  const auto only_int8 = [&](bool given, const char* key) {
    problems.require(
        quantizes_activations || !given, key,
        "found with scheme " + std::string(enum_name(config.scheme)) + ", expected scheme int8_dynamic with it");
  };
  only_int8(!config.ignore.empty(), "ignore");
  only_int8(config.max_drop.has_value(), "max_drop");
  only_int8(config.sensitivity, "sensitivity");
  problems.within("max_drop", config.max_drop, 0, 1);
}

}  // namespace compression::quantize
