// Questions on contexts, which are cut into windows.

#include <torch/types.h>

#include <array>

#include "datasets/kinds.h"

namespace compression::datasets {
namespace {

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
      auto& answers = windows->answers.emplace_back();
      for (const auto& answer : data.answers[i]) answers.push_back(answer.text);
      const auto first = windows->tokens.size();
      add_windows(data.inputs[i], tokenizer, encoding.max_length, encoding.stride, place_of(data, i), *windows,
                  examples.encodings);
      if (!labels) continue;
      for (auto w = first; w < windows->tokens.size(); ++w) {
        using Ends = std::pair<int64_t, int64_t>;
        const auto& own = data.answers[i];
        const auto [begin, end] = own.empty() ? Ends{0, 0} : answer_tokens(windows->tokens[w], own.front());
        ends.insert(ends.end(), {begin, end});
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
