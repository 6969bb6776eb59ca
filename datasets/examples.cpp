#include "datasets/examples.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <set>

#include "compress/base/error.h"        // ConfigError
#include "compress/base/fields.h"       // number_text
#include "compress/base/limits.h"       // label_cells
#include "compress/model_folder/fit.h"  // unusable_token
#include "compress/task/labels.h"       // label_note
#include "compress/task/task.h"         // make_scorer
#include "datasets/text_file.h"         // fail

namespace compression::datasets {
namespace {

/// A label at the first token of each word.
std::vector<int64_t> first_token_labels(const Encoding& encoding, const std::vector<int64_t>& tags) {
  std::vector<int64_t> labels(encoding.input_ids.size(), ignored_label);
  for (const auto& [token, word] : word_starts(encoding)) labels[token] = tags.at(word);
  return labels;
}

void encode_words(const Dataset& data, const std::optional<Labels>& labels, const Tokenizer& tokenizer,
                  const TaskEncoding& encoding, Examples& examples) {
  for (size_t i = 0; i < data.words.size(); ++i) {
    examples.encodings.push_back(
        tokenizer.encode_words(data.words[i], {.max_length = encoding.max_length, .offsets = true}));
    if (labels) examples.tokens.push_back(first_token_labels(examples.encodings.back(), labels->words[i]));
  }
}

std::vector<Encoding> windows_of(const Dataset& data, size_t question, const Tokenizer& tokenizer,
                                 const TaskEncoding& encoding) {
  const EncodeOptions options{
      .max_length = encoding.max_length, .truncation = Truncation::kOnlySecond, .offsets = true};
  try {
    return tokenizer.encode_windows(data.inputs[question], options, encoding.stride.value_or(encoding.max_length / 3));
  } catch (const ConfigError& error) {
    throw DataError(fmt::format("{}: the question leaves too little room for its context: {}", place_of(data, question),
                                error.what()));
  }
}

std::shared_ptr<const Windows> encode_questions(const Dataset& data, const std::optional<Labels>& labels,
                                                const Tokenizer& tokenizer, const TaskEncoding& encoding,
                                                Examples& examples) {
  const auto windows = std::make_shared<Windows>();
  std::vector<int64_t> ends;
  for (size_t i = 0; i < data.inputs.size(); ++i) {
    windows->contexts.push_back(data.inputs[i].pair.value_or(""));
    auto& answers = windows->answers.emplace_back();
    for (const auto& answer : data.answers[i]) answers.push_back(answer.text);
    for (auto& window : windows_of(data, i, tokenizer, encoding)) {
      windows->question.push_back(i);
      auto tokens = window.offsets;
      for (size_t t = 0; t < tokens.size(); ++t) {
        if (window.sequence_ids[t] != 1) tokens[t] = {-1, -1};
      }
      if (labels) {
        using Ends = std::pair<int64_t, int64_t>;
        const auto& own = data.answers[i];
        const auto [first, last] = own.empty() ? Ends{0, 0} : answer_tokens(tokens, own.front());
        ends.insert(ends.end(), {first, last});
      }
      windows->tokens.push_back(std::move(tokens));
      examples.encodings.push_back(std::move(window));
    }
  }
  if (labels) examples.rows = torch::tensor(ends, torch::kInt64).view({-1, 2});
  return windows;
}

/// The texts of pairs after each other, so that each is encoded alone.
void encode_pairs(const Dataset& data, const std::optional<Labels>& labels, const Tokenizer& tokenizer,
                  const EncodeOptions& options, Examples& examples) {
  std::vector<TextInput> texts;
  for (const auto& input : data.inputs) {
    texts.push_back({input.text, std::nullopt});
    if (input.pair) texts.push_back({*input.pair, std::nullopt});
  }
  examples.encodings = tokenizer.encode_batch(texts, options);
  if (!labels) return;
  examples.rows = labels->rows.repeat_interleave(2);
  examples.together = 2;
}

Masking masking_for(const Tokenizer& tokenizer) {
  const auto& special = tokenizer.special_ids();
  if (!special.mask) {
    throw ConfigError(
        fmt::format("{}: the tokenizer has no mask token, which masked_lm needs", tokenizer.folder().string()));
  }
  std::set<int64_t> ids{special.pad, *special.mask};
  for (const auto& id : {special.cls, special.sep, special.unk}) {
    if (id) ids.insert(*id);
  }
  return {.mask_id = *special.mask, .vocabulary_size = tokenizer.usable_ids(), .special_ids = {ids.begin(), ids.end()}};
}

/// That the model has a row for each token.
void check_ids(const Dataset& data, TaskType task, const Windows* windows, const Tokenizer& tokenizer,
               const std::vector<Encoding>& encodings) {
  std::vector<size_t> texts;  // of the two texts of pairs, each its own
  for (size_t i = 0; task == TaskType::embedding && i < data.inputs.size(); ++i) {
    texts.insert(texts.end(), data.inputs[i].pair ? 2 : 1, i);
  }
  for (size_t i = 0; i < encodings.size(); ++i) {
    const auto token = unusable_token(encodings[i], tokenizer);
    if (token.empty()) continue;
    const auto text = windows != nullptr ? static_cast<size_t>(windows->question[i]) : texts.empty() ? i : texts[i];
    throw DataError(fmt::format(
        "{}: found {}, which the model has no row for: expected ids below {}, the rows of its table of words",
        place_of(data, text), token, tokenizer.usable_ids()));
  }
}

}  // namespace

std::vector<WordStart> word_starts(const Encoding& encoding) {
  std::vector<WordStart> starts;
  int64_t before = -1;
  for (size_t i = 0; i < encoding.word_ids.size(); ++i) {
    const auto word = encoding.word_ids[i];
    if (word >= 0 && word != before) starts.push_back({i, static_cast<size_t>(word)});
    before = word;
  }
  return starts;
}

TaskHead head_for(TaskType task, const Dataset& train) {
  switch (task) {
    case TaskType::classification:
      return {label_names(train), task};
    case TaskType::multi_label:
    case TaskType::token_classification:
      return {listed_names(train), task};
    case TaskType::regression:
      return {{"LABEL_0"}, task};  // transformers' name for it
    default:
      return {{}, task};
  }
}

std::string label_note(const Dataset& data, const TaskHead& head) {
  const bool has_classes = head.task == TaskType::classification || head.task == TaskType::multi_label ||
                           head.task == TaskType::token_classification;
  return has_classes ? compression::label_note(distinct_labels(data), head.labels) : "";
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
  switch (head.task) {
    case TaskType::classification:
      return {.rows = torch::tensor(label_ids(data, head.labels), torch::kInt64)};
    case TaskType::multi_label: {
      const auto ids = listed_ids(data, head.labels);
      const auto count = static_cast<int64_t>(std::max<size_t>(head.labels.size(), 1));
      if (static_cast<int64_t>(ids.size()) > limits::label_cells / count) {
        fail(data.path,
             fmt::format("{} texts and {} labels, of which a table is made: expected a product of at most {}",
                         ids.size(), count, limits::label_cells));
      }
      const auto rows =
          torch::zeros({static_cast<int64_t>(ids.size()), static_cast<int64_t>(head.labels.size())}, torch::kFloat);
      auto cells = rows.accessor<float, 2>();
      for (size_t i = 0; i < ids.size(); ++i) {
        for (const auto id : ids[i]) cells[static_cast<int64_t>(i)][id] = 1.0f;
      }
      return {.rows = rows};
    }
    case TaskType::regression:
      return {.rows = torch::tensor(scores(data), torch::kDouble).to(torch::kFloat)};
    case TaskType::embedding: {
      const auto cosines = scores(data);
      const auto odd = std::ranges::find_if(cosines, [](double x) { return x < -1 || x > 1; });
      if (odd != cosines.end()) {
        fail(data.path, data.lines[static_cast<size_t>(odd - cosines.begin())],
             fmt::format("label {}, expected from -1 to 1: the cosine that the pair should have", number_text(*odd)));
      }
      return {.rows = torch::tensor(cosines, torch::kDouble).to(torch::kFloat)};
    }
    case TaskType::token_classification:
      return {.words = listed_ids(data, head.labels)};
    case TaskType::question_answering:
    case TaskType::masked_lm:
      return {};
  }
  throw std::logic_error("task");
}

Examples encode_examples(const Dataset& data, const std::optional<Labels>& labels, const TaskHead& head, Metric metric,
                         const Tokenizer& tokenizer, const TaskEncoding& encoding,
                         std::shared_ptr<const Windows>* windows) {
  const EncodeOptions options{.max_length = encoding.max_length};
  Examples examples;
  std::shared_ptr<const Windows> of_questions;
  if (labels) examples.scorer = [head, metric](const BatchOptions&) { return make_scorer(head, metric); };
  switch (head.task) {
    case TaskType::token_classification:
      encode_words(data, labels, tokenizer, encoding, examples);
      break;
    case TaskType::question_answering: {
      const auto own = encode_questions(data, labels, tokenizer, encoding, examples);
      if (labels) {
        examples.scorer = [own, metric, config = encoding.answers](const BatchOptions& batches) {
          auto answers = config;
          if (batches.threshold) answers.threshold = batches.threshold;
          return make_answer_scorer(own, metric, answers);
        };
      }
      if (windows != nullptr) *windows = own;
      of_questions = own;
      break;
    }
    case TaskType::embedding: {
      auto as_sentence = options;
      as_sentence.sentence = true;
      encode_pairs(data, labels, tokenizer, as_sentence, examples);
      break;
    }
    case TaskType::masked_lm:
      examples.encodings = tokenizer.encode_batch(data.inputs, options);
      if (labels) examples.masking = masking_for(tokenizer);
      break;
    default:
      examples.encodings = tokenizer.encode_batch(data.inputs, options);
      if (labels) examples.rows = labels->rows;
  }
  check_ids(data, head.task, of_questions.get(), tokenizer, examples.encodings);
  return examples;
}

}  // namespace compression::datasets
