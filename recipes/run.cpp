#include "recipes/run.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include "compress/checkpoint/json_file.h"    // read_json_file, write_text_file
#include "compress/workflow/config_json.h"    // config_json
#include "compress/workflow/error.h"          // Error
#include "compress/workflow/fingerprint.h"    // fingerprint
#include "compress/workflow/folder_lock.h"    // FolderLock
#include "compress/workflow/folder_writer.h"  // FolderWriter, clear_leftovers
#include "compress/workflow/input_files.h"    // InputFiles
#include "compress/workflow/peak_memory.h"    // PeakMemory
#include "recipes/benchmark.h"                // latency, throughput
#include "recipes/manifest.h"                 // find_finished
#include "recipes/plot.h"                     // report_svg
#include "recipes/runnable.h"                 // open_model
#include "recipes/task_data.h"                // TaskData
#include "recipes/teachers.h"                 // teachers_of_other_families

namespace compression::recipes {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr auto manifest_name = "compress.json";

std::string_view kind_of(const StageEntry& stage) {
  return std::visit([](const auto& config) { return std::decay_t<decltype(config)>::kind; }, stage.config);
}

json config_of(const StageEntry& stage) {
  return std::visit([](const auto& config) { return config_json(config); }, stage.config);
}

/// A recipe's models by name, each with what its content hashes to.
class Models {
 public:
  /// `files` gets to know every file that is read.
  Models(const Recipe& recipe, const TaskData& data, InputFiles& files)
      : recipe_(recipe), data_(data.fingerprint()), files_(files) {
    base_ = external(recipe.model.path);
  }

  /// What a stage's result depends on.
  std::string fingerprint_of(const StageEntry& stage) {
    json inputs = json::object();
    for (const auto& reference : references(stage)) inputs[reference.name] = content(reference.name);
    const json all = {{"format", manifest_format},
                      {"kind", kind_of(stage)},
                      {"config", config_of(stage)},
                      {"seed", recipe_.seed},
                      {"base", base_},
                      {"inputs", inputs},
                      {"data", data_}};
    return fingerprint(all.dump());
  }

  json inputs_of(const StageEntry& stage) {
    json inputs = {{"model", base_}, {"data", data_}, {"references", json::object()}};
    for (const auto& reference : references(stage)) inputs["references"][reference.name] = content(reference.name);
    return inputs;
  }

  Inputs inputs(const StageEntry& stage, const TaskData& data) const {
    Inputs inputs{.models = {}, .base = {recipe_.model.path}, .data = data};
    for (const auto& reference : references(stage)) inputs.models[reference.name] = {folder(reference.name)};
    return inputs;
  }

  void finished(const std::string& id, const std::string& own) { stages_[id] = own; }

  /// To be called when its folder is in place.
  void watch(const std::string& id, const json& manifest) {
    for (const auto& [name, file] : manifest.at("files").items()) files_.add(folder(id) / name);
  }

 private:
  bool is_stage(const std::string& name) const {
    return std::any_of(recipe_.stages.begin(), recipe_.stages.end(), [&](const StageEntry& s) { return s.id == name; });
  }
  fs::path folder(const std::string& name) const { return is_stage(name) ? recipe_.output / name : fs::path(name); }
  std::string external(const fs::path& path) {
    auto& hash = external_[path];
    if (hash.empty()) {
      const auto list = list_files(path);
      for (const auto& [name, file] : list.items()) files_.add(path / name);
      hash = fingerprint(list.dump());
    }
    return hash;
  }
  std::string content(const std::string& name) { return is_stage(name) ? stages_.at(name) : external(name); }

