#include "compress/model_folder/sentence_transformers.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "compress/base/error.h"                    // UnsupportedError
#include "compress/base/fields.h"                   // enum_name
#include "compress/base/files.h"                    // make_folder
#include "compress/base/json_file.h"                // write_text_file
#include "compress/model_files/sentence_modules.h"  // step_folders
#include "compress/tokenizer/sentence_settings.h"   // transformer_folder, write_sentence_settings

namespace compression {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string dense_name(size_t step) {
  return fmt::format("head.dense_{}.", step);
}

void write_json(const fs::path& file, const json& content) {
  write_text_file(file, content.dump(2) + "\n");
}

json pooling_json(const ModelConfig& config) {
  const auto& pooling = config.embedding.pooling;
  std::vector<Pooling> in_order;
  json keys{{"word_embedding_dimension", config.hidden_size}, {"include_prompt", true}};
  for (const auto& [key, mode] : pooling_keys) {
    const bool used = std::ranges::find(pooling, mode) != pooling.end();
    keys[std::string(key)] = used;
    if (used) in_order.push_back(mode);
  }
  if (in_order == pooling) return keys;
  json names = json::array();  // old versions know one order only
  for (const auto mode : pooling) names.push_back(enum_name(mode));
  return {{"embedding_dimension", config.hidden_size}, {"include_prompt", true}, {"pooling_mode", names}};
}

}  // namespace

void read_dense_weights(const fs::path& folder, const ModelConfig& config,
                        const std::function<std::string(const std::string&)>& name, StoredState& state) {
  const auto& steps = config.embedding.steps;
  if (std::ranges::none_of(steps, &EmbeddingStep::dense)) return;
  const auto folders = step_folders(folder);
  for (size_t i = 0; i < steps.size(); ++i) {
    if (!steps[i].dense || i >= folders.size()) continue;
    const auto weights = stored_state(open_checkpoint(folders[i]));
    for (const char* leaf : {"weight", "bias"}) {
      const auto found = weights.find(fmt::format("linear.{}", leaf));
      if (found != weights.end()) state.insert_or_assign(name(dense_name(i) + leaf), found->second);
    }
    if (!steps[i].bias) {
      state.insert_or_assign(name(dense_name(i) + "bias"), torch::zeros({steps[i].out}, torch::kFloat));
    }
  }
}

void write_sentence_modules(const ModelConfig& config, const Tokenizer& tokenizer, const StateDict& own,
                            const fs::path& folder) {
  json list = json::array();
  const auto add = [&](const char* kind, const std::string& path) {
    list.push_back({{"idx", list.size()},
                    {"name", std::to_string(list.size())},
                    {"path", path},
                    {"type", fmt::format("sentence_transformers.models.{}", kind)}});
  };
  const auto next = [&](const char* kind) {
    const auto path = fmt::format("{}_{}", list.size(), kind);
    make_folder(folder / path);
    add(kind, path);
    return folder / path;
  };
  add("Transformer", "");
  write_json(next("Pooling") / "config.json", pooling_json(config));
  for (size_t i = 0; i < config.embedding.steps.size(); ++i) {
    const auto& step = config.embedding.steps[i];
    if (!step.dense) {
      next("Normalize");  // has no file
      continue;
    }
    const auto activation =
        std::ranges::find(module_activations, step.activation, [](const auto& a) { return a.second; });
    if (activation == module_activations.end()) {
      throw UnsupportedError(
          fmt::format("a projection with the activation {}, which sentence-transformers' modules "
                      "have no class for",
                      enum_name(step.activation)));
    }
    const auto path = next("Dense");
    write_json(path / "config.json", {{"in_features", step.in},
                                      {"out_features", step.out},
                                      {"bias", step.bias},
                                      {"activation_function", activation->first}});
    StateDict weights;
    for (const char* leaf : {"weight", "bias"}) {
      const auto found = own.find(dense_name(i) + leaf);
      if (found != own.end() && (step.bias || std::string_view(leaf) != "bias")) {
        weights[fmt::format("linear.{}", leaf)] = found->second;
      }
    }
    if (!weights.empty()) write_safetensors(path / "model.safetensors", weights);
  }
  write_json(folder / modules_name, list);
  auto settings = tokenizer.sentence();
  const auto longest = std::min(config.max_length(), tokenizer.max_length().value_or(config.max_length()));
  settings.max_length = std::min(settings.max_length.value_or(longest), config.max_length());
  write_sentence_settings(settings, folder);
}

void limit_sentence_length(const fs::path& folder, int64_t length) {
  auto settings = read_sentence_settings(folder);
  if (settings.max_length && *settings.max_length <= length) return;
  settings.max_length = length;
  write_sentence_settings(settings, folder);
}

}  // namespace compression
