#pragma once
// From texts and labels, as they were read, to encoded examples of a task.

#include "compress/spec/config.h"          // TaskHead
#include "compress/task/metrics.h"         // Metric
#include "compress/tokenizer/tokenizer.h"  // Tokenizer
#include "datasets/answers.h"              // Windows
#include "datasets/dataset.h"              // Dataset
#include "datasets/encoded.h"              // Examples

namespace compression::datasets {

/// The head that the data asks for: classes and tags by label_names() and listed_names(). Throws as these.
TaskHead head_for(TaskType task, const Dataset& train);

/// What one should know of the data's labels that are not the names of the head's classes (label_note of
/// compress/task/labels.h); empty for tasks without classes.
std::string label_note(const Dataset& data, const TaskHead& head);

/// Labels as numbers.
struct Labels {
  torch::Tensor rows = {};                       // int64 [texts] of classes, float32 [texts] of scores, and
                                                 // float32 [texts, classes] of multi_label
  std::vector<std::vector<int64_t>> words = {};  // token_classification: a tag a word
};

/// Throws DataError naming file and line of the first label that does not fit the head.
Labels labels_of(const Dataset& data, const TaskHead& head);

struct TaskEncoding {
  int64_t max_length = 128;            // tokens a text or window
  std::optional<int64_t> stride = {};  // tokens that windows of question_answering share; a third if absent
  AnswerConfig answers = {};           // of question_answering
};

/// Throws DataError naming file and line of the first question without an answer, unless those are expected.
void require_answers(const Dataset& data, const AnswerConfig& config);

/// Encodes every text. `labels`: as labels_of() gives them; without, the examples have none, nor a scorer, and question
/// answering none of its answers. Rows are texts; the two texts of each pair of embedding (of texts without a pair one
/// row each, with the prompt and lower case that the folder's SentenceSettings say); the windows of each question,
/// whose `windows` are returned too, where it is not null. Throws DataError naming file and line of a question that
/// leaves no room for its context, and of a text with a token that the model has no row for (Tokenizer::usable_ids);
/// ConfigError for a task that the tokenizer has no mask for.
Examples encode_examples(const Dataset& data, const std::optional<Labels>& labels, const TaskHead& head, Metric metric,
                         const Tokenizer& tokenizer, const TaskEncoding& encoding,
                         std::shared_ptr<const Windows>* windows = nullptr);

}  // namespace compression::datasets
