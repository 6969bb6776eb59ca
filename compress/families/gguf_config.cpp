#include "compress/families/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "compress/base/error.h"         // CheckpointError, UnsupportedError
#include "compress/base/json_file.h"     // excerpt
#include "compress/families/families.h"  // families, find_family

namespace compression {

using nlohmann::json;

json gguf_config(const json& metadata, int64_t words, bool own_head, const std::string& file) {
  const auto architecture = metadata.value("general.architecture", json());
  const auto family = std::ranges::find_if(
      families(), [&](const Family& each) { return !each.gguf.empty() && architecture == each.gguf; });
  if (family == families().end()) {
    std::string known;
    for (const auto& each : families()) {
      if (!each.gguf.empty()) known += fmt::format("{}{}", known.empty() ? "" : ", ", each.gguf);
    }
    throw UnsupportedError(
        fmt::format("{}: general.architecture: found {}, supported: {}", file, excerpt(architecture), known));
  }
  const auto find = [&](std::string_view key) { return metadata.find(fmt::format("{}.{}", family->gguf, key)); };
  json config{{"model_type", family->model_type}, {"vocab_size", words}, {"tie_word_embeddings", !own_head}};
  const auto copy = [&](std::string_view key, std::string_view ours, bool required) {
    const auto found = find(key);
    if (found != metadata.end()) {
      config[std::string(family->key(ours))] = *found;
    } else if (required) {
      throw CheckpointError(fmt::format("{}: {}.{}: found nothing, expected a number", file, family->gguf, key));
    }
  };
  copy("embedding_length", "hidden_size", true);
  copy("block_count", "num_hidden_layers", true);
  copy("attention.head_count", "num_attention_heads", true);
  copy("attention.head_count_kv", "num_key_value_heads", false);
  copy("attention.key_length", "attention_head_size", false);
  copy("feed_forward_length", "intermediate_size", true);
  copy("context_length", "max_position_embeddings", true);
  copy("attention.layer_norm_rms_epsilon", "layer_norm_eps", true);
  copy("rope.freq_base", "rope_theta", false);
  for (const auto& [own, theirs] : family->gguf_keys) copy(theirs, own, false);
  if (const auto scaling = find("rope.scaling.type"); scaling != metadata.end() && *scaling != "none") {
    throw UnsupportedError(
        fmt::format("{}: {}.rope.scaling.type: found {}, supported: none", file, family->gguf, excerpt(*scaling)));
  }
  return config;
}

std::string gguf_name(const ModelConfig& config, const WeightSpec& weight) {
  const auto& family = find_family(config.model_type);
  const auto dot = weight.name.rfind('.');
  std::string_view module = std::string_view(weight.name).substr(0, dot);
  if (weight.block >= 0) {
    constexpr std::string_view layer = "bert.encoder.layer.";
    module.remove_prefix(module.find('.', layer.size()) + 1);
  }
  const auto found = std::ranges::find(family.gguf_modules, module, &OtherName::own);
  if (found == family.gguf_modules.end()) {
    throw UnsupportedError(fmt::format("{}: GGUF files of {} have no name for it", weight.name, config.model_type));
  }
  std::string name(found->theirs);
  if (const auto index = name.find("{}"); index != std::string::npos)
    name.replace(index, 2, std::to_string(weight.block));
  return name + weight.name.substr(dot);
}

}  // namespace compression
