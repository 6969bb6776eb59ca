#include "quantize/config.h"

namespace compression::quantize {

void validate(const QuantizeConfig& config, Problems& problems) {
  const bool quantizes_activations = config.scheme == Scheme::int8_dynamic;
  problems.require(quantizes_activations || config.activations == QuantizeConfig{}.activations, "activations",
                   "found " + std::string(enum_name(config.activations)) + " with scheme " +
                       std::string(enum_name(config.scheme)) +
                       ", which keeps activations; expected scheme int8_dynamic with it");
}

}  // namespace compression::quantize
