#include "datasets/kinds.h"

#include <array>
#include <stdexcept>

namespace compression::datasets {

const ExampleKind& find_kind(LabelKind labels) {
  switch (labels) {
    case LabelKind::none:
      return masked_examples();
    case LabelKind::class_name:
      return class_examples();
    case LabelKind::class_names:
      return class_list_examples();
    case LabelKind::number:
      return number_examples();
    case LabelKind::cosine:
      return pair_examples();
    case LabelKind::tags:
      return word_examples();
    case LabelKind::answers:
      return question_examples();
  }
  throw std::logic_error("labels");
}

std::span<const std::string_view> ExampleKind::formats() const {
  static constexpr std::array<std::string_view, 4> all{"jsonl", "csv", "tsv", "glue"};
  return all;
}

EncodedExamples ExampleKind::encode(const Dataset& data, const std::optional<Labels>& labels, Metric,
                                    const Tokenizer& tokenizer, const TaskEncoding& encoding) const {
  EncodedExamples encoded;
  encoded.examples.encodings = tokenizer.encode_batch(data.inputs, {.max_length = encoding.max_length});
  if (labels) encoded.examples.rows = labels->rows;
  return encoded;
}

bool is_missing(const Json& object, const std::string& name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null();
}

void add_text(const Json& object, const FileConfig& file, const Place& place, Dataset& data) {
  TextInput input{text_field(object, *file.text, place), std::nullopt};
  if (file.text_pair) input.pair = text_field(object, *file.text_pair, place);
  data.inputs.push_back(std::move(input));
  data.lines.push_back(place.line);
}

}  // namespace compression::datasets
