// What must hold of a recipe beyond the types of its values.
#include <fmt/format.h>

#include <algorithm>

#include "compress/base/message.h"                 // printable
#include "compress/task/task.h"                    // find_task
#include "compress/tokenizer/sentence_settings.h"  // transformer_folder
#include "recipes/output_folder.h"                 // validate_output
#include "recipes/preflight.h"                     // check_models
#include "recipes/recipe.h"
#include "recipes/teachers.h"  // teachers_of_other_families
#include "recipes/text.h"      // in_quotes, listed, did_you_mean

namespace compression::recipes {
namespace {

constexpr size_t kLongestId = 64;

bool is_checkpoint(const std::filesystem::path& folder) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(transformer_folder(folder) / "config.json", ignored);
}

bool names_folder(const Reference& reference) {
  return reference.name.find('/') != std::string::npos || is_checkpoint(reference.name);
}

std::vector<std::string_view> stage_ids(const Recipe& recipe, size_t count) {
  std::vector<std::string_view> ids;
  for (size_t i = 0; i < count; ++i) {
    if (!recipe.stages[i].id.empty()) ids.push_back(recipe.stages[i].id);
  }
  return ids;
}

bool result_is_model(const StageEntry& stage) {
  return std::visit([](const auto& config) { return makes_model<std::remove_cvref_t<decltype(config)>>; },
                    stage.config);
}

void validate_id(const Recipe& recipe, size_t index, Problems& problems) {
  const std::string& id = recipe.stages[index].id;
  const std::string key = join_key("stages", index) + ".id";
  const bool well_formed = is_plain_name(id) && id.size() <= kLongestId;
  problems.require(well_formed, key, "found " + in_quotes(id) + ", expected up to 64 letters, digits, - and _");
  const bool reserved = std::find(reserved_ids.begin(), reserved_ids.end(), id) != reserved_ids.end();
  problems.require(
      !reserved, key,
      "found " + in_quotes(id) + ", which is reserved; expected another name than " + listed(reserved_ids));
  for (size_t i = 0; well_formed && i < index; ++i) {
    if (recipe.stages[i].id != id) continue;
    problems.add(key, "found " + in_quotes(id) + ", which " + join_key("stages", i) +
                          " is called already; expected another name");
    return;
  }
}

void validate_reference(const Recipe& recipe, size_t index, const std::string& key, const Reference& reference,
                        Problems& problems) {
  const std::string found = "found " + in_quotes(reference.name);
  const auto named = std::find_if(recipe.stages.begin(), recipe.stages.end(),
                                  [&](const StageEntry& stage) { return stage.id == reference.name; });
  const auto position = static_cast<size_t>(named - recipe.stages.begin());
  if (position < index) {
    problems.require(result_is_model(*named), key,
                     found + ", whose result is a file to ship; expected a stage before its " +
                         std::string(stage_kind(named->config)));
    return;
  }
  if (position == recipe.stages.size() && names_folder(reference)) return;

  const std::vector<std::string_view> earlier = stage_ids(recipe, index);
  std::string message = found;
  if (position == index) message += ", the stage itself";
  if (position > index && position < recipe.stages.size()) message += ", a later stage";
  message += earlier.empty() ? ", expected a checkpoint folder: no stage is before this one"
                             : ", expected an earlier stage (" + listed(earlier) + ") or a checkpoint folder";
  problems.add(key, message + did_you_mean(reference.name, earlier));
}

Metric metric_of(const Recipe& recipe) {
  return recipe.task.metric.value_or(find_task(recipe.task.type).metrics().front());
}

/// A share can't fall by more than 1; what a metric of which less is better rises by has no bound.
void validate_drop(const Recipe& recipe, const std::string& key, const std::optional<double>& max_drop,
                   Problems& problems) {
  const bool told = max_drop && !(*max_drop >= 0);  // by the section itself
  if (!told && higher_is_better(metric_of(recipe))) problems.within(key, max_drop, 0, 1);
}

/// What is about classes needs a task that has them.
void validate_labels(const Recipe& recipe, const std::string& key, const FinetuneConfig& config, Problems& problems) {
  const auto& task = traits_of(recipe.task.type);
  if (task.has_single_classes()) return;
  const auto message = fmt::format("set for the task {}, expected classification or token_classification", task.name);
  problems.require(config.label_smoothing == 0, join_key(key, "label_smoothing"), message);
  problems.require(config.class_weights == ClassWeights::none, join_key(key, "class_weights"), message);
  problems.require(config.label_weights.empty(), join_key(key, "label_weights"), message);
}

void validate_stages(const Recipe& recipe, Problems& problems) {
  problems.require(!recipe.stages.empty(), "stages", "found an empty list, expected at least one stage");
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const StageEntry& stage = recipe.stages[i];
    validate_id(recipe, i, problems);
    std::visit(
        [&](const auto& config) {
          const auto key = join_key(join_key("stages", i), stage_kind(stage.config));
          problems.nested(key, config);
          if constexpr (requires { config.label_smoothing; }) validate_labels(recipe, key, config, problems);
          if constexpr (requires { config.max_drop; }) {
            validate_drop(recipe, join_key(key, "max_drop"), config.max_drop, problems);
          }
        },
        stage.config);
    for_each_value(stage, join_key("stages", i), [&]<class T>(const std::string& key, const T& value) {
      if constexpr (std::same_as<T, Reference>) validate_reference(recipe, i, key, value, problems);
    });
  }
}

