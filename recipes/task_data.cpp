#include "recipes/task_data.h"

#include <fmt/format.h>

#include "compress/task/task.h"             // check_metric, default_metric
#include "compress/workflow/error.h"        // ConfigError, DataError
#include "compress/workflow/fingerprint.h"  // fingerprint

namespace compression::recipes {
namespace {

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

TaskData::TaskData(const TaskConfig& task, const DataConfig& config)
    : encoding_{.max_length = config.max_length, .stride = config.stride} {
  const auto read = [&](Split split, const datasets::FileConfig& file) {
    splits_[split].data = datasets::read_dataset(file, /*labelled=*/true, task.type);
  };
  read(Split::train, config.train);
  read(Split::validation, config.validation);
  if (config.test) read(Split::test, *config.test);
  head_ = datasets::head_for(task.type, splits_[Split::train].data);
  metric_ = task.metric.value_or(default_metric(head_));
  try {
    check_metric(metric_, head_);
  } catch (const ConfigError& error) {
    throw ConfigError(fmt::format("task.metric: {}", error.what()));
  }
  for (auto& [split, entry] : splits_) entry.labels = datasets::labels_of(entry.data, head_);
}

std::shared_ptr<const BatchSource> TaskData::batches(Split split, const Tokenizer& tokenizer,
                                                     const BatchOptions& options) const {
  const auto found = splits_.find(split);
  if (found == splits_.end()) throw DataError(fmt::format("data.{}: the recipe has none", split_name(split)));
  auto& examples = examples_[fmt::format("{} {}", split_name(split), content(tokenizer))];
  if (examples.encodings.empty()) {
    const auto& [data, labels] = found->second;
    examples = datasets::encode_examples(data, labels, head_, metric_, tokenizer, encoding_);
  }
  return datasets::make_batch_source(examples, tokenizer.pad_id(), options);
}

std::string TaskData::fingerprint() const {
  std::string all = fmt::format("{} {} {} {}\n", enum_name(head_.task), enum_name(metric_), encoding_.max_length,
                                encoding_.stride.value_or(-1));
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
  return compression::fingerprint(all);
}

}  // namespace compression::recipes
