#include "compress/checkpoint/name_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>
#include <string_view>

#include "compress/workflow/error.h"  // CheckpointError, UnsupportedError

namespace compression {
namespace {

/// Replaces `from` where a name begins or ends with it. The rules of a family are tried one after the other.
struct NameRule {
  enum class Place { start, end } place;
  std::string_view from, to;
};
constexpr auto start = NameRule::Place::start;
constexpr auto end = NameRule::Place::end;

/// A module that our Model calls otherwise than the family's class.
struct ModuleName {
  std::string_view own, canonical;
};

struct Family {
  std::string_view model_type;
  std::vector<NameRule> rules;
  std::vector<ModuleName> modules;
  std::vector<std::string> ignorable;
};

const std::vector<Family>& families() {
  static const std::vector<Family> all{
      {.model_type = "bert",
       .rules = {{start, "embeddings.", "bert.embeddings."},  // a bare BertModel
                 {start, "encoder.", "bert.encoder."},
                 {start, "pooler.", "bert.pooler."},
                 {end, ".LayerNorm.gamma", ".LayerNorm.weight"},  // converted from TensorFlow
                 {end, ".LayerNorm.beta", ".LayerNorm.bias"}},
       .modules = {{"head.dense", "bert.pooler.dense"}, {"head.classifier", "classifier"}},
       .ignorable = {"bert.embeddings.position_ids", "cls.", "qa_outputs."}},
  };
  return all;
}

const Family& family(const std::string& model_type, const std::string& where) {
  const auto found = std::ranges::find(families(), model_type, &Family::model_type);
  if (found != families().end()) return *found;
  throw UnsupportedError(
      fmt::format("{}: found \"{}\", supported: {}", where, model_type, fmt::join(supported_model_types(), ", ")));
}

std::string canonical_name(std::string name, std::span<const NameRule> rules) {
  for (const auto& [place, from, to] : rules) {
    if (place == start && name.starts_with(from)) name.replace(0, from.size(), to);
    if (place == end && name.ends_with(from)) name.replace(name.size() - from.size(), from.size(), to);
  }
  return name;
}

}  // namespace

std::vector<std::string> supported_model_types() {
  std::vector<std::string> names;
  for (const auto& each : families()) names.emplace_back(each.model_type);
  return names;
}

void require_supported_model_type(const std::string& model_type, const std::string& where) {
  family(model_type, where);
}

StateDict to_canonical(const std::string& model_type, StateDict state) {
  const auto& rules = family(model_type, "model_type").rules;
  StateDict renamed;
  for (auto& [name, tensor] : state) {
    const auto canonical = canonical_name(name, rules);
    if (!renamed.emplace(canonical, std::move(tensor)).second) {
      throw CheckpointError(
          fmt::format("tensor {}: found two tensors of this name, one of them as {}", canonical, name));
    }
  }
  return renamed;
}

std::string checkpoint_name(const std::string& model_type, const std::string& own) {
  const auto leaf = own.rfind('.');
  const auto& modules = family(model_type, "model_type").modules;
  const auto found = std::ranges::find(modules, std::string_view(own).substr(0, leaf), &ModuleName::own);
  return found == modules.end() ? own : std::string(found->canonical) + own.substr(leaf);
}

std::vector<std::string> ignorable_names(const std::string& model_type) {
  return family(model_type, "model_type").ignorable;
}

}  // namespace compression
