#pragma once
// Weights as they are listed, one after another.

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "compress/spec/weights.h"  // WeightSpec

namespace compression {

struct WeightList {
  const ModelConfig& config;
  std::string prefix = {};  // of modules' names: "head."
  int64_t block = -1;       // that weights are of
  std::vector<WeightSpec> weights = {};

  Axis hidden() const { return {.label = Label::hidden, .size = config.hidden_size}; }
  Axis embedding() const {
    const auto width = config.embedding_size();
    return config.input.projection ? Axis{.label = Label::embedding, .size = width} : hidden();
  }

  void add(Role role, const std::string& name, bool bias, std::initializer_list<Axis> axes,
           const std::optional<NormSpec>& norm = {}) {
    weights.push_back({.name = prefix + name, .role = role, .block = block, .bias = bias, .axes = axes, .norm = norm});
  }
  void linear(Role role, const std::string& module, const Axis& out, const Axis& in, bool bias = true) {
    add(role, module + ".weight", false, {out, in});
    if (bias) add(role, module + ".bias", true, {out});
  }
  void norm(Role role, const std::string& module, const Axis& features, const NormSpec& spec) {
    add(role, module + ".weight", false, {features}, spec);
    if (spec.kind == NormKind::layer && spec.bias) add(role, module + ".bias", true, {features}, spec);
  }
  void table(Role role, const std::string& module, Label rows, int64_t count, const Axis& features) {
    add(role, module + ".weight", false, {{.label = rows, .size = count}, features});
  }
};

}  // namespace compression
