#include "recipes/quality.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "compress/base/fields.h"  // enum_name

namespace compression::recipes {
namespace {

/// The settings of a stage of one kind; null where there is no such stage, or it is of another.
template <class Config>
const Config* settings_of(const Recipe& recipe, const std::string& id) {
  const auto stage = std::ranges::find(recipe.stages, id, &StageEntry::id);
  return stage == recipe.stages.end() ? nullptr : std::get_if<Config>(&stage->config);
}

/// The model that a stage writes anew with the same weights; null for one that does something else.
const Reference* rewritten(const Recipe& recipe, const std::string& id) {
  if (const auto* config = settings_of<quantize::QuantizeConfig>(recipe, id)) return &config->of;
  if (const auto* config = settings_of<exporter::ExportConfig>(recipe, id)) return &config->of;
  return nullptr;
}

/// The stage of the report that a stage's weights go back to, through those that write them anew; null if there is
/// none.
const StageReport* float_stage(const Recipe& recipe, const Report& report, const std::string& id) {
  const auto* of = rewritten(recipe, id);
  const StageReport* base = nullptr;
  for (; of != nullptr; of = rewritten(recipe, of->name)) {
    base = report.find(of->name);
    if (base == nullptr) return nullptr;
  }
  return base;
}

bool is_portable_file(const Recipe& recipe, const std::string& id) {
  const auto* config = settings_of<exporter::ExportConfig>(recipe, id);
  return config != nullptr && config->runtime == exporter::Runtime::portable;
}

bool has_16_bits(const Recipe& recipe, const std::string& id) {
  if (const auto* config = settings_of<quantize::QuantizeConfig>(recipe, id)) {
    return config->scheme == quantize::Scheme::fp16 || config->scheme == quantize::Scheme::bf16;
  }
  const auto* of = rewritten(recipe, id);
  return of != nullptr && has_16_bits(recipe, of->name);
}

/// Of the times that both stages take, the least share that the first has of the other's; nothing where one was not
/// measured.
std::optional<double> share_of_time(const StageReport& stage, const StageReport& base) {
  if (!stage.latency || !base.latency || !stage.throughput || !base.throughput) return std::nullopt;
  return std::min(stage.latency->median_ms / base.latency->median_ms,
                  stage.throughput->median_ms / base.throughput->median_ms);
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
  const auto* source = of == nullptr ? nullptr : report.find(of->name);
  const auto* base = float_stage(recipe, report, stage.id);
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

std::vector<std::string> speed_warnings(const Recipe& recipe, const Report& report) {
  constexpr double noticed = 0.95;
  std::vector<std::string> all;
  for (const auto& stage : report.stages) {
    const auto* base = float_stage(recipe, report, stage.id);
    const auto share = base == nullptr ? std::nullopt : share_of_time(stage, *base);
    if (!share || *share < noticed) continue;
    auto text = fmt::format("`{}` is no faster here than `{}` (one text {:.2f} ms, {:.2f} before)", stage.id, base->id,
                            stage.latency->median_ms, base->latency->median_ms);
    if (has_16_bits(recipe, stage.id)) {
      text +=
          ": weights of 16 bits save memory, and time only on processors that multiply bfloat16 faster than float32";
    } else if (is_portable_file(recipe, stage.id)) {
      text += ": it runs LibTorch's operators, and export: {runtime: fused} does not";
    }
    const auto* fastest = &stage;
    for (const auto& other : report.stages) {
      const bool same = float_stage(recipe, report, other.id) == base && other.latency;
      if (same && other.latency->median_ms < noticed * fastest->latency->median_ms) fastest = &other;
    }
    if (fastest != &stage) text += fmt::format("; `{}` takes {:.2f} ms", fastest->id, fastest->latency->median_ms);
    all.push_back(text + ".");
  }
  return all;
}

}  // namespace compression::recipes
