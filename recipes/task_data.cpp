#include "recipes/task_data.h"

#include <fmt/format.h>

#include "compress/workflow/error.h"        // DataError
#include "compress/workflow/fingerprint.h"  // fingerprint
#include "datasets/encoded.h"               // make_batch_source

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

TaskData::TaskData(const DataConfig& config) : max_length_(config.max_length) {
  const auto read = [&](Split split, const datasets::FileConfig& file) {
    splits_[split].data = datasets::read_dataset(file);
  };
  read(Split::train, config.train);
  read(Split::validation, config.validation);
  if (config.test) read(Split::test, *config.test);
  labels_ = datasets::label_names(splits_[Split::train].data);
  for (auto& [split, entry] : splits_) entry.labels = datasets::label_ids(entry.data, labels_);
}

std::shared_ptr<const BatchSource> TaskData::batches(Split split, const Tokenizer& tokenizer,
                                                     const BatchOptions& options) const {
  const auto found = splits_.find(split);
  if (found == splits_.end()) throw DataError(fmt::format("data.{}: the recipe has none", split_name(split)));
  auto& encodings = encodings_[fmt::format("{} {}", split_name(split), content(tokenizer))];
  if (encodings.empty()) encodings = tokenizer.encode_batch(found->second.data.inputs, {.max_length = max_length_});
  return datasets::make_batch_source(encodings, found->second.labels, tokenizer.pad_id(), options);
}

std::string TaskData::fingerprint() const {
  std::string all = fmt::format("{}\n", max_length_);
  const auto add = [&](std::string_view text) { all += fmt::format("{}:{}", text.size(), text); };
  for (const auto& [split, entry] : splits_) {
    add(split_name(split));
    for (size_t i = 0; i < entry.labels.size(); ++i) {
      add(entry.data.inputs[i].text);
      add(entry.data.inputs[i].pair.value_or("\n"));
      add(entry.data.labels[i]);
    }
  }
  return compression::fingerprint(all);
}

}  // namespace compression::recipes