  const Recipe& recipe_;
  std::string data_, base_;
  InputFiles& files_;
  std::map<std::string, std::string> stages_;
  std::map<fs::path, std::string> external_;  // as they were when the run began
};

/// The recipe's data, with its files watched from before they are read.
TaskData read_data(const Recipe& recipe, InputFiles& files) {
  const auto& config = recipe.data;
  for (const auto* file : {&config.train, &config.validation, config.test ? &*config.test : nullptr,
                           config.unlabelled ? &*config.unlabelled : nullptr}) {
    if (file != nullptr && fs::is_regular_file(file->path)) files.add(file->path);
  }
  return TaskData(recipe.task, config);
}

/// Where a stage's training keeps its state while it is at work.
fs::path resume_folder(const Recipe& recipe, const std::string& id) {
  return recipe.output / ("." + id + ".resume");
}

void remove_resume_folder(const Recipe& recipe, const std::string& id) {
  std::error_code error;
  fs::remove_all(resume_folder(recipe, id), error);
  if (error)
    throw StorageError(fmt::format("{}: can't be removed: {}", resume_folder(recipe, id).string(), error.message()));
}

struct FinishedStage {
  json manifest;
  std::optional<int64_t> peak_memory, peak_device_memory;  // bytes
};

/// Runs one stage and puts its folder in place.
FinishedStage run_stage(const StageEntry& stage, const Recipe& recipe, const std::string& own, Models& models,
                        const TaskData& data, const InputFiles& files, Context context) {
  const PeakMemory memory(context.device);
  FolderWriter writer(recipe.output / stage.id);
  context.seed = recipe.seed;
  context.work_folder = writer.folder();
  context.cache_folder = recipe.output / "cache";
  context.checkpoints.folder = resume_folder(recipe, stage.id);
  context.checkpoints.fingerprint = own;
  const auto runner = std::visit([](const auto& config) { return make_stage(config); }, stage.config);
  const auto artifact = runner->run(models.inputs(stage, data), context);

  const auto model =
      open_model(writer.folder(), std::nullopt, context.device);  // what was written, not what was in memory
  context.device = model.device;
  json metrics;
  for (const auto split : {Split::validation, Split::test}) {
    if (!data.has(split)) continue;
    const auto source = data.batches(split, *model.tokenizer, {});
    metrics[split_name(split)] = evaluate(model.logits, *source, context);
  }
  const auto machine = this_machine();
  const json manifest = {
      {"format", manifest_format},
      {"stage", {{"id", stage.id}, {"kind", kind_of(stage)}, {"config", config_of(stage)}}},
      {"recipe", recipe.name},
      {"seed", recipe.seed},
      {"max_length", recipe.data.max_length},
      {"fingerprint", own},
      {"inputs", models.inputs_of(stage)},
      {"metrics", metrics},
      {"parameters", parameter_count(*model.config)},
      {"encoder_macs", encoder_macs(*model.config, recipe.data.max_length)},
      {"model_file", model.file.filename().string()},
      {"notes", artifact.notes},
      {"files", list_files(writer.folder())},
      {"versions", {{"compress", COMPRESS_VERSION}, {"libtorch", machine.libtorch}}},
      {"machine",
       {{"processor", machine.processor}, {"extensions", machine.extensions}, {"threads", machine.threads}}}};
  write_text_file(writer.folder() / manifest_name, manifest.dump(2) + "\n");
  files.check();
  writer.commit();
  remove_resume_folder(recipe, stage.id);
  return {manifest, memory.host_bytes(), memory.device_bytes()};
}

StageReport stage_report(const StageEntry& stage, const json& manifest, std::string_view split) {
  const auto reached = manifest.at("metrics").at(split).get<Evaluation>();
  StageReport report;
  report.id = stage.id;
  report.kind = kind_of(stage);
  report.fingerprint = manifest.at("fingerprint");
  report.reached = reached;
  report.validation = manifest.at("metrics").at("validation").get<Evaluation>().value();
  report.parameters = manifest.at("parameters");
  report.macs = manifest.at("encoder_macs");
  report.rollbacks = manifest.value("/notes/training/rollbacks"_json_pointer, json::array());
  report.rounds = manifest.value("/notes/rounds"_json_pointer, json::array());
  report.bytes = manifest.at("files").at(manifest.at("model_file").get<std::string>()).at("bytes");
  return report;
}

/// Timings of an earlier report, if they were taken on this machine and of the same model; and the memory that a stage
/// took which is skipped now.
bool reuse_timing(StageReport& stage, const json& earlier, const Machine& machine) {
  if (earlier.value("machine", json()) != machine_json(machine)) return false;
  for (const auto& old : earlier.value("stages", json::array())) {
    if (old.value("id", "") != stage.id || old.value("fingerprint", "") != stage.fingerprint) continue;
    const auto batch_ms = [](double per_second) { return StageReport::throughput_batch * 1e3 / per_second; };
    stage.latency = {old.at("latency_ms"), old.at("latency_spread_ms").at(0), old.at("latency_spread_ms").at(1),
                     old.at("latency_runs")};
    stage.throughput = {batch_ms(old.at("throughput")), batch_ms(old.at("throughput_spread").at(1)),
                        batch_ms(old.at("throughput_spread").at(0)), old.at("throughput_runs")};
    const auto bytes = [&](const char* key) {
      const auto found = old.find(key);
      return found == old.end() || found->is_null() ? std::nullopt : std::optional(found->get<int64_t>());
    };
    if (stage.skipped) {
      stage.peak_memory = bytes("peak_memory_bytes");
      stage.peak_device_memory = bytes("peak_device_memory_bytes");
    }
    return true;
  }
  return false;
}

json earlier_report(const fs::path& file) {
  try {
    return fs::exists(file) ? read_json_file(file) : json::object();
  } catch (const Error&) {
    return json::object();  // it is written anew
  }
}

void measure_stages(Report& report, const Recipe& recipe, const Context& context) {
  const auto earlier = earlier_report(recipe.output / "report.json");
  for (auto& stage : report.stages) {
    try {
      if (reuse_timing(stage, earlier, report.machine)) continue;
    } catch (const json::exception&) {
      context.logger->warn("report.json of the run before is not one of ours; measuring again");
    }
    context.check_stop();
    context.logger->info("{}: measuring latency and throughput", stage.id);
    const auto model = open_model(recipe.output / stage.id, std::nullopt, context.device);
    stage.latency = measure_batch(model, 1, recipe.data.max_length, 1.0);
    stage.throughput = measure_batch(model, StageReport::throughput_batch, recipe.data.max_length, 1.0);
  }
}

std::vector<GoalReport> check_goals(const Goals& goals, const Report& report) {
  std::vector<GoalReport> results;
  const auto& last = report.stages.back();
  const auto metric = std::string(enum_name(report.metric));
  constexpr double rounding = 1e-9;  // 0.01 is met by a drop of 5 texts of 500
  if (goals.accuracy && goals.accuracy->min) {
    results.push_back({metric, "at least " + value_text(report.metric, *goals.accuracy->min),
                       value_text(report.metric, last.value()), last.value() >= *goals.accuracy->min - rounding});
  }
  if (goals.accuracy && goals.accuracy->max_drop) {
    const auto* base = report.find(goals.accuracy->relative_to->name);
    const double drop = report.drop(last, *base);
    const bool points = higher_is_better(report.metric);
    const auto distance = [&](double x) {
      return points ? fmt::format("{:.2f} points below", 100 * x) : fmt::format("{:.4g} above", x);
    };
    results.push_back({metric, fmt::format("at most {} {}", distance(*goals.accuracy->max_drop), base->id),
                       distance(drop), drop <= *goals.accuracy->max_drop + rounding});
  }
  if (goals.size) {
    const auto size = [](int64_t bytes) { return fmt::format("{:.2f} MB", static_cast<double>(bytes) / 1e6); };
    results.push_back(
        {"size", "at most " + size(goals.size->max.bytes), size(last.bytes), last.bytes <= goals.size->max.bytes});
  }
  if (goals.macs) {
    const auto* base = report.find(goals.macs->relative_to.name);
    const double reduction = static_cast<double>(base->macs) / static_cast<double>(last.macs);
    results.push_back(
        {"multiply-adds", fmt::format("at least {:.2f} times fewer than {}", goals.macs->min_reduction, base->id),
         fmt::format("{:.2f} times fewer", reduction), reduction >= goals.macs->min_reduction - rounding});
  }
  return results;
}

std::string baseline_of(const Recipe& recipe) {
  const auto& accuracy = recipe.goals.accuracy;
  return accuracy && accuracy->relative_to ? accuracy->relative_to->name : recipe.stages.front().id;
}

}  // namespace

