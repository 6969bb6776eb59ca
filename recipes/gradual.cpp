#include "recipes/gradual.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "compress/base/error.h"                 // StorageError
#include "compress/base/failure.h"               // is_out_of_memory
#include "compress/base/fields.h"                // enum_name
#include "compress/base/files.h"                 // make_folder
#include "compress/base/json_file.h"             // read_json_file, write_text_file
#include "compress/base/message.h"               // json_text
#include "compress/evaluate/evaluate.h"          // evaluate
#include "compress/model_folder/model_folder.h"  // load_model, save_model
#include "compress/spec/cost.h"                  // encoder_macs
#include "compress/workflow/folder_writer.h"     // FolderWriter
#include "prune/allocate.h"                      // Budget
#include "prune/pruner.h"                        // Pruner
#include "prune/schedule.h"                      // GradualSchedule
#include "prune/sparse.h"                        // tell_sparsity

namespace compression::recipes {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Where the rounds are, in a folder that outlives a run that is killed: a folder a round, and a file with what came of
/// those that are finished.
class RoundFiles {
 public:
  RoundFiles(fs::path folder, std::string fingerprint)
      : folder_(std::move(folder)), fingerprint_(std::move(fingerprint)) {
    make_folder(folder_);
  }

  /// The finished rounds: none if there is no file, or one of other settings.
  json read(spdlog::logger& logger) const {
    if (!fs::exists(file())) return json::array();
    try {
      const auto kept = read_json_file(file());
      if (kept.at("fingerprint") == fingerprint_) return kept.at("rounds");
      logger.info("{}: of other settings or inputs; beginning again", file().string());
    } catch (const std::exception& error) {
      if (is_out_of_memory(error)) throw;
      logger.warn("{}; beginning again", error.what());
    }
    return json::array();
  }

  void write(const json& rounds) const {
    write_text_file(file(), json_text(json({{"fingerprint", fingerprint_}, {"rounds", rounds}}), 1) + "\n");
  }

  fs::path round(size_t number, std::string_view suffix = "") const {
    return folder_ / fmt::format("{}{}", number, suffix);
  }

 private:
  fs::path file() const { return folder_ / "rounds.json"; }

  fs::path folder_;
  std::string fingerprint_;
};

/// Like a copy of the folder's files, without their content being there twice where the file system can.
void link_files(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to, error);
  for (const auto& entry : fs::directory_iterator(from)) {
    const auto target = to / entry.path().filename();
    if (entry.is_directory()) {
      link_files(entry.path(), target);
      continue;
    }
    fs::create_hard_link(entry.path(), target, error);
    if (error) fs::copy_file(entry.path(), target, error);
    if (error) throw StorageError(fmt::format("{}: can't be written: {}", target.string(), error.message()));
  }
}

/// Removes a folder so that no part of it is ever there under its name, at whatever instant the process ends.
void discard(const fs::path& folder, const fs::path& gone) {
  std::error_code error;
  fs::remove_all(gone, error);  // of a process that ended here
  if (fs::exists(folder)) fs::rename(folder, gone);
  fs::remove_all(gone, error);
}

/// Of the round at `position`, from distill.epochs in the first to last_epochs at 1.
int64_t epochs_at(double position, const GradualConfig& config) {
  const auto first = config.distill.train.epochs, last = config.last_epochs.value_or(first);
  const double begin = 1.0 / static_cast<double>(config.rounds);
  const double way = config.rounds == 1 ? 1.0 : std::clamp((position - begin) / (1.0 - begin), 0.0, 1.0);
  return std::llround(std::lerp(static_cast<double>(first), static_cast<double>(last), way));
}

/// The stage that a round trains with.
distill::DistillConfig distill_config(const RoundTraining& training, Reference student) {
  return {.teacher = training.teacher,
          .student = {.from = std::move(student)},
          .losses = training.losses,
          .train = training.train};
}

