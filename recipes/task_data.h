#pragma once
// A recipe's data: read once, encoded once for each tokenizer.

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "compress/task/batch_source.h"  // DataProvider
#include "datasets/examples.h"           // Dataset, Labels, Examples
#include "recipes/recipe.h"              // TaskConfig, DataConfig

namespace compression::recipes {

/// Its const functions may be called in several threads.
class TaskData : public DataProvider {
 public:
  /// Reads all files and checks all labels. `model`: a checkpoint whose classes are taken, with their names and order,
  /// where they are the data's (compress/task/labels.h). Throws DataError, ConfigError for a metric that the labels do
  /// not allow. Of a recipe: read_data().
  TaskData(const TaskConfig& task, const DataConfig& config, const std::filesystem::path& model = {});

  bool has(Split split) const override { return splits_.contains(split); }
  std::shared_ptr<const BatchSource> batches(Split split, const Tokenizer& tokenizer,
                                             const BatchOptions& options) const override;
  const TaskHead& head() const override { return head_; }
  Metric metric() const { return metric_; }
  int64_t max_length() const override { return encoding_.max_length; }

  /// Of question_answering.
  const AnswerConfig& answers() const { return encoding_.answers; }

  /// Changes when a text, a label, their order, the task, its metric or the length that texts are cut to changes.
  std::string fingerprint() const;

  int64_t size(Split split) const { return static_cast<int64_t>(splits_.at(split).data.inputs.size()); }
  const datasets::Dataset& texts(Split split) const { return splits_.at(split).data; }

  /// What is odd in the files and in their labels, a line each.
  const std::vector<std::string>& notes() const { return notes_; }

  /// Whether a model reads two texts together.
  bool has_pairs() const;

  /// The split that results are reported on.
  Split reported() const { return has(Split::test) ? Split::test : Split::validation; }

 private:
  struct SplitData {
    datasets::Dataset data;
    datasets::Labels labels;
  };
  datasets::TaskEncoding encoding_;
  const datasets::Examples& examples(const std::string& name, const datasets::Dataset& data,
                                     const std::optional<datasets::Labels>& labels, const Tokenizer& tokenizer) const;

  std::map<Split, SplitData> splits_;
  std::optional<datasets::Dataset> unlabelled_;
  TaskHead head_;
  Metric metric_;
  std::vector<std::string> notes_;

  /// What was encoded so far, by name and the tokenizer's content; entries stay where they are.
  struct Encoded {
    std::mutex mutex;
    std::map<std::string, datasets::Examples> examples;
  };
  std::unique_ptr<Encoded> encoded_ = std::make_unique<Encoded>();
};

/// A recipe's data. Throws as TaskData does; a ConfigError with the place of task.metric.
TaskData read_data(const Recipe& recipe);

std::string_view split_name(Split split);

}  // namespace compression::recipes