void validate_goals(const Recipe& recipe, Problems& problems) {
  const Goals& goals = recipe.goals;
  if (goals.accuracy) problems.nested("goals.accuracy", *goals.accuracy);
  if (goals.accuracy) validate_drop(recipe, "goals.accuracy.max_drop", goals.accuracy->max_drop, problems);
  if (goals.accuracy && !higher_is_better(metric_of(recipe))) {
    problems.require(!goals.accuracy->min, "goals.accuracy.min",
                     "set, but less is better of the task's metric; expected relative_to and max_drop");
  }
  if (goals.size) problems.nested("goals.size", *goals.size);
  if (goals.macs) problems.nested("goals.macs", *goals.macs);
  const std::vector<std::string_view> ids = stage_ids(recipe, recipe.stages.size());
  for_each_value(goals, "goals", [&]<class T>(const std::string& key, const T& value) {
    if constexpr (std::same_as<T, Reference>) {
      if (std::find(ids.begin(), ids.end(), value.name) != ids.end() || names_folder(value)) return;
      problems.add(key, "found " + in_quotes(value.name) + ", expected a stage (" + listed(ids) +
                            ") or a checkpoint folder" + did_you_mean(value.name, ids));
    }
  });
}

void require_checkpoint(const std::string& key, const std::filesystem::path& folder, Problems& problems) {
  std::error_code error;
  const bool is_there = std::filesystem::exists(transformer_folder(folder) / "config.json", error);
  const std::string refused = error ? ", which can't be looked at: " + error.message() : "";
  problems.require(is_there && is_checkpoint(folder), key,
                   "found " + in_quotes(folder.string()) + refused + ", expected a folder with a config.json");
}

}  // namespace

void validate(const TaskConfig& config, Problems& problems) {
  if (!config.metric) return;
  std::vector<std::string_view> names;
  for (const auto metric : find_task(config.type).metrics()) {
    if (metric == *config.metric) return;
    names.push_back(enum_name(metric));
  }
  problems.add("metric", "found " + std::string(enum_name(*config.metric)) + ", which " +
                             std::string(enum_name(config.type)) + " has not; expected one of " + listed(names));
}

void validate(const DataConfig& config, Problems& problems) {
  problems.within("max_length", config.max_length, 8, 100000);
  if (config.stride) problems.within("stride", *config.stride, 0, static_cast<double>(config.max_length - 4));
  problems.nested("answers", config.answers);
  problems.nested("train", config.train);
  problems.nested("validation", config.validation);
  if (config.test) problems.nested("test", *config.test);
  if (config.unlabelled) problems.nested("unlabelled", *config.unlabelled);
}

