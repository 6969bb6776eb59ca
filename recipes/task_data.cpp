#include "recipes/task_data.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>

#include "compress/base/config_json.h"           // config_json
#include "compress/base/error.h"                 // ConfigError, DataError
#include "compress/base/fingerprint.h"           // fingerprint
#include "compress/base/message.h"               // json_text
#include "compress/model_folder/model_folder.h"  // load_model_config
#include "compress/task/labels.h"                // with_classes_of
#include "compress/task/task.h"                  // check_metric, default_metric
#include "recipes/load.h"                        // throw_if_any

namespace compression::recipes {
namespace {

/// The classes of a checkpoint's head for the task; none if it has no such head, or can't be read: who loads it tells.
std::vector<std::string> classes_of(const std::filesystem::path& model, TaskType task) {
  if (model.empty()) return {};
  try {
    const auto config = load_model_config(model);
    return config.task == task ? config.labels : std::vector<std::string>{};
  } catch (const Error&) {
    return {};
  }
}

std::string content(const Tokenizer& tokenizer) {
  std::string all;
  for (const auto& file : tokenizer.files()) all += file_fingerprint(tokenizer.folder() / file);
  return all;
}

}  // namespace

std::string_view split_name(Split split) {
  switch (split) {
    case Split::train:
      return "train";
    case Split::validation:
      return "validation";
    case Split::test:
      return "test";
  }
  return "?";
}

TaskData::TaskData(const TaskConfig& task, const DataConfig& config, const std::filesystem::path& model)
    : encoding_{.max_length = config.max_length, .stride = config.stride, .answers = config.answers} {
  const auto read = [&](Split split, const datasets::FileConfig& file) {
    auto& data = splits_[split].data;
    data = datasets::read_dataset(file, /*labelled=*/true, task.type);
    datasets::require_answers(data, config.answers);
    notes_.insert(notes_.end(), data.warnings.begin(), data.warnings.end());
  };
  read(Split::train, config.train);
  read(Split::validation, config.validation);
  if (config.test) read(Split::test, *config.test);
  if (config.unlabelled) {
    unlabelled_ = datasets::read_dataset(*config.unlabelled, /*labelled=*/false, task.type);
    notes_.insert(notes_.end(), unlabelled_->warnings.begin(), unlabelled_->warnings.end());
  }
  head_ = datasets::head_for(task.type, splits_[Split::train].data);
  if (const auto classes = classes_of(model, task.type); !classes.empty() && traits_of(task.type).has_classes()) {
    head_ = with_classes_of(head_, classes);
  }
  metric_ = task.metric.value_or(default_metric(head_));
  check_metric(metric_, head_);
  if (!task.metric && traits_of(task.type).labels == LabelKind::tags && metric_ == Metric::accuracy) {
    notes_.push_back(
        "task.metric: accuracy, for the tags are of no scheme that entities are read from (IOB, IOE, BIOES)");
  }
  std::map<std::string, std::string> splits_of;  // by what is noted of them
  for (auto& [split, entry] : splits_) {
    entry.labels = datasets::labels_of(entry.data, head_);
    const auto note = datasets::label_note(entry.data, head_);
    if (!note.empty()) splits_of[note] += fmt::format("{}{}", splits_of[note].empty() ? "" : ", ", split_name(split));
  }
  for (const auto& [note, splits] : splits_of) notes_.push_back(fmt::format("data ({}): {}", splits, note));
}

TaskData read_data(const Recipe& recipe) {
  try {
    return TaskData(recipe.task, recipe.data, recipe.model.path);
  } catch (const ConfigError& error) {
    Problems problems;
    problems.add("task.metric", error.what());
    throw_if_any(problems, recipe);
    throw;
  }
}

const datasets::Examples& TaskData::examples(const std::string& name, const datasets::Dataset& data,
                                             const std::optional<datasets::Labels>& labels,
                                             const Tokenizer& tokenizer) const {
  const std::lock_guard<std::mutex> lock(encoded_->mutex);
  auto& kept = encoded_->examples[fmt::format("{} {} {} {}", name, content(tokenizer), tokenizer.usable_ids(),
                                              tokenizer.sentence().prompt)];
  if (kept.encodings.empty()) {
    auto encoding = encoding_;
    const auto& longest = tokenizer.sentence().max_length;
    if (traits_of(head_.task).labels == LabelKind::cosine && longest)
      encoding.max_length = std::min(encoding.max_length, *longest);
    kept = datasets::encode_examples(data, labels, head_, metric_, tokenizer, encoding);
  }
  return kept;
}

std::shared_ptr<const BatchSource> TaskData::batches(Split split, const Tokenizer& tokenizer,
                                                     const BatchOptions& options) const {
  const auto found = splits_.find(split);
  if (found == splits_.end()) throw DataError(fmt::format("data.{}: the recipe has none", split_name(split)));
  const auto& [data, labels] = found->second;
  const auto& labelled = examples(std::string(split_name(split)), data, labels, tokenizer);
  if (split != Split::train || !options.unlabelled || !unlabelled_) {
    return datasets::make_batch_source(labelled, tokenizer.pad_id(), options);
  }
  auto both = labelled;
  const auto& more = examples("unlabelled", *unlabelled_, std::nullopt, tokenizer).encodings;
  both.encodings.insert(both.encodings.end(), more.begin(), more.end());
  both.rows = torch::cat({both.rows, torch::full({static_cast<int64_t>(more.size())}, ignored_label, torch::kLong)});
  return datasets::make_batch_source(both, tokenizer.pad_id(), options);
}

bool TaskData::has_pairs() const {
  if (traits_of(head_.task).labels == LabelKind::cosine) return false;
  const auto paired = [](const datasets::Dataset& data) {
    return std::ranges::any_of(data.inputs, [](const TextInput& input) { return input.pair.has_value(); });
  };
  return std::ranges::any_of(splits_, [&](const auto& split) { return paired(split.second.data); }) ||
         (unlabelled_ && paired(*unlabelled_));
}

std::string TaskData::fingerprint() const {
  std::string all = fmt::format("{} {} {} {}\n", enum_name(head_.task), enum_name(metric_), encoding_.max_length,
                                encoding_.stride.value_or(-1));
  if (traits_of(head_.task).labels == LabelKind::answers) all += json_text(config_json(encoding_.answers));
  const auto add = [&](std::string_view text) { all += fmt::format("{}:{}", text.size(), text); };
  const auto add_list = [&](const std::vector<std::string>& list) {
    all += fmt::format("[{}]", list.size());
    for (const auto& text : list) add(text);
  };
  for (const auto& [split, entry] : splits_) {
    const auto& data = entry.data;
    add(split_name(split));
    for (size_t i = 0; i < data.inputs.size(); ++i) {
      add(data.inputs[i].text);
      add(data.inputs[i].pair.value_or("\n"));
      if (i < data.labels.size()) add(data.labels[i]);
      if (i < data.label_lists.size()) add_list(data.label_lists[i]);
      if (i < data.words.size()) add_list(data.words[i]);
      if (i >= data.answers.size()) continue;
      for (const auto& [text, begin] : data.answers[i]) add(fmt::format("{} {}", begin, text));
    }
  }
  if (unlabelled_) {
    add("unlabelled");
    for (const auto& input : unlabelled_->inputs) {
      add(input.text);
      add(input.pair.value_or("\n"));
    }
  }
  return compression::fingerprint(all);
}

}  // namespace compression::recipes
