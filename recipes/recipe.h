#pragma once
// A recipe, typed. The YAML that it is read from is in load.h; docs/recipe.md is made from the fields below.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "compress/train/finetune.h"  // FinetuneConfig
#include "datasets/dataset.h"         // FileConfig
#include "distill/config.h"           // DistillConfig
#include "export/config.h"            // ExportConfig
#include "prune/config.h"             // PruneConfig
#include "quantize/config.h"          // QuantizeConfig

namespace compression::recipes {

/// Every stage that a recipe can name, by its `kind`. A new stage is a line here.
using StageConfig = std::variant<FinetuneConfig,            //
                                 distill::DistillConfig,    //
                                 prune::PruneConfig,        //
                                 quantize::QuantizeConfig,  //
                                 exporter::ExportConfig>;

struct StageEntry {
  std::string id;
  StageConfig config;
};

struct ModelSource {
  std::filesystem::path path;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("path", self.path, "Checkpoint folder of Hugging Face form", Presence::required);
  }
};

enum class TaskType { classification };
constexpr std::array<std::pair<TaskType, std::string_view>, 1> enum_names(TaskType) {
  return {{{TaskType::classification, "classification"}}};
}
enum class Metric { accuracy };
constexpr std::array<std::pair<Metric, std::string_view>, 1> enum_names(Metric) { return {{{Metric::accuracy, "accuracy"}}}; }

struct TaskConfig {
  TaskType type = TaskType::classification;
  Metric metric = Metric::accuracy;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("type", self.type, "What the model does");
    visit("metric", self.metric, "What the best checkpoint is chosen by, and goals are about");
  }
};

struct DataConfig {
  int64_t max_length = 128;
  datasets::FileConfig train, validation;
  std::optional<datasets::FileConfig> test;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("max_length", self.max_length, "Tokens a text is cut to, special ones included");
    visit("train", self.train, "Texts to train and to score on", Presence::required);
    visit("validation", self.validation, "Texts that choices are made on", Presence::required);
    visit("test", self.test, "Texts that results are reported on; the validation texts if absent, and the report says so");
  }
};
void validate(const DataConfig& config, Problems& problems);

/// A number of bytes, written 30MB (10^6) or 30MiB (2^20).
struct ByteSize {
  int64_t bytes = 0;
};
/// Throws ConfigError.
ByteSize parse_byte_size(const std::string& text);

struct AccuracyGoal {
  std::optional<Reference> relative_to;
  std::optional<double> max_drop;
  std::optional<double> min;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("relative_to", self.relative_to, "The stage that max_drop counts from");
    visit("max_drop", self.max_drop, "Largest accepted drop of accuracy, from 0 to 1: 0.01 is one point");
    visit("min", self.min, "Smallest accepted accuracy, from 0 to 1");
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
    visit("relative_to", self.relative_to, "The stage that the reduction counts from", Presence::required);
    visit("min_reduction", self.min_reduction, "How many times fewer multiply-adds of the encoder at least", Presence::required);
  }
};
void validate(const MacsGoal& config, Problems& problems);

struct Goals {
  std::optional<AccuracyGoal> accuracy;
  std::optional<SizeGoal> size;
  std::optional<MacsGoal> macs;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("accuracy", self.accuracy, "Of the last stage, on the test texts");
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

}  // namespace compression::recipes
