// Questions on contexts, which are cut into windows.

#include <fmt/format.h>
#include <torch/types.h>

#include <array>

#include "compress/base/error.h"  // ConfigError, DataError
#include "datasets/kinds.h"

namespace compression::datasets {
namespace {

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

class Questions : public ExampleKind {
 public:
  FieldNames names() const override { return {.text = "question", .text_pair = "context", .label = "answers"}; }

  std::span<const std::string_view> formats() const override {
    static constexpr std::array<std::string_view, 2> all{"jsonl", "squad"};
    return all;
  }

  void read(const Json& object, const FileConfig& file, bool labelled, const Place& place,
            Dataset& data) const override {
    add_text(object, file, place, data);
    data.answers.emplace_back();
    if (labelled || !is_missing(object, *file.label)) {
      data.answers.back() = answers_field(object, *file.label, *data.inputs.back().pair, place);
    }
  }

  EncodedExamples encode(const Dataset& data, const std::optional<Labels>& labels, Metric metric,
                         const Tokenizer& tokenizer, const TaskEncoding& encoding) const override {
    EncodedExamples encoded;
    auto& examples = encoded.examples;
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
    encoded.texts = windows->question;
    encoded.windows = windows;
    if (!labels) return encoded;
    examples.rows = torch::tensor(ends, torch::kInt64).view({-1, 2});
    examples.scorer = [own = encoded.windows, metric, config = encoding.answers](const BatchOptions& batches) {
      auto answers = config;
      if (batches.threshold) answers.threshold = batches.threshold;
      return make_answer_scorer(own, metric, answers);
    };
    return encoded;
  }
};

}  // namespace

const ExampleKind& question_examples() {
  static const Questions kind;
  return kind;
}

}  // namespace compression::datasets
