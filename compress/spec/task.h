#pragma once
// The tasks that a model's head can be for, one row each: what is known of a task before anything is computed.
// compress/task/task.h has what is computed of it, docs/tasks.md shows them side by side.

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace compression {

/// What a model's head is for.
enum class TaskType {
  classification,
  multi_label,
  regression,
  embedding,
  token_classification,
  question_answering,
  masked_lm
};

/// What a head makes of the encoder's output (compress/model/head.h). Tasks of one kind of head have the same class of
/// Hugging Face, and tensors of the same names.
enum class HeadKind {
  text,      // a row for each label, from the first token
  tokens,    // the same of each token
  spans,     // start and end, of each token
  words,     // a row for each word of the vocabulary, of each token
  embedding  // a vector a text; without tensors in the class
};

/// What the data says of an example.
enum class LabelKind {
  none,         // nothing: what is hidden of a text is to be found again
  class_name,   // one class
  class_names,  // any number of classes
  number,
  cosine,  // a number from -1 to 1, of the two texts of a pair, which are read apart
  tags,    // a class a word
  answers  // places in the second text that answer the first
};

struct TaskTraits {
  TaskType type;
  std::string_view name;
  HeadKind head;
  LabelKind labels;
  std::string_view class_suffix;       // of Hugging Face's class, behind the family's prefix
  std::string_view problem_type = "";  // of config.json, where several tasks have the class

  constexpr bool has_classes() const {
    return labels == LabelKind::class_name || labels == LabelKind::class_names || labels == LabelKind::tags;
  }

  /// Whether each label is one class, as cross-entropy wants it.
  constexpr bool has_single_classes() const { return has_classes() && labels != LabelKind::class_names; }

  /// Whether there is one output a text, rather than one a token.
  constexpr bool is_of_text() const { return head == HeadKind::text || head == HeadKind::embedding; }

  /// Whether the head has a row for each label, and config.json their names.
  constexpr bool has_label_rows() const { return head == HeadKind::text || head == HeadKind::tokens; }
};

// clang-format off
/// Of several tasks with one kind of head, the first stands for all where nothing says which it is.
inline constexpr std::array<TaskTraits, 7> task_traits{{
    {TaskType::classification, "classification", HeadKind::text, LabelKind::class_name, "ForSequenceClassification", "single_label_classification"},
    {TaskType::multi_label, "multi_label", HeadKind::text, LabelKind::class_names, "ForSequenceClassification", "multi_label_classification"},
    {TaskType::regression, "regression", HeadKind::text, LabelKind::number, "ForSequenceClassification", "regression"},
    {TaskType::embedding, "embedding", HeadKind::embedding, LabelKind::cosine, "Model"},
    {TaskType::token_classification, "token_classification", HeadKind::tokens, LabelKind::tags, "ForTokenClassification"},
    {TaskType::question_answering, "question_answering", HeadKind::spans, LabelKind::answers, "ForQuestionAnswering"},
    {TaskType::masked_lm, "masked_lm", HeadKind::words, LabelKind::none, "ForMaskedLM"},
}};
// clang-format on

constexpr std::array<std::pair<TaskType, std::string_view>, task_traits.size()> enum_names(TaskType) {
  std::array<std::pair<TaskType, std::string_view>, task_traits.size()> names;
  std::ranges::transform(task_traits, names.begin(),
                         [](const TaskTraits& task) { return std::pair(task.type, task.name); });
  return names;
}

constexpr const TaskTraits& traits_of(TaskType type) {
  return *std::ranges::find(task_traits, type, &TaskTraits::type);
}

/// The first task with that kind of head.
constexpr const TaskTraits& first_task(HeadKind head) {
  return *std::ranges::find(task_traits, head, &TaskTraits::head);
}

/// What an encoder without a head is for.
inline constexpr TaskType headless_task = first_task(HeadKind::embedding).type;

/// The head that a task's data asks for.
struct TaskHead {
  std::vector<std::string> labels = {};  // names of the classes or tags, by id; empty for tasks that have none
  TaskType task = first_task(HeadKind::text).type;
  std::vector<std::string> written = {};  // what the data calls each of them, where labels are a model's; else empty
  bool operator==(const TaskHead&) const = default;
};

}  // namespace compression
