#include "export/encoder_state.h"

#include <fmt/format.h>

#include "compress/model/packed.h"    // packed_state
#include "compress/workflow/error.h"  // UnsupportedError

namespace compression::exporter {

std::string fused_lacks(const ModelConfig& config) {
  const bool reads_first = config.task == TaskType::classification || config.task == TaskType::multi_label ||
                           config.task == TaskType::regression;
  if (reads_first && can_pack(config)) return "";
  const bool long_texts = config.max_length() > ops::int16_attention_limit;
  const auto what = !reads_first ? std::string("this task")
                    : long_texts ? fmt::format("texts of {} tokens", config.max_length())
                                 : std::string("the disentangled attention");
  return fmt::format("{} of the family {}", what, config.model_type);
}

ops::EncoderState encoder_state(const Model& model) {
  const auto& config = model->config();
  if (const auto lacks = fused_lacks(config); !lacks.empty()) {
    throw UnsupportedError(
        fmt::format("export: runtime: fused has no kernels for {}: choose runtime: portable", lacks));
  }
  return packed_state(*model->encoder, *model->head, config);
}

}  // namespace compression::exporter
