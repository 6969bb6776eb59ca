#pragma once
// A recipe, typed. The YAML that it is read from is in load.h; docs/recipe.md is made from the fields below.

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "compress/base/byte_size.h"  // ByteSize
#include "compress/spec/config.h"     // TaskType
#include "compress/task/metrics.h"    // Metric
#include "compress/train/finetune.h"  // FinetuneConfig
#include "datasets/answers.h"         // AnswerConfig
#include "datasets/dataset.h"         // FileConfig
#include "distill/config.h"           // DistillConfig
#include "export/config.h"            // ExportConfig
#include "prune/config.h"             // PruneConfig
#include "prune/vocabulary.h"         // VocabularyConfig
#include "quantize/config.h"          // QuantizeConfig
#include "recipes/gradual.h"          // GradualConfig

namespace compression::recipes {

struct RecipeText;  // node.h

/// Every stage that a recipe can name, by its `kind`. A new stage is a line here.
using StageConfig = std::variant<FinetuneConfig,            //
                                 distill::DistillConfig,    //
                                 prune::PruneConfig,        //
                                 prune::VocabularyConfig,   //
                                 GradualConfig,             //
                                 quantize::QuantizeConfig,  //
                                 exporter::ExportConfig>;

/// False for a stage whose result is a file to ship: no later stage can take it as its model.
template <class StageType>
inline constexpr bool makes_model = true;
template <>
inline constexpr bool makes_model<exporter::ExportConfig> = false;

/// Calls visit(std::type_identity<T>{}) for every stage type T, in order.
template <class Visitor, class... Types>
void for_each_stage_type(Visitor&& visit, std::type_identity<std::variant<Types...>>) {
  (visit(std::type_identity<Types>{}), ...);
}
template <class Visitor>
void for_each_stage_type(Visitor&& visit) {
  for_each_stage_type(visit, std::type_identity<StageConfig>{});
}

/// The `kind` of the stage that is held: "distill".
std::string_view stage_kind(const StageConfig& config);

struct StageEntry {
  std::string id;
  StageConfig config;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("id", self.id, "Name of the stage and of its folder: letters, digits, - and _", Presence::required);
    std::visit(
        [&](auto& config) {
          visit(std::remove_cvref_t<decltype(config)>::kind, config, "Settings of the stage", Presence::required);
        },
        self.config);
  }
};

/// Names that no stage may have, since the folder of the run has a use for them.
inline constexpr std::array<std::string_view, 6> reserved_ids = {"base", "cache", "model", "recipe", "report", "tmp"};

/// The models that a stage names, in the order of its fields.
std::vector<Reference> references(const StageEntry& stage);

struct ModelSource {
  std::filesystem::path path;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("path", self.path, "Checkpoint folder of Hugging Face form", Presence::required);
  }
};

struct TaskConfig {
  TaskType type = TaskHead().task;
  std::optional<Metric> metric;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("type", self.type, "What the model does (docs/tasks.md)");
    visit(
        "metric", self.metric,
        "What the best checkpoint is chosen by, and goals.accuracy is about; if absent the task's first: accuracy, of "
        "multi_label micro_f1, of regression pearson, of embedding spearman, of token_classification entity_f1, of "
        "question_answering f1, of masked_lm perplexity. Those of answers are told beside f1, and can't be chosen");
  }
};
void validate(const TaskConfig& config, Problems& problems);

struct DataConfig {
  int64_t max_length = 128;
  std::optional<int64_t> stride;
  AnswerConfig answers;
  datasets::FileConfig train, validation;
  std::optional<datasets::FileConfig> test, unlabelled;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("max_length", self.max_length, "Tokens a text is cut to, special ones included");
    visit("stride", self.stride,
          "Of question_answering: tokens that windows of a long context share; a third of max_length if absent");
    visit("answers", self.answers, "Of question_answering: which answers are looked for");
    visit("train", self.train, "Texts to train and to score on", Presence::required);
    visit("validation", self.validation, "Texts that choices are made on", Presence::required);
    visit("test", self.test,
          "Texts that results are reported on; the validation texts if absent, and the report says so");
    visit("unlabelled", self.unlabelled,
          "Of classification: more texts to distil on, whose labels are not read; losses on labels leave them out");
  }
};
void validate(const DataConfig& config, Problems& problems);

struct AccuracyGoal {
  std::optional<Reference> relative_to;
  std::optional<double> max_drop;
  std::optional<double> min;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("relative_to", self.relative_to,
          "The stage that max_drop counts from, or a folder, with a row of its own in the report");
    visit("max_drop", self.max_drop,
          "Largest accepted drop of the task's metric, from 0 to 1: 0.01 is one point; of mse and perplexity, rise");
    visit("min", self.min, "Smallest accepted value of the metric, from 0 to 1; not of mse and perplexity");
  }
};
void validate(const AccuracyGoal& config, Problems& problems);

struct SizeGoal {
  ByteSize max;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("max", self.max, "Largest accepted model file of the last stage", Presence::required);
  }
};
void validate(const SizeGoal& config, Problems& problems);

struct MacsGoal {
  Reference relative_to;
  double min_reduction = 1.0;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("relative_to", self.relative_to, "The stage that the reduction counts from, or a folder", Presence::required);
    visit("min_reduction", self.min_reduction, "How many times fewer multiply-adds of the encoder at least",
          Presence::required);
  }
};
void validate(const MacsGoal& config, Problems& problems);

inline bool meets(const MacsGoal& goal, double reduction) {
  return reduction >= goal.min_reduction - metric_rounding;
}

struct Goals {
  std::optional<AccuracyGoal> accuracy;
  std::optional<SizeGoal> size;
  std::optional<MacsGoal> macs;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("accuracy", self.accuracy, "The task's metric, of the last stage on the test texts");
    visit("size", self.size, "Of the last stage's model file");
    visit("macs", self.macs, "Of the last stage's encoder");
  }
};

struct Recipe {
  int64_t version = 1;
  std::string name;
  uint64_t seed = 0;
  std::filesystem::path output;
  ModelSource model;
  TaskConfig task;
  DataConfig data;
  std::map<std::string, std::string> variables;
  std::vector<StageEntry> stages;
  Goals goals;
  std::shared_ptr<const RecipeText> text;  // nothing for a recipe made in code

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("version", self.version, "Version of the recipe's form: 1", Presence::required);
    visit("name", self.name, "Name of the run", Presence::required);
    visit("seed", self.seed, "Seed of everything that is drawn by chance");
    visit("output", self.output, "Folder of the run: a folder a stage, and the report", Presence::required);
    visit("model", self.model, "The model to begin with", Presence::required);
    visit("task", self.task, "What the model is for");
    visit("data", self.data, "Texts and labels", Presence::required);
    visit("variables", self.variables, "Values for ${name} elsewhere in the recipe");
    visit("stages", self.stages, "What to do, in order", Presence::required);
    visit("goals", self.goals, "Checked at the end");
  }
};

/// Everything that can be told without reading models and data: ranges, ids, and that stages name earlier ones.
/// A reference that is no stage's id is taken for a folder if it has a slash, or if a folder of that name has a
/// config.json.
void validate(const Recipe& config, Problems& problems);

/// That the files and folders which the recipe names are there, what output_folder.h asks of the run's folder, and what
/// the models' config.json and tokenizers tell (preflight.h).
void validate_files(const Recipe& recipe, Problems& problems);

}  // namespace compression::recipes
