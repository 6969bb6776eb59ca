#include "recipes/quality.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "compress/workflow/fields.h"  // enum_name

namespace compression::recipes {
namespace {

/// The model that a stage writes anew with the same weights; null for one that does something else.
const Reference* rewritten(const Recipe& recipe, const std::string& id) {
  const auto stage = std::ranges::find(recipe.stages, id, &StageEntry::id);
  if (stage == recipe.stages.end()) return nullptr;
  if (const auto* config = std::get_if<quantize::QuantizeConfig>(&stage->config)) return &config->of;
  if (const auto* config = std::get_if<exporter::ExportConfig>(&stage->config)) return &config->of;
  return nullptr;
}

}  // namespace

std::vector<std::string> quality_warnings(const Recipe& recipe, const Report& report, const nlohmann::json& manifest) {
  constexpr double told_from = 0.005;
  const auto& stage = report.stages.back();
  std::vector<std::string> all;
  for (const auto& warning : manifest.value("/notes/warnings"_json_pointer, nlohmann::json::array())) {
    all.push_back(fmt::format("`{}`: {}", stage.id, warning.get<std::string>()));
  }
  const auto* of = rewritten(recipe, stage.id);
  if (of == nullptr) return all;
  const auto* source = report.find(of->name);
  const auto* base = source;
  while (base != nullptr) {
    const auto* before = rewritten(recipe, base->id);
    if (before == nullptr) break;
    base = report.find(before->name);
  }
  if (base == nullptr) return all;
  if (source != base && report.drop(stage, *source) <= 0.0) return all;
  const bool points = higher_is_better(report.metric);
  const double drop = report.drop(stage, *base);
  if (!(drop >= told_from * (points ? 1.0 : std::abs(base->value())))) return all;
  all.push_back(fmt::format("`{}`: {} {}, {} `{}`, whose weights it has in fewer bits.", stage.id,
                            enum_name(report.metric), value_text(report.metric, stage.value()),
                            drop_text(report.metric, drop), base->id));
  return all;
}

}  // namespace compression::recipes
