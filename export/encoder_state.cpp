#include "export/encoder_state.h"

#include <fmt/format.h>

#include "compress/base/error.h"            // UnsupportedError
#include "compress/engine/network_state.h"  // can_pack
#include "compress/model/packed.h"          // packed_state

namespace compression::exporter {

std::string fused_lacks(const ModelConfig& config) {
  if (can_pack(config)) return "";
  if (!is_classic(config)) return fmt::format("the blocks of {}", config.model_type);
  return fmt::format("texts of {} tokens", config.max_length());
}

ops::EncoderState encoder_state(const Model& model) {
  const auto& config = model->config();
  if (const auto lacks = fused_lacks(config); !lacks.empty()) {
    throw UnsupportedError(
        fmt::format("export: runtime: fused has no kernels for {}: choose runtime: portable", lacks));
  }
  return packed_state(*model, config);
}

}  // namespace compression::exporter
