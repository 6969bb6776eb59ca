#include "compress/model/resize.h"

#include <torch/types.h>

#include <map>
#include <stdexcept>
#include <tuple>

#include "compress/state_dict/state_dict.h"  // state_dict, load_state_dict

namespace compression {

Model resized(const Model& from, const ModelConfig& config, const ChooseFeatures& choose,
              const std::vector<int64_t>& layers) {
  // Weights of two models are the same by what they are for: heads for embedding have several of one role.
  const auto place = [](const WeightSpec& weight, int64_t block) {
    return std::tuple(block, weight.role, weight.bias, block < 0 ? weight.name : std::string());
  };
  std::map<std::tuple<int64_t, Role, bool, std::string>, WeightSpec> sources;
  for (const auto& weight : weights(from->config())) sources.emplace(place(weight, weight.block), weight);
  const auto state = state_dict(*from);
  StateDict selected;
  for (const auto& target : weights(config)) {
    auto block = target.block;
    if (block >= 0 && !layers.empty()) block = layers.at(static_cast<size_t>(block));
    if (block >= 0) block = static_cast<int64_t>(from->config().first_use(static_cast<size_t>(block)));
    const auto& source = sources.at(place(target, block));
    auto value = state.at(source.name);
    for (size_t d = 0; d < target.axes.size(); ++d) {
      const auto &all = source.axes[d], &left = target.axes[d];
      if (all.size == left.size) continue;
      const auto each = choose(all.label, all.size / all.repeats, left.size / left.repeats, all.width);
      std::vector<torch::Tensor> chosen;
      for (int64_t i = 0; i < all.repeats; ++i) chosen.push_back(each + i * (all.size / all.repeats));
      value = value.index_select(static_cast<int64_t>(d), torch::cat(chosen).to(value.device()));
    }
    selected[target.name] = value;
  }
  Model result(config);
  load_state_dict(*result, selected, {});
  result->train(from->is_training());
  return result;
}

}  // namespace compression
