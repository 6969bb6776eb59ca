#include "recipes/run.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "compress/base/byte_size.h"                      // shown_bytes, shown_count
#include "compress/base/config_json.h"                    // config_json
#include "compress/base/error.h"                          // Error
#include "compress/base/failure.h"                        // current_failure_text
#include "compress/base/fingerprint.h"                    // fingerprint
#include "compress/base/json_file.h"                      // read_json_file, write_text_file
#include "compress/base/message.h"                        // json_text
#include "compress/checkpoint/checkpoint.h"               // weight_bytes
#include "compress/kernels/sparse_choice.h"               // set_sparse_choice
#include "compress/model_folder/model_folder.h"           // head_misfit, load_model, load_model_config
#include "compress/model_folder/sentence_transformers.h"  // limit_sentence_length
#include "compress/spec/cost.h"                           // encoder_macs, parameter_count
#include "compress/storage/storage.h"                     // storage_of
#include "compress/tokenizer/sentence_settings.h"         // transformer_folder
#include "compress/workflow/folder_lock.h"                // FolderLock
#include "compress/workflow/folder_writer.h"              // FolderWriter, clear_leftovers
#include "compress/workflow/input_files.h"                // InputFiles
#include "compress/workflow/own_folder.h"                 // manifest_name, require_ours
#include "compress/workflow/peak_memory.h"                // PeakMemory
#include "prune/sparse.h"                                 // density_of, layer_zeros
#include "recipes/benchmark.h"                            // latency, throughput
#include "recipes/data_report.h"                          // look_at
#include "recipes/load.h"                                 // throw_if_any
#include "recipes/manifest.h"                             // find_finished
#include "recipes/output_folder.h"                        // validate_output, resume_folder
#include "recipes/plot.h"                                 // report_svg
#include "recipes/preflight.h"                            // check_models
#include "recipes/quality.h"                              // quality_warnings
#include "recipes/runnable.h"                             // open_model
#include "recipes/task_data.h"                            // read_data
#include "recipes/teachers.h"                             // teachers_of_other_families

