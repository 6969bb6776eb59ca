#include "recipes/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "compress/base/byte_size.h"  // shown_bytes, shown_count
#include "compress/base/fields.h"     // enum_name

namespace compression::recipes {
namespace {

/// "3.4x", how many times `value` is less than `base`.
std::string fewer(int64_t base, int64_t value) {
  return fmt::format("{:.1f}x", static_cast<double>(base) / static_cast<double>(std::max<int64_t>(value, 1)));
}

double per_second(double milliseconds) {
  return StageReport::throughput_batch * 1e3 / milliseconds;
}

constexpr auto not_measured = "not measured";

std::string latency_text(const StageReport& stage) {
  if (!stage.latency) return not_measured;
  const auto& [median, low, high, runs] = *stage.latency;
  return fmt::format("{:.2f} ms ({:.2f} to {:.2f})", median, low, high);
}

std::string throughput_text(const StageReport& stage) {
  if (!stage.throughput) return not_measured;
  const auto& [median, low, high, runs] = *stage.throughput;
  return fmt::format("{:.0f} ({:.0f} to {:.0f})", per_second(median), per_second(high), per_second(low));
}

void put_throughput(nlohmann::json& json, const std::string& key, const Timing& timing) {
  json[key] = per_second(timing.median_ms);
  json[key + "_spread"] = {per_second(timing.high_ms), per_second(timing.low_ms)};
  json[key + "_runs"] = timing.runs;
}

nlohmann::json zeros_json(const ZerosReport& zeros) {
  nlohmann::json json = {{"pattern", zeros.pattern},
                         {"density", zeros.density},
                         {"layers", zeros.layers},
                         {"sparse_layers", zeros.sparse}};
  if (zeros.as_if_dense) put_throughput(json, "dense_throughput", *zeros.as_if_dense);
  return json;
}

nlohmann::json timing_json(const StageReport& stage) {
  nlohmann::json json = {{"latency_ms", nullptr}, {"latency_spread_ms", nullptr}, {"latency_runs", 0},
                         {"throughput", nullptr}, {"throughput_spread", nullptr}, {"throughput_runs", 0}};
  if (stage.latency) {
    json["latency_ms"] = stage.latency->median_ms;
    json["latency_spread_ms"] = {stage.latency->low_ms, stage.latency->high_ms};
    json["latency_runs"] = stage.latency->runs;
  }
  if (stage.throughput) put_throughput(json, "throughput", *stage.throughput);
  return json;
}

/// A text in a cell of a table.
std::string in_cell(const std::string& text) {
  std::string cell;
  for (const char c : text) cell += c == '|' ? "\\|" : std::string(1, c);
  return cell;
}

/// What became of the stages that are not in the table above it.
std::string unfinished_markdown(const Report& report) {
  auto out =
      fmt::format("\n## Ended early\n\nThe run ended before its end, so goals are not checked: {}\n", report.error);
  if (report.unfinished.empty()) return out;
  out += "\n| stage | kind | |\n|---|---|---|\n";
  for (const auto& s : report.unfinished) {
    out +=
        fmt::format("| {} | {} | {}{} |\n", s.id, s.kind, s.state, s.message.empty() ? "" : ": " + in_cell(s.message));
  }
  return out;
}

/// What zeros bring, of stages that have them.
std::string zeros_markdown(const std::vector<StageReport>& stages) {
  std::string rows;
  for (const auto& s : stages) {
    if (!s.zeros) continue;
    const auto& zeros = *s.zeros;
    std::string speed = "weights are not int8, zeros are multiplied | |";
    if (zeros.as_if_dense && s.throughput) {
      speed =
          fmt::format("{:.4g} | {:.4g} | {:.2f}", per_second(s.throughput->median_ms),
                      per_second(zeros.as_if_dense->median_ms), zeros.as_if_dense->median_ms / s.throughput->median_ms);
    }
    rows += fmt::format("| {} | {} | {:.1f} % | {} of {} | {} |\n", in_cell(s.id), zeros.pattern, 100.0 * zeros.density,
                        zeros.sparse, zeros.layers, speed);
  }
  if (rows.empty()) return "";
  return "\n## Zeros\n\n| stage | pattern | weights that stay | layers with the sparse kernel | texts/s | with zeros "
         "multiplied | times |\n|---|---|---:|---:|---:|---:|---:|\n" +
         rows;
}

/// "teacher: at step 12 the loss is nan (median before 0.41): back to step 10, with 0.5 times the learning rate"
std::string rollback_text(const std::string& stage, const nlohmann::json& r) {
  const auto factor = r.at("learning_rate_factor").get<double>();
  return fmt::format("`{}`: at step {} {} (median before {:.4g}): {} {:.3g} times the learning rate", stage,
                     r.at("step").get<int64_t>(), r.at("reason").get<std::string>(), r.at("median").get<double>(),
                     r.contains("back_to") ? fmt::format("back to step {}, with", r.at("back_to").get<int64_t>())
                                           : std::string("taken after all, on with"),
                     factor);
}

/// The rounds of a gradual pruning, a row each.
std::string rounds_markdown(const StageReport& stage, Metric metric) {
  const auto name = enum_name(metric);
  const bool sparse = !stage.rounds.empty() && stage.rounds.front().contains("density");
  std::string out = fmt::format("\n## Rounds of `{}`\n\n| round | {} | validation {} | |\n|---:|---:|---:|---|\n",
                                stage.id, sparse ? "weights that stay" : "multiply-adds", name);
  for (size_t i = 0; i < stage.rounds.size(); ++i) {
    const auto& round = stage.rounds[i];
    const auto left = sparse ? fmt::format("{:.1f} %", 100.0 * round.at("density").get<double>())
                             : fmt::format("{:.2f}x", round.at("macs_reduction").get<double>());
    out += fmt::format("| {} | {} | {} | {} |\n", i + 1, left,
                       value_text(metric, round.at(fmt::format("validation_{}", name)).get<double>()),
                       round.at("kept").get<bool>() ? "kept" : "**undone**");
  }
  return out;
}

}  // namespace

bool Report::met() const {
  return error.empty() && std::all_of(goals.begin(), goals.end(), [](const GoalReport& goal) { return goal.met; });
}

const StageReport* Report::find(const std::string& id) const {
  for (const auto* rows : {&stages, &references}) {
    const auto found = std::ranges::find(*rows, id, &StageReport::id);
    if (found != rows->end()) return &*found;
  }
  return nullptr;
}

double Report::drop(const StageReport& stage, const StageReport& base) const {
  return compression::drop(stage.value(), base.value(), metric);
}

std::string value_text(Metric metric, double value) {
  if (std::isnan(value)) return "none";
  return higher_is_better(metric) ? fmt::format("{:.2f} %", 100 * value) : fmt::format("{:.4g}", value);
}

std::string drop_text(Metric metric, double drop) {
  return higher_is_better(metric) ? fmt::format("{:.2f} points below", 100 * drop) : fmt::format("{:.4g} above", drop);
}

namespace {

nlohmann::json rows_json(const Report& report, const std::vector<StageReport>& rows) {
  auto json = nlohmann::json::array();
  const auto* base = report.find(report.baseline);
  const std::string metric(enum_name(report.metric));
  for (const auto& s : rows) {
    json.push_back({{"id", s.id},
                    {"kind", s.kind},
                    {"fingerprint", s.fingerprint},
                    {"skipped", s.skipped},
                    {metric + "_drop", base ? nlohmann::json(report.drop(s, *base)) : nlohmann::json()},
                    {"validation_" + metric, s.validation},
                    {"parameters", s.parameters},
                    {"macs", s.macs},
                    {"bytes", s.bytes},
                    {"rollbacks", s.rollbacks},
                    {"rounds", s.rounds}});
    json.back().update(timing_json(s));
    json.back().update(nlohmann::json(s.reached));
    if (s.zeros) json.back()["zeros"] = zeros_json(*s.zeros);
    json.back()["peak_memory_bytes"] = s.peak_memory ? nlohmann::json(*s.peak_memory) : nlohmann::json();
    if (s.peak_device_memory) json.back()["peak_device_memory_bytes"] = *s.peak_device_memory;
  }
  return json;
}

std::string table_row(const Report& report, const StageReport& s) {
  const auto* base = report.find(report.baseline);
  const double scale = higher_is_better(report.metric) ? 100 : 1;
  const double drop = base ? scale * report.drop(s, *base) : std::nan("");
  return fmt::format("| {} | {} | {} | {} | {} | {} ({}) | {} ({}) | {} | {} | {} |\n", in_cell(s.id), s.kind,
                     value_text(report.metric, s.value()), std::isnan(drop) ? "not known" : fmt::format("{:.2f}", drop),
                     shown_count(s.parameters), shown_count(s.macs), base ? fewer(base->macs, s.macs) : "1.0x",
                     shown_bytes(s.bytes), base ? fewer(base->bytes, s.bytes) : "1.0x", latency_text(s),
                     throughput_text(s), s.peak_memory ? shown_bytes(*s.peak_memory, 0) : "not known");
}

}  // namespace

nlohmann::json report_json(const Report& report) {
  const std::string metric(enum_name(report.metric));
  auto goals = nlohmann::json::array();
  for (const auto& g : report.goals) {
    goals.push_back({{"goal", g.goal}, {"wanted", g.wanted}, {"reached", g.reached}, {"met", g.met}});
  }
  auto unfinished = nlohmann::json::array();
  for (const auto& s : report.unfinished) {
    unfinished.push_back({{"id", s.id}, {"kind", s.kind}, {"state", s.state}, {"message", s.message}});
  }
  return {
      {"format", 1},
      {"name", report.name},
      {"seed", report.seed},
      {"split", report.split},
      {"metric", metric},
      {"max_length", report.max_length},
      {"texts",
       {{"train", report.train_size}, {"validation", report.validation_size}, {report.split, report.reported_size}}},
      {"baseline", report.baseline},
      {"machine", machine_json(report.machine)},
      {"references", rows_json(report, report.references)},
      {"stages", rows_json(report, report.stages)},
      {"goals", goals},
      {"warnings", report.warnings},
      {"error", report.error.empty() ? nlohmann::json() : nlohmann::json(report.error)},
      {"unfinished", unfinished},
      {"met", report.met()}};
}

std::string report_markdown(const Report& report) {
  const auto metric = enum_name(report.metric);
  const bool points = higher_is_better(report.metric);
  std::string out = fmt::format("# {}\n\n", report.name);
  out +=
      fmt::format("{} texts to train on, {} to validate; {} on the {} {} texts. Seed {}, one run.\n\n",
                  report.train_size, report.validation_size, metric, report.reported_size, report.split, report.seed);
  if (report.split != "test") {
    out += fmt::format("There is no test split: {} is on the texts that choices were made on.\n\n", metric);
  }
  out += fmt::format(
      "| stage | kind | {} | {} | parameters | multiply-adds | model file | latency, 1 text | texts/s, 32 a "
      "call | peak memory |\n",
      metric, points ? "drop" : "rise");
  out += "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
  for (const auto* rows : {&report.references, &report.stages}) {
    for (const auto& row : *rows) out += table_row(report, row);
  }
  out += fmt::format(
      "\n{} and ratios count from `{}`. Multiply-adds are the encoder's for one text of {} tokens; "
      "latency and texts a "
      "second are medians on texts of {} tokens, with the 10th and 90th percentile. Peak memory is what the process "
      "took "
      "while the stage was made.\n\nMeasured on {}.\n\n![{} against cost](report.svg)\n",
      points ? "Drops (in points)" : "Rises", report.baseline, report.max_length, report.max_length,
      describe(report.machine), metric);
  if (!report.error.empty()) out += unfinished_markdown(report);
  std::string scores;
  for (const auto& s : report.stages) {
    if (s.has_scores) scores += fmt::format("![scores of {0}]({0}/importance.svg)\n", s.id);
  }
  if (!scores.empty()) {
    out += "\n## Scores\n\nUnits of each layer, best first; the marks are at how many stay.\n\n" + scores;
  }
  std::string rollbacks;
  for (const auto& s : report.stages) {
    for (const auto& rollback : s.rollbacks) rollbacks += "- " + rollback_text(s.id, rollback) + "\n";
  }
  if (!rollbacks.empty()) out += "\n## Training that went back\n\n" + rollbacks;
  for (const auto& s : report.stages) {
    if (!s.rounds.empty()) out += rounds_markdown(s, report.metric);
  }
  out += zeros_markdown(report.stages);
  if (!report.warnings.empty()) out += fmt::format("\n## Warnings\n\n- {}\n", fmt::join(report.warnings, "\n- "));
  if (!report.goals.empty()) {
    out += "\n## Goals\n\n| goal | wanted | reached | |\n|---|---|---|---|\n";
    for (const auto& g : report.goals) {
      out += fmt::format("| {} | {} | {} | {} |\n", g.goal, g.wanted, g.reached, g.met ? "met" : "**missed**");
    }
  }
  return out;
}

}  // namespace compression::recipes