void validate(const AccuracyGoal& config, Problems& problems) {
  problems.require(config.min || config.relative_to || config.max_drop, "",
                   "no bound; expected min, or relative_to and max_drop");
  problems.require(!config.relative_to || config.max_drop, "", "relative_to without max_drop, expected both");
  problems.require(!config.max_drop || config.relative_to, "", "max_drop without relative_to, expected both");
  problems.at_least("max_drop", config.max_drop, 0);
  problems.within("min", config.min, 0, 1);
}

void validate(const SizeGoal& config, Problems& problems) {
  problems.require(config.max.bytes > 0, "max", "found " + to_text(config.max) + ", expected more than 0 bytes");
}

void validate(const MacsGoal& config, Problems& problems) {
  problems.at_least("min_reduction", config.min_reduction, 1);
}

void validate(const Recipe& recipe, Problems& problems) {
  problems.require(recipe.version == 1, "version",
                   "found " + number_text(recipe.version) + ", expected 1, the only version");
  problems.require(!recipe.name.empty(), "name", "found nothing, expected the name of the run");
  problems.require(printable(recipe.name) == recipe.name, "name",
                   "found " + in_quotes(recipe.name) + ", expected a text without control characters");
  problems.require(!recipe.output.empty(), "output", "found nothing, expected the folder of the run");
  problems.nested("task", recipe.task);
  problems.nested("data", recipe.data);
  const auto& task = traits_of(recipe.task.type);
  problems.require(!recipe.data.unlabelled || task.labels == LabelKind::class_name, "data.unlabelled",
                   "found with task " + std::string(task.name) + ", expected classification with it");
  problems.require(task.labels == LabelKind::answers || recipe.data.answers == AnswerConfig{}, "data.answers",
                   "found with task " + std::string(task.name) + ", expected question_answering with it");
  for (const auto& [name, value] : recipe.variables) {
    problems.require(is_plain_name(name), join_key("variables", shown_key(name)),
                     "expected a name of letters, digits, - and _");
  }
  validate_stages(recipe, problems);
  validate_goals(recipe, problems);
}

void validate_files(const Recipe& recipe, Problems& problems) {
  require_checkpoint("model.path", recipe.model.path, problems);
  const auto require_data = [&](const std::string& key, const std::filesystem::path& path) {
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    const bool is_folder = std::filesystem::is_directory(status);
    const std::string found = is_folder ? "is a folder"
                              : status.type() == std::filesystem::file_type::not_found
                                  ? "is not there"
                                  : "can't be looked at: " + error.message();
    problems.require(std::filesystem::exists(status) && !is_folder, key,
                     "found " + in_quotes(path.string()) + ", which " + found + "; expected a file of texts");
  };
  require_data("data.train.path", recipe.data.train.path);
  require_data("data.validation.path", recipe.data.validation.path);
  if (recipe.data.test) require_data("data.test.path", recipe.data.test->path);
  if (recipe.data.unlabelled) require_data("data.unlabelled.path", recipe.data.unlabelled->path);

  const std::vector<std::string_view> ids = stage_ids(recipe, recipe.stages.size());
  const auto require_folder = [&]<class T>(const std::string& key, const T& value) {
    if constexpr (std::same_as<T, Reference>) {
      const bool is_stage = std::find(ids.begin(), ids.end(), value.name) != ids.end();
      if (!is_stage && names_folder(value)) require_checkpoint(key, value.name, problems);
    }
  };
  for_each_value(recipe.stages, "stages", require_folder);
  for_each_value(recipe.goals, "goals", require_folder);
  validate_output(recipe, problems);
  for (const auto& other : teachers_of_other_families(recipe)) {
    problems.require(other.refused.empty(), other.refused,
                     "found a loss on tokens, but the teacher is " + other.text +
                         ": their tokens can't be paired; expected logits or labels with " + other.key);
  }
  const auto& data = recipe.data;
  const bool pairs = data.train.text_pair || data.validation.text_pair || (data.test && data.test->text_pair);
  check_models(recipe, pairs, {.labels = {}, .task = recipe.task.type}, problems);
}

}  // namespace compression::recipes
