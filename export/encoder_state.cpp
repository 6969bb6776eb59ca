#include "export/encoder_state.h"

#include <fmt/format.h>

#include "compress/base/error.h"            // UnsupportedError
#include "compress/engine/network_state.h"  // runtime_lacks
#include "compress/model/packed.h"          // packed_state

namespace compression::exporter {

ops::EncoderState encoder_state(const Model& model) {
  const auto& config = model->config();
  if (const auto lacks = runtime_lacks(config); !lacks.empty()) {
    throw UnsupportedError(
        fmt::format("export: runtime: fused has no kernels for {}: choose runtime: portable", lacks));
  }
  return packed_state(*model, config);
}

}  // namespace compression::exporter
