// A number a text, or the cosine of a pair of texts.

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>

#include "compress/base/fields.h"  // number_text
#include "datasets/kinds.h"
#include "datasets/text_file.h"  // fail, in_quotes

namespace compression::datasets {
namespace {

class Number : public ExampleKind {
 public:
  void read(const Json& object, const FileConfig& file, bool labelled, const Place& place,
            Dataset& data) const override {
    data.labels.push_back(read_score(object, *file.label, labelled, place));
    add_text(object, file, place, data);
  }

  std::vector<std::string> head_labels(const Dataset&) const override { return {"LABEL_0"}; }  // transformers' name

  Labels labels(const Dataset& data, const std::vector<std::string>&) const override { return rows_of(scores(data)); }

 protected:
  static Labels rows_of(const std::vector<double>& numbers) {
    return {.rows = torch::tensor(numbers, torch::kDouble).to(torch::kFloat)};
  }

 private:
  static std::string read_score(const Json& object, const std::string& name, bool labelled, const Place& place) {
    if (is_missing(object, name) && !labelled) return "";
    const auto& value = field(object, name, place);
    if (value.is_string()) return value.get<std::string>();
    if (!value.is_number()) {
      place.fail(fmt::format("field {} is {}, expected a number", in_quotes(name), value_shown(value)));
    }
    return value.dump();
  }
};

/// The texts of a pair follow each other, so that each is encoded alone.
class Pair : public Number {
 public:
  FieldNames names() const override { return {.text_pair = "text_pair"}; }

  std::vector<std::string> head_labels(const Dataset&) const override { return {}; }

  Labels labels(const Dataset& data, const std::vector<std::string>&) const override {
    const auto cosines = scores(data);
    const auto odd = std::ranges::find_if(cosines, [](double x) { return x < -1 || x > 1; });
    if (odd != cosines.end()) {
      fail(data.path, data.lines[static_cast<size_t>(odd - cosines.begin())],
           fmt::format("label {}, expected from -1 to 1: the cosine that the pair should have", number_text(*odd)));
    }
    return rows_of(cosines);
  }

  EncodedExamples encode(const Dataset& data, const std::optional<Labels>& labels, Metric, const Tokenizer& tokenizer,
                         const TaskEncoding& encoding) const override {
    EncodedExamples encoded;
    std::vector<TextInput> texts;
    for (size_t i = 0; i < data.inputs.size(); ++i) {
      const auto& [text, pair] = data.inputs[i];
      texts.push_back({text, std::nullopt});
      if (pair) texts.push_back({*pair, std::nullopt});
      encoded.texts.resize(texts.size(), i);
    }
    auto& examples = encoded.examples;
    examples.encodings = tokenizer.encode_batch(texts, {.max_length = encoding.max_length, .sentence = true});
    if (!labels) return encoded;
    examples.rows = labels->rows.repeat_interleave(2);
    examples.together = 2;
    return encoded;
  }
};

}  // namespace

const ExampleKind& number_examples() {
  static const Number kind;
  return kind;
}

const ExampleKind& pair_examples() {
  static const Pair kind;
  return kind;
}

}  // namespace compression::datasets