std::vector<StagePlan> plan(const Recipe& recipe) {
  InputFiles files;
  const auto data = read_data(recipe, files);
  Models models(recipe, data, files);
  std::vector<StagePlan> stages;
  for (const auto& stage : recipe.stages) {
    StagePlan entry{.id = stage.id, .kind = std::string(kind_of(stage)), .reason = {}, .up_to_date = false};
    const auto own = models.fingerprint_of(stage);
    entry.up_to_date = find_finished(recipe.output / stage.id, own, entry.reason).has_value();
    if (!entry.up_to_date && entry.reason.empty()) entry.reason = "not run yet";
    models.finished(stage.id, own);
    stages.push_back(std::move(entry));
  }
  return stages;
}

Report run(const Recipe& recipe, Context& context) {
  const FolderLock lock(recipe.output);
  InputFiles files;
  const auto data = read_data(recipe, files);
  const auto size = [&](Split split) { return data.has(split) ? data.size(split) : 0; };
  Report report{.name = recipe.name,
                .split = std::string(split_name(data.reported())),
                .metric = data.metric(),
                .max_length = recipe.data.max_length,
                .train_size = size(Split::train),
                .validation_size = size(Split::validation),
                .reported_size = size(data.reported()),
                .seed = recipe.seed,
                .baseline = baseline_of(recipe),
                .machine = this_machine(),
                .stages = {},
                .goals = {},
                .warnings = {}};
  for (const auto& other : teachers_of_other_families(recipe)) {
    report.warnings.push_back(
        fmt::format("`{}` learns from a teacher of another family ({}): such pairs do worse than those of one family, "
                    "as the authors "
                    "of FastFormers found (arXiv 2010.13382).",
                    other.stage, other.text));
  }
  const auto classes = data.head().labels.size();
  context.logger->info("{}: {}, {} texts to train on, {} to validate, {} to test{}", recipe.name,
                       enum_name(data.head().task), report.train_size, report.validation_size, size(Split::test),
                       classes > 1 ? fmt::format("; {} classes", classes) : "");
  Models models(recipe, data, files);
  for (const auto& stage : recipe.stages) {
    context.check_stop();
    files.check();
    const auto own = models.fingerprint_of(stage);
    clear_leftovers(recipe.output / stage.id);
    std::string reason;
    const auto manifest = find_finished(recipe.output / stage.id, own, reason);
    const bool skipped = manifest.has_value();
    FinishedStage finished;
    if (skipped) {
      context.logger->info("{}: up to date, skipped", stage.id);
      finished.manifest = *manifest;
      remove_resume_folder(recipe, stage.id);
    } else {
      context.logger->info("{}: {}{}", stage.id, kind_of(stage), reason.empty() ? "" : " again: " + reason);
      finished = run_stage(stage, recipe, own, models, data, files, context);
    }
    models.finished(stage.id, own);
    models.watch(stage.id, finished.manifest);
    report.stages.push_back(stage_report(stage, finished.manifest, report.split));
    auto& entry = report.stages.back();
    entry.skipped = skipped;
    entry.peak_memory = finished.peak_memory;
    entry.peak_device_memory = finished.peak_device_memory;
    context.logger->info("{}: {} on the {} texts, {:.1f} M parameters, {:.1f} MB", stage.id, describe(entry.reached),
                         report.split, static_cast<double>(entry.parameters) / 1e6,
                         static_cast<double>(entry.bytes) / 1e6);
  }
  measure_stages(report, recipe, context);
  report.goals = check_goals(recipe.goals, report);
  write_text_file(recipe.output / "report.json", report_json(report).dump(2) + "\n");
  write_text_file(recipe.output / "report.svg", report_svg(report));
  write_text_file(recipe.output / "report.md", report_markdown(report));
  return report;
}

}  // namespace compression::recipes
