#include "compress/model/resize.h"

#include <torch/types.h>

#include <algorithm>
#include <vector>

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
      const auto repeats = hidden_repeats(name, d, config);
      const auto each = choose(all / repeats, count / repeats, of_heads ? config.attention_head_size : 1);
      std::vector<torch::Tensor> chosen;
      for (int64_t i = 0; i < repeats; ++i) chosen.push_back(each + i * (all / repeats));
      value = value.index_select(d, torch::cat(chosen));
    }
    selected[name] = value;
  }
  load_state_dict(*result, selected, {});
  result->train(from->is_training());
  return result;
}

int64_t hidden_repeats(const std::string& name, int64_t d, const ModelConfig& config) {
  if (traits_of(config.task).head != HeadKind::embedding || d != 1) return 1;
  const auto& steps = config.embedding.steps;
  const auto first = std::ranges::find(steps, true, &EmbeddingStep::dense) - steps.begin();
  const bool reads_pooled = name == "head.dense_" + std::to_string(first) + ".weight";
  return reads_pooled ? static_cast<int64_t>(config.embedding.pooling.size()) : 1;
}

ModelConfig with_hidden_size(ModelConfig config, int64_t hidden_size) {
  if (config.embedding_size() == config.hidden_size && !config.encoder.embedding_projection) {
    config.encoder.embedding_size = 0;
  }
  config.hidden_size = hidden_size;
  const auto first = std::ranges::find(config.embedding.steps, true, &EmbeddingStep::dense);
  if (first != config.embedding.steps.end()) first->in = config.pooled_width();
  return config;
}

}  // namespace compression
