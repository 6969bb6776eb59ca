#include "quantize/mixed.h"

#include <fmt/format.h>
#include <fnmatch.h>
#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "compress/base/error.h"    // ConfigError
#include "compress/base/message.h"  // printable
#include "compress/spec/weights.h"  // with_hidden_size

namespace compression::quantize {
namespace {

using Names = std::vector<std::string>;

bool matches(const std::string& name, const std::string& pattern) {
  return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

Names layer_names(Model model) {
  Names names;
  for (const auto& [name, linear] : model->named_linears()) names.push_back(name);
  return names;
}

Model quantized(Model model, Formats formats, const Names& unquantized) {
  formats.unquantized = unquantized;
  auto result = copy(model);
  quantize(result, formats);
  return result;
}

Names all_but(const Names& all, const Names& some) {
  Names rest;
  for (const auto& name : all) {
    if (std::ranges::find(some, name) == some.end()) rest.push_back(name);
  }
  return rest;
}

}  // namespace

Names layer_names(const ModelConfig& config) {
  // The same model with as little in it as may be.
  auto small = with_hidden_size(config, 8);
  small.vocab_size = 8;
  for (auto& layer : small.layers) layer.attention.heads = layer.mlp.units = 1;
  if (small.labels.empty()) small.labels = {"0", "1"};
  return layer_names(Model(small));
}

std::string unmatched(const Names& names, const Names& patterns) {
  for (const auto& pattern : patterns) {
    if (std::ranges::any_of(names, [&](const std::string& name) { return matches(name, pattern); })) continue;
    return fmt::format("found \"{}\", which no linear layer matches; expected a pattern of names such as {}",
                       printable(pattern), names.front());
  }
  return "";
}

Names matching_layers(Model model, const Names& patterns) {
  const auto all = layer_names(model);
  if (const auto problem = unmatched(all, patterns); !problem.empty()) throw ConfigError("ignore: " + problem);
  std::set<std::string> matched;
  for (const auto& name : all) {
    if (std::ranges::any_of(patterns, [&](const std::string& pattern) { return matches(name, pattern); })) {
      matched.insert(name);
    }
  }
  return {matched.begin(), matched.end()};
}

std::vector<LayerSensitivity> measure_sensitivity(Model model, const Formats& formats, const Evaluate& evaluate) {
  std::vector<LayerSensitivity> result;
  auto alone = formats;
  alone.embeddings = WeightFormat::float32;
  const auto all = layer_names(model);
  for (const auto& [name, linear] : model->named_linears()) {
    if (std::ranges::find(formats.unquantized, name) != formats.unquantized.end()) continue;
    auto candidate = quantized(model, alone, all_but(all, {name}));
    result.push_back({name, evaluate(candidate), 3 * linear->weight.numel()});
  }
  std::ranges::stable_sort(result, [](const LayerSensitivity& a, const LayerSensitivity& b) {
    return b.evaluation.better_than(a.evaluation);
  });
  return result;
}

MixedPrecision quantize_within(Model model, const Formats& formats, double max_drop, const Evaluate& evaluate) {
  MixedPrecision result;
  const auto linears = model->linears().size();
  const auto whole = evaluate(model);
  const auto attempt = [&](const Names& unquantized) {
    auto candidate = quantized(model, formats, unquantized);
    result.trials.push_back({unquantized, evaluate(candidate)});
    const bool within = result.trials.back().evaluation.within(whole, max_drop);
    if (within || unquantized.size() == linears) result.model = std::move(candidate);  // the best that there is
    return within;
  };
  if (attempt(formats.unquantized)) return result;

  result.sensitivity = measure_sensitivity(model, formats, evaluate);
  const auto most_sensitive = [&](size_t count) {
    auto names = formats.unquantized;
    for (size_t i = 0; i < count; ++i) names.push_back(result.sensitivity[i].layer);
    return names;
  };
  size_t outside = 0, within = result.sensitivity.size();
  if (!attempt(most_sensitive(within))) return result;  // the embedding tables alone lose too much
  while (within - outside > 1) {
    const auto middle = (outside + within) / 2;
    (attempt(most_sensitive(middle)) ? within : outside) = middle;
  }
  auto unquantized = most_sensitive(within);
  for (size_t i = 0; i + 1 < within; ++i) {  // the last one is needed, as the search has shown
    const auto fewer = all_but(unquantized, {result.sensitivity[i].layer});
    if (attempt(fewer)) unquantized = fewer;
  }
  return result;
}

bool bound_holds(const Evaluation& changed, const Evaluation& quantized, const Evaluation& original, double max_drop) {
  return changed.within(original, max_drop) || changed.within(quantized, 0.0);
}

nlohmann::json sensitivity_json(const std::vector<LayerSensitivity>& sensitivity) {
  auto list = nlohmann::json::array();
  for (const auto& [layer, evaluation, bytes] : sensitivity) {
    list.push_back({{"layer", layer}, {"validation", evaluation}, {"bytes_saved", bytes}});
  }
  return list;
}

nlohmann::json trials_json(const std::vector<Trial>& trials) {
  auto list = nlohmann::json::array();
  for (const auto& [unquantized, evaluation] : trials) {
    list.push_back({{"unquantized", unquantized}, {"validation", evaluation}});
  }
  return list;
}

}  // namespace compression::quantize