class GradualStage : public Stage {
 public:
  explicit GradualStage(GradualConfig config) : config_(std::move(config)) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    const auto length = inputs.data.max_length();
    const auto start = inputs.model(config_.of).folder;
    const auto start_macs = encoder_macs(load_model_config(start), length);
    const auto teacher = validation(inputs.model(config_.distill.teacher).folder, inputs, context);
    const auto metric = std::string(enum_name(teacher.metric));
    const bool resumable = !context.checkpoints.folder.empty();
    const RoundFiles files(resumable ? context.checkpoints.folder : context.work_folder / "rounds",
                           context.checkpoints.fingerprint);
    auto rounds = files.read(*context.logger);
    prune::GradualSchedule schedule(config_.rounds, config_.max_halvings);
    auto current = start;
    for (size_t i = 0; i < rounds.size(); ++i) {
      const bool kept = rounds[i].at("kept");
      if (kept) current = files.round(i + 1);
      kept ? schedule.accept() : schedule.undo();
    }
    if (!rounds.empty()) context.logger->info("going on after round {}", rounds.size());
    while (const auto position = schedule.next()) {
      const auto number = rounds.size() + 1;
      const auto share = prune::cubic_share(*position);
      const auto [folder, notes] = run_round(number, *position, start, current, files, inputs, context);
      const auto reached = validation(folder, inputs, context);
      const auto macs = encoder_macs(load_model_config(folder), length);
      const auto fewer = static_cast<double>(start_macs) / static_cast<double>(std::max<int64_t>(macs, 1));
      const auto left = config_.prune.budget.pattern ? fmt::format("{:.1f} % of the blocks' weights",
                                                                   100.0 * config_.prune.budget.kept_at(share))
                                                     : fmt::format("{:.2f} times fewer multiply-adds", fewer);
      const bool kept = !config_.max_drop || reached.within(teacher, *config_.max_drop);
      context.logger->info("round {}: {}, validation {} {:.4f}, the teacher's {:.4f}{}", number, left, metric,
                           reached.value(), teacher.value(), kept ? "" : ": undone");
      rounds.push_back({{"position", *position},
                        {"share", share},
                        {"encoder_macs", macs},
                        {"macs_reduction", fewer},
                        {"validation_" + metric, reached.value()},
                        {"validation_loss", reached.loss},
                        {"kept", kept},
                        {"training", notes.value("training", json())}});
      if (config_.prune.budget.pattern) rounds.back()["density"] = config_.prune.budget.kept_at(share);
      files.write(rounds);
      if (kept) {
        current = folder;
        schedule.accept();
      } else {
        fs::remove_all(folder);
        schedule.undo();
      }
    }
    for (size_t i = 0; resumable && i < rounds.size(); ++i) {
      if (rounds[i].at("kept")) link_files(files.round(i + 1), context.work_folder / "rounds" / std::to_string(i + 1));
    }
    if (current == start) {
      context.logger->warn("no round stayed within max_drop: the model is left as it was");
      const auto tokenizer = load_tokenizer(start);
      save_model(load_model(start, {.head = inputs.data.head()}).model, *tokenizer, context.work_folder);
    } else {
      link_files(current, context.work_folder);
    }
    return {context.work_folder, {{"rounds", rounds}, {"teacher_validation_" + metric, teacher.value()}}};
  }

 private:
  /// Of a model with its classes in the data's order, whatever their order in its folder.
  static Evaluation validation(const fs::path& folder, const Inputs& inputs, const Context& context) {
    auto model = load_model(folder, {.head = inputs.data.head()}).model;
    model->to(context.device);
    const auto logits = [&](const Batch& batch) { return model->forward(batch).logits; };
    return evaluate(logits, *inputs.data.batches(Split::validation, *load_tokenizer(folder), {}), context);
  }

  /// Cuts the model in `current` and distils it.
  Artifact run_round(size_t number, double position, const fs::path& start, const fs::path& current,
                     const RoundFiles& files, const Inputs& inputs, const Context& context) const {
    context.check_stop();
    const auto cut = files.round(number, ".cut"), result = files.round(number), state = files.round(number, ".train");
    if (!fs::exists(cut)) {
      FolderWriter writer(cut);
      cut_model(prune::cubic_share(position), start, current, writer.folder(), inputs, context);
      writer.commit();
    }
    fs::remove_all(result);  // of a kill before the round was written down
    FolderWriter writer(result);
    auto training = context;
    training.work_folder = writer.folder();
    training.checkpoints.folder = context.checkpoints.folder.empty() ? fs::path() : state;
    const Reference& teacher = config_.distill.teacher;
    const Inputs models{.models = {{teacher.name, inputs.model(teacher)}, {cut.string(), {cut}}},
                        .base = inputs.base,
                        .data = inputs.data};
    auto config = distill_config(config_.distill, {cut.string()});
    config.train.epochs = epochs_at(position, config_);
    const auto notes = make_stage(config)->run(models, training).notes;
    writer.commit();
    discard(cut, files.round(number, ".gone"));
    fs::remove_all(state);
    return {result, notes};
  }

  void cut_model(double share, const fs::path& start, const fs::path& current, const fs::path& folder,
                 const Inputs& inputs, const Context& context) const {
    const LoadModelOptions options{.head = inputs.data.head()};
    auto whole = load_model(start, options).model, model = load_model(current, options).model;
    const prune::Budget budget(whole, config_.prune.budget, inputs.data.max_length());
    const auto tokenizer = load_tokenizer(current);
    model->to(context.device);
    prune::Pruner pruner(model, *tokenizer, config_.prune.score, config_.prune.reconstruct, inputs, context);
    if (config_.prune.budget.pattern) {
      pruner.sparsify(config_.prune.budget, share);
      if (share == 1.0) prune::tell_sparsity(model, context);
    } else {
      const auto kept = budget.choose(pruner.score(), share);
      prune::cut_units(*model, kept);
      pruner.reconstruct(kept);
    }
    model->to(torch::kCPU);
    save_model(model, *tokenizer, folder);
  }

  GradualConfig config_;
};

}  // namespace

void validate(const RoundCut& config, Problems& problems) {
  validate(config.score, problems);
  validate(config.budget, problems);
  problems.require(!config.budget.hidden_size, "hidden_size",
                   "found with gradual, whose rounds cut heads and FFN units; expected it in a prune stage before");
  problems.require(!config.budget.latency_reduction, "latency_reduction",
                   "found with gradual, whose rounds have to be the same when they are made again; expected "
                   "macs_reduction, or a prune stage");
  validate(config.reconstruct, problems);
  prune::validate_together(config.score, config.budget, config.reconstruct, problems);
}

void validate(const RoundTraining& config, Problems& problems) {
  validate(distill_config(config, {}), problems);
}

void validate(const GradualConfig& config, Problems& problems) {
  problems.nested("prune", config.prune);
  problems.nested("distill", config.distill);
  problems.require(!config.prune.score.teacher || !(*config.prune.score.teacher == config.of), "prune.teacher",
                   "found the model that is pruned: against its own probabilities all gradients are 0; expected "
                   "another model");
  problems.within("rounds", config.rounds, 1, 1000);
  problems.within("last_epochs", config.last_epochs, 1, 100000);
  problems.at_least("max_drop", config.max_drop, 0);
  problems.within("max_halvings", config.max_halvings, 0, 20);
}

std::unique_ptr<Stage> make_stage(const GradualConfig& config) {
  return std::make_unique<GradualStage>(config);
}

}  // namespace compression::recipes