namespace compression::recipes {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

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
    return fingerprint(json_text(all));
  }

  /// What the row of a folder that goals count from depends on.
  std::string fingerprint_of_folder(const std::string& name) {
    const json all = {{"format", manifest_format}, {"model", external(name)}, {"data", data_}};
    return fingerprint(json_text(all));
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

  bool is_stage(const std::string& name) const {
    return std::ranges::find(recipe_.stages, name, &StageEntry::id) != recipe_.stages.end();
  }

  void finished(const std::string& id, const std::string& own) { stages_[id] = own; }

  /// To be called when its folder is in place.
  void watch(const std::string& id, const json& manifest) {
    for (const auto& [name, file] : manifest.at("files").items()) files_.add(folder(id) / name);
  }

 private:
  fs::path folder(const std::string& name) const { return is_stage(name) ? recipe_.output / name : fs::path(name); }
  std::string external(const fs::path& path) {
    auto& hash = external_[path];
    if (hash.empty()) {
      const auto list = list_model_files(path);
      for (const auto& [name, file] : list.items()) files_.add(path / name);
      hash = fingerprint(json_text(list));
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
  return read_data(recipe);
}

struct FinishedStage {
  json manifest;
  std::optional<int64_t> peak_memory, peak_device_memory;  // bytes
};

/// Texts with a token that the model has no row for are told before the first stage.
void encode_all(const TaskData& data, const Tokenizer& tokenizer) {
  for (const auto split : {Split::train, Split::validation, Split::test}) {
    if (data.has(split)) data.batches(split, tokenizer, {.unlabelled = true});
  }
}

/// By split: on the validation texts and, where there are some, the test texts. A threshold of questions without an
/// answer that is nowhere set is chosen on the former and holds for the latter.
std::map<Split, Evaluation> evaluate_splits(const Runnable& model, const TaskData& data, const Context& context) {
  std::map<Split, Evaluation> reached;
  BatchOptions options;
  for (const auto split : {Split::validation, Split::test}) {
    if (!data.has(split)) continue;
    reached[split] = evaluate(model.logits, *data.batches(split, *model.tokenizer, options), context);
    options.threshold = reached.at(Split::validation).threshold;
  }
  return reached;
}

/// Runs one stage and puts its folder in place.
/// What only the stage itself finds wrong with its settings is told with their place.
Artifact run_algorithm(const StageEntry& stage, const Recipe& recipe, const Inputs& inputs, Context& context) {
  const auto runner = std::visit([](const auto& config) { return make_stage(config); }, stage.config);
  try {
    return runner->run(inputs, context);
  } catch (const ConfigError& error) {
    const auto at = static_cast<size_t>(&stage - recipe.stages.data());
    Problems problems;
    problems.add(join_key(join_key("stages", at), kind_of(stage)), error.what());
    throw_if_any(problems, recipe);
    throw;
  }
}

FinishedStage run_stage(const StageEntry& stage, const Recipe& recipe, const std::string& own, Models& models,
                        const TaskData& data, InputFiles& files, Context context) {
  const PeakMemory memory(context.device);
  FolderWriter writer(recipe.output / stage.id);
  context.seed = recipe.seed;
  context.work_folder = writer.folder();
  context.cache_folder = recipe.output / "cache";
  context.checkpoints.folder = resume_folder(recipe, stage.id);
  context.checkpoints.fingerprint = own;
  const auto artifact = run_algorithm(stage, recipe, models.inputs(stage, data), context);
  if (traits_of(data.head().task).head == HeadKind::embedding)
    limit_sentence_length(writer.folder(), recipe.data.max_length);

  const auto model =
      open_model(writer.folder(), std::nullopt, context.device);  // what was written, not what was in memory
  context.device = model.device;
  const auto reached = evaluate_splits(model, data, context);
  json metrics;
  for (const auto& [split, evaluation] : reached) metrics[split_name(split)] = evaluation;
  const auto machine = this_machine();
  json manifest = {
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
      {"removable", list_removable(writer.folder())},
      {"versions", {{"compress", COMPRESS_VERSION}, {"libtorch", machine.libtorch}}},
      {"machine",
       {{"processor", machine.processor}, {"extensions", machine.extensions}, {"threads", machine.threads}}}};
  if (traits_of(data.head().task).labels == LabelKind::answers) {
    auto answers = data.answers();
    answers.threshold = reached.at(Split::validation).threshold;
    manifest["answers"] = config_json(answers);
  }
  write_text_file(writer.folder() / manifest_name, json_text(manifest, 2) + "\n");
  files.check();
  writer.commit();
  remove_resume_folder(resume_folder(recipe, stage.id));
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
  report.has_scores = manifest.at("files").contains("importance.svg");
  report.bytes = manifest.at("files").at(manifest.at("model_file").get<std::string>()).at("bytes");
  return report;
}

json earlier_report(const fs::path& file) {
  try {
    return fs::exists(file) ? read_json_file(file) : json::object();
  } catch (const Error&) {
    return json::object();  // it is written anew
  }
}

/// The row of a stage or folder in an earlier report, if it was of the same model and texts; else null. Throws
/// json::exception.
json row_of(const StageReport& stage, const json& earlier) {
  for (const auto* rows : {"stages", "references"}) {
    for (const auto& old : earlier.value(rows, json::array())) {
      if (old.value("id", "") == stage.id && old.value("fingerprint", "") == stage.fingerprint) return old;
    }
  }
  return {};
}

/// Evaluates a folder that goals count from, unless an earlier report has what it reaches.
StageReport reference_report(const std::string& name, const Recipe& recipe, Models& models, const TaskData& data,
                             Context context) {
  StageReport report;
  report.id = name;
  report.kind = "model";
  report.fingerprint = models.fingerprint_of_folder(name);
  report.reached.metric = data.metric();
  report.validation = std::nan("");
  const auto config = load_model_config(name);
  report.parameters = parameter_count(config);
  report.macs = encoder_macs(config, recipe.data.max_length);
  report.bytes = weight_bytes(transformer_folder(name));
  if (!head_misfit(name, config, data.head()).empty()) return report;
  const auto validation = fmt::format("validation_{}", enum_name(data.metric()));
  try {
    const auto old = row_of(report, earlier_report(recipe.output / "report.json"));
    if (!old.is_null()) {
      report.reached = old.get<Evaluation>();
      report.validation = old.at(validation);
      report.skipped = true;
      return report;
    }
  } catch (const json::exception&) {  // it is evaluated anew
  }
  context.logger->info("{}: evaluating what goals count from", name);
  const auto model = open_model(name, std::nullopt, context.device, data.head());
  context.device = model.device;
  const auto reached = evaluate_splits(model, data, context);
  report.reached = reached.at(data.reported());
  report.validation = reached.at(Split::validation).value();
  context.logger->info("{}: {} on the {} texts", name, describe(report.reached), split_name(data.reported()));
  return report;
}

/// Timings of an earlier report, if they were taken on this machine and of the same model; and the memory that a stage
/// took which is skipped now.
bool reuse_timing(StageReport& stage, const json& earlier, const Machine& machine) {
  if (earlier.value("machine", json()) != machine_json(machine)) return false;
  const auto old = row_of(stage, earlier);
  if (old.is_null()) return false;
  const auto bytes = [&](const char* key) {
    const auto found = old.find(key);
    return found == old.end() || found->is_null() ? std::nullopt : std::optional(found->get<int64_t>());
  };
  if (stage.skipped) {
    stage.peak_memory = bytes("peak_memory_bytes");
    stage.peak_device_memory = bytes("peak_device_memory_bytes");
  }
  if (old.at("latency_ms").is_null() || old.at("throughput").is_null()) return false;  // that run ended early
  const auto batch_ms = [](double per_second) { return StageReport::throughput_batch * 1e3 / per_second; };
  const auto throughput = [&](const json& row, const std::string& key) {
    const auto& spread = row.at(key + "_spread");
    return Timing{batch_ms(row.at(key)), batch_ms(spread.at(1)), batch_ms(spread.at(0)), row.at(key + "_runs")};
  };
  stage.latency = Timing{old.at("latency_ms"), old.at("latency_spread_ms").at(0), old.at("latency_spread_ms").at(1),
                         old.at("latency_runs")};
  stage.throughput = throughput(old, "throughput");
  if (const auto zeros = old.value("zeros", json()); !zeros.is_null()) {
    stage.zeros = {zeros.at("pattern"), zeros.at("density"), zeros.at("layers"), zeros.at("sparse_layers"), {}};
    if (zeros.contains("dense_throughput")) stage.zeros->as_if_dense = throughput(zeros, "dense_throughput");
  }
  return true;
}

/// While it lives, models that are packed leave no zeros out.
struct ZerosMultiplied {
  ZerosMultiplied() { kernels::set_sparse_choice(kernels::SparseChoice()); }
  ~ZerosMultiplied() { kernels::set_sparse_choice(std::nullopt); }
  ZerosMultiplied(const ZerosMultiplied&) = delete;
  ZerosMultiplied& operator=(const ZerosMultiplied&) = delete;
};

/// What the zeros of a model bring, if it has a pattern; `measure` times its batches.
std::optional<ZerosReport> zeros_report(const fs::path& folder, const std::function<Timing()>& measure) {
  if (!fs::exists(folder / "model.safetensors")) return std::nullopt;
  const auto config = load_model_config(folder);
  if (!config.sparsity) return std::nullopt;
  auto model = load_model(folder).model;
  ZerosReport report{.pattern = std::string(enum_name(*config.sparsity)),
                     .density = prune::density_of(model->block_linears())};
  const auto layers = prune::layer_zeros(model);
  report.layers = std::ssize(layers);
  if (!storage_of(config.linear_format).quantizes_inputs()) return report;
  report.sparse = std::ranges::count_if(layers, [](const auto& layer) { return layer.choice.fewest_rows > 0; });
  const ZerosMultiplied zeros_multiplied;
  report.as_if_dense = measure();
  return report;
}

/// The stages and folders that have no timings yet.
void measure_stages(Report& report, const Recipe& recipe, const Context& context) {
  const auto earlier = earlier_report(recipe.output / "report.json");
  const auto measure = [&](StageReport& stage, const fs::path& folder) {
    try {
      if (stage.throughput || reuse_timing(stage, earlier, report.machine)) return;
    } catch (const json::exception&) {
      context.logger->warn("report.json of the run before is not as it was written; measuring again");
    }
    context.check_stop();
    context.logger->info("{}: measuring latency and throughput", stage.id);
    const auto of_batch = [&](const Runnable& model, int64_t texts) {
      return measure_batch(model, texts, recipe.data.max_length, 1.0);
    };
    const auto open = [&] { return open_model(folder, std::nullopt, context.device); };
    const auto model = open();
    stage.latency = of_batch(model, 1);
    stage.throughput = of_batch(model, StageReport::throughput_batch);
    stage.zeros = zeros_report(folder, [&] { return of_batch(open(), StageReport::throughput_batch); });
  };
  for (auto& folder : report.references) measure(folder, folder.id);
  for (auto& stage : report.stages) measure(stage, recipe.output / stage.id);
}

}  // namespace

std::vector<GoalReport> check_goals(const Goals& goals, const Report& report) {
  std::vector<GoalReport> results;
  const auto& last = report.stages.back();
  const auto metric = std::string(enum_name(report.metric));
  if (goals.accuracy && goals.accuracy->min) {
    results.push_back({metric, "at least " + value_text(report.metric, *goals.accuracy->min),
                       value_text(report.metric, last.value()),
                       within(last.value(), *goals.accuracy->min, 0.0, report.metric)});
  }
  if (goals.accuracy && goals.accuracy->max_drop) {
    const auto* base = report.find(goals.accuracy->relative_to->name);
    const auto distance = [&](double drop) { return drop_text(report.metric, drop); };
    results.push_back({metric, fmt::format("at most {} {}", distance(*goals.accuracy->max_drop), base->id),
                       distance(report.drop(last, *base)),
                       within(last.value(), base->value(), *goals.accuracy->max_drop, report.metric)});
  }
  if (goals.size) {
    const auto size = [](int64_t bytes) { return shown_bytes(bytes, 2); };
    results.push_back(
        {"size", "at most " + size(goals.size->max.bytes), size(last.bytes), last.bytes <= goals.size->max.bytes});
  }
  if (goals.macs) {
    const auto* base = report.find(goals.macs->relative_to.name);
    const double reduction = static_cast<double>(base->macs) / static_cast<double>(std::max<int64_t>(last.macs, 1));
    results.push_back({"multiply-adds",
                       fmt::format("at least {:.2f} times fewer than {}", goals.macs->min_reduction, base->id),
                       fmt::format("{:.2f} times fewer", reduction), meets(*goals.macs, reduction)});
  }
  return results;
}

namespace {

std::string baseline_of(const Recipe& recipe) {
  const auto& accuracy = recipe.goals.accuracy;
  return accuracy && accuracy->relative_to ? accuracy->relative_to->name : recipe.stages.front().id;
}

/// Runs a stage, unless it is up to date, tells what it is, and adds it to the report.
void finish_stage(const StageEntry& stage, const Recipe& recipe, Report& report, Models& models, const TaskData& data,
                  InputFiles& files, const Context& context) {
  context.check_stop();
  files.check();
  const auto own = models.fingerprint_of(stage);
  std::string reason;
  const auto manifest = find_finished(recipe.output / stage.id, own, reason);
  FinishedStage finished;
  if (manifest) {
    context.logger->info("{}: up to date, skipped", stage.id);
    finished.manifest = *manifest;
    remove_resume_folder(resume_folder(recipe, stage.id));
  } else {
    context.logger->info("{}: {}{}", stage.id, kind_of(stage), reason.empty() ? "" : " again: " + reason);
    finished = run_stage(stage, recipe, own, models, data, files, context);
  }
  models.finished(stage.id, own);
  models.watch(stage.id, finished.manifest);
  report.stages.push_back(stage_report(stage, finished.manifest, report.split));
  auto& entry = report.stages.back();
  entry.skipped = manifest.has_value();
  entry.peak_memory = finished.peak_memory;
  entry.peak_device_memory = finished.peak_device_memory;
  context.logger->info("{}: {} on the {} texts, {} parameters, {}", stage.id, describe(entry.reached), report.split,
                       shown_count(entry.parameters), shown_bytes(entry.bytes));
  for (const auto& warning : quality_warnings(recipe, report, finished.manifest)) {
    context.logger->warn("{}", warning);
    report.warnings.push_back(warning);
  }
}

/// Throws ConfigError if the run would replace or remove anything that is not of this program's making, in whatever
/// order stages are made: before any work.
void require_own_output(const Recipe& recipe, Models& models) {
  std::string problems;
  for (const auto& stage : recipe.stages) {
    const auto folder = recipe.output / stage.id;
    const auto own = models.fingerprint_of(stage);
    models.finished(stage.id, own);
    const bool ours = is_ours(folder);
    const auto file = ours ? foreign_file(folder) : std::nullopt;
    if (ours && !file) continue;  // it may be made again
    std::string reason;
    if (find_finished(folder, own, reason)) continue;
    require_ours(folder);
    if (file) {
      problems += fmt::format(
          "{}{}: not written by stage `{}`, whose folder has to be made again ({}), and would be removed with it: move "
          "it away",
          problems.empty() ? "" : "\n", file->string(), stage.id, reason);
    }
  }
  if (!problems.empty()) throw ConfigError(problems);
}

/// Throws ConfigError: what `validate` says of the output folder, for callers without it too.
void check_output(const Recipe& recipe) {
  Problems problems;
  validate_output(recipe, problems);
  throw_if_any(problems, recipe);
}

void write_report(const Report& report, const fs::path& folder) {
  write_text_file(folder / "report.json", json_text(report_json(report), 2) + "\n");
  write_text_file(folder / "report.svg", report_svg(report));
  write_text_file(folder / "report.md", report_markdown(report));
}

/// For use inside of a catch block: what ended the run at stage `at`, or after all stages.
void add_failure(Report& report, const Recipe& recipe, size_t at) {
  bool stopped = false;
  try {
    throw;
  } catch (const Interrupted&) {
    stopped = true;
  } catch (...) {
  }
  auto message = current_failure_text();
  std::ranges::replace(message, '\n', ' ');
  report.error = at < recipe.stages.size() ? fmt::format("{}: {}", recipe.stages[at].id, message) : message;
  for (size_t i = at; i < recipe.stages.size(); ++i) {
    const auto& stage = recipe.stages[i];
    const bool here = i == at;
    report.unfinished.push_back({stage.id, std::string(kind_of(stage)),
                                 !here     ? "not run"
                                 : stopped ? "stopped"
                                           : "failed",
                                 here ? message : ""});
  }
}

/// The report of the stages that are finished, while an exception is on its way. Never throws: what ended the run is
/// what is to be told.
void report_failure(Report& report, const Recipe& recipe, size_t at, const Context& context) {
  try {
    if (report.stages.empty()) return;
    add_failure(report, recipe, at);
    const bool may_measure = at < recipe.stages.size() && !(context.stop != nullptr && context.stop->load());
    try {
      if (may_measure) measure_stages(report, recipe, context);
    } catch (...) {  // then without timings
    }
    write_report(report, recipe.output);
    context.logger->info("report of what is finished: {}", (recipe.output / "report.md").string());
  } catch (...) {
    context.logger->warn("the report of what is finished can't be written: {}", current_failure_text());
  }
}

}  // namespace

std::vector<StagePlan> plan(const Recipe& recipe, const TaskData& data) {
  InputFiles files;
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
  check_output(recipe);
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
                .references = {},
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
  Problems problems;
  auto checks = check_models(recipe, data.has_pairs(), data.head(), problems);
  throw_if_any(problems, recipe);
  for (auto& line : checks.warnings) {
    context.logger->warn("{}", line);
    report.warnings.push_back(std::move(line));
  }
  for (const auto& folder : checks.beyond) encode_all(data, *load_tokenizer(folder));
  for (const auto& warning : look_at(data, recipe).warnings) {
    context.logger->warn("{}", warning);
    report.warnings.push_back(warning);
  }
  // What the data and the models rule out is told by now, and nothing has been made.
  const FolderLock lock(recipe.output);
  for (const auto& stage : recipe.stages) clear_leftovers(recipe.output / stage.id);
  const auto classes = data.head().labels.size();
  context.logger->info("{}: {}, {} texts to train on, {} to validate, {} to test{}", recipe.name,
                       enum_name(data.head().task), report.train_size, report.validation_size, size(Split::test),
                       classes > 1 ? fmt::format("; {} classes", classes) : "");
  Models models(recipe, data, files);
  require_own_output(recipe, models);
  for_each_value(recipe.goals, "goals", [&]<class T>(const std::string&, const T& value) {
    if constexpr (std::same_as<T, Reference>) {
      if (models.is_stage(value.name) || report.find(value.name) != nullptr) return;
      report.references.push_back(reference_report(value.name, recipe, models, data, context));
    }
  });
  size_t at = 0;
  try {
    for (; at < recipe.stages.size(); ++at) {
      finish_stage(recipe.stages[at], recipe, report, models, data, files, context);
    }
    measure_stages(report, recipe, context);
    for (auto& line : speed_warnings(recipe, report)) {
      context.logger->warn("{}", line);
      report.warnings.push_back(std::move(line));
    }
    report.goals = check_goals(recipe.goals, report);
  } catch (...) {
    report_failure(report, recipe, at, context);
    throw;
  }
  write_report(report, recipe.output);
  return report;
}

}  // namespace compression::recipes
