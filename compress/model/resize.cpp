#include "compress/model/resize.h"

#include "compress/checkpoint/checkpoint.h"  // state_dict, load_state_dict

namespace compression {

Model resized(const Model& from, const ModelConfig& config, const ChooseFeatures& choose) {
  Model result(config);
  const auto target = state_dict(*result);
  StateDict selected;
  for (const auto& [name, tensor] : state_dict(*from)) {
    auto value = tensor;
    const auto& wanted = target.at(name);
    for (int64_t d = 0; d < value.dim(); ++d) {
      const auto all = value.size(d), count = wanted.size(d);
      if (all == count) continue;
      const bool of_heads = name.find(".attention.self.") != std::string::npos
                                ? d == 0
                                : d == 1 && name.find(".attention.output.dense.") != std::string::npos;
      value = value.index_select(d, choose(all, count, of_heads ? config.attention_head_size : 1));
    }
    selected[name] = value;
  }
  load_state_dict(*result, selected, {});
  result->train(from->is_training());
  return result;
}

ModelConfig with_hidden_size(ModelConfig config, int64_t hidden_size) {
  if (config.embedding_size() == config.hidden_size && !config.encoder.embedding_projection) {
    config.encoder.embedding_size = 0;
  }
  config.hidden_size = hidden_size;
  return config;
}

}  // namespace compression
