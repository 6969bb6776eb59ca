// A class a word.

#include <array>

#include "compress/model/batch.h"  // ignored_label
#include "datasets/kinds.h"
#include "datasets/readers.h"  // add_words

namespace compression::datasets {
namespace {

class Words : public ExampleKind {
 public:
  FieldNames names() const override { return {.text = "tokens", .text_pair = {}, .label = "tags"}; }

  std::span<const std::string_view> formats() const override {
    static constexpr std::array<std::string_view, 2> all{"jsonl", "conll"};
    return all;
  }

  void read(const Json& object, const FileConfig& file, bool labelled, const Place& place,
            Dataset& data) const override {
    auto words = list_field(object, *file.text, false, place);
    std::vector<std::string> tags;
    if (labelled || !is_missing(object, *file.label)) tags = list_field(object, *file.label, true, place);
    add_words(std::move(words), std::move(tags), labelled, place.line, data);
  }

  std::vector<std::string> head_labels(const Dataset& train) const override { return listed_names(train); }

  Labels labels(const Dataset& data, const std::vector<std::string>& tags) const override {
    return {.words = listed_ids(data, tags)};
  }

  EncodedExamples encode(const Dataset& data, const std::optional<Labels>& labels, Metric, const Tokenizer& tokenizer,
                         const TaskEncoding& encoding) const override {
    EncodedExamples encoded;
    auto& examples = encoded.examples;
    for (size_t i = 0; i < data.words.size(); ++i) {
      examples.encodings.push_back(
          tokenizer.encode_words(data.words[i], {.max_length = encoding.max_length, .offsets = true}));
      if (labels) examples.tokens.push_back(first_token_labels(examples.encodings.back(), labels->words[i]));
    }
    return encoded;
  }

 private:
  /// A label at the first token of each word.
  static std::vector<int64_t> first_token_labels(const Encoding& encoding, const std::vector<int64_t>& tags) {
    std::vector<int64_t> labels(encoding.input_ids.size(), ignored_label);
    for (const auto& [token, word] : word_starts(encoding)) labels[token] = tags.at(word);
    return labels;
  }
};

}  // namespace

const ExampleKind& word_examples() {
  static const Words kind;
  return kind;
}

}  // namespace compression::datasets
