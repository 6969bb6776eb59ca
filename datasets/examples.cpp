#include "datasets/examples.h"

#include <fmt/format.h>

#include <algorithm>

#include "compress/base/error.h"       // DataError
#include "compress/model_files/fit.h"  // unusable_token
#include "compress/task/labels.h"      // label_note
#include "compress/task/task.h"        // make_scorer
#include "datasets/kinds.h"            // find_kind

namespace compression::datasets {
namespace {

const ExampleKind& kind_of(TaskType task) {
  return find_kind(traits_of(task).labels);
}

/// That the model has a row for each token.
void check_ids(const Dataset& data, const EncodedExamples& encoded, const Tokenizer& tokenizer) {
  const auto& encodings = encoded.examples.encodings;
  for (size_t i = 0; i < encodings.size(); ++i) {
    const auto token = unusable_token(encodings[i], tokenizer);
    if (token.empty()) continue;
    throw DataError(fmt::format(
        "{}: found {}, which the model has no row for: expected ids below {}, the rows of its table of words",
        place_of(data, encoded.texts.empty() ? i : encoded.texts[i]), token, tokenizer.usable_ids()));
  }
}

}  // namespace

TaskHead head_for(TaskType task, const Dataset& train) {
  return {kind_of(task).head_labels(train), task};
}

std::string label_note(const Dataset& data, const TaskHead& head) {
  return traits_of(head.task).has_classes() ? compression::label_note(distinct_labels(data), head.labels) : "";
}

void require_answers(const Dataset& data, const AnswerConfig& config) {
  const auto none = std::ranges::find_if(data.answers, [](const auto& answers) { return answers.empty(); });
  if (config.unanswerable || none == data.answers.end()) return;
  throw DataError(fmt::format(
      "{}: no answer, expected one or more; data.answers.unanswerable of a recipe and --unanswerable of a command take "
      "such questions (SQuAD 2.0)",
      place_of(data, static_cast<size_t>(none - data.answers.begin()))));
}

Labels labels_of(const Dataset& data, const TaskHead& head) {
  return kind_of(head.task).labels(data, head.labels);
}

Examples encode_examples(const Dataset& data, const std::optional<Labels>& labels, const TaskHead& head, Metric metric,
                         const Tokenizer& tokenizer, const TaskEncoding& encoding,
                         std::shared_ptr<const Windows>* windows) {
  auto encoded = kind_of(head.task).encode(data, labels, metric, tokenizer, encoding);
  check_ids(data, encoded, tokenizer);
  if (windows != nullptr) *windows = encoded.windows;
  auto& examples = encoded.examples;
  if (labels && !examples.scorer) {
    examples.scorer = [head, metric](const BatchOptions&) { return make_scorer(head, metric); };
  }
  return std::move(examples);
}

}  // namespace compression::datasets
