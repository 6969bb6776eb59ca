#pragma once
// What examples of each kind of label are (LabelKind of compress/spec/task.h): how they are called in a file, read and
// encoded. One object a kind, in the files kind_*.cpp; a task's row says which it has.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/examples.h"     // Labels, TaskEncoding
#include "datasets/json_fields.h"  // Json, Place

namespace compression::datasets {

/// Fields or columns where nobody says.
struct FieldNames {
  std::string text = "text";
  std::optional<std::string> text_pair = {};
  std::string label = "label";
};

/// Examples as a model takes them.
struct EncodedExamples {
  Examples examples;                            // without a scorer: that of tensors does
  std::vector<size_t> texts = {};               // of each encoding the text of the data; empty: one each
  std::shared_ptr<const Windows> windows = {};  // of questions
};

/// Without state.
class ExampleKind {
 public:
  ExampleKind() = default;
  virtual ~ExampleKind() = default;
  ExampleKind(const ExampleKind&) = delete;
  ExampleKind& operator=(const ExampleKind&) = delete;

  virtual FieldNames names() const { return {}; }

  /// Formats of files that have such examples.
  virtual std::span<const std::string_view> formats() const;

  /// Adds the example of a JSON object. `file` has all names.
  virtual void read(const Json& object, const FileConfig& file, bool labelled, const Place& place,
                    Dataset& data) const = 0;

  /// Names of the head's labels, by id.
  virtual std::vector<std::string> head_labels(const Dataset&) const { return {}; }

  /// Throws DataError naming file and line of the first label that does not fit.
  virtual Labels labels(const Dataset&, const std::vector<std::string>& /*head_labels*/) const { return {}; }

  virtual EncodedExamples encode(const Dataset& data, const std::optional<Labels>& labels, Metric metric,
                                 const Tokenizer& tokenizer, const TaskEncoding& encoding) const;
};

const ExampleKind& find_kind(LabelKind labels);

/// Of files kind_*.cpp.
const ExampleKind& class_examples();
const ExampleKind& class_list_examples();
const ExampleKind& number_examples();
const ExampleKind& pair_examples();
const ExampleKind& word_examples();
const ExampleKind& question_examples();
const ExampleKind& masked_examples();

/// Whether a field is not there, or null.
bool is_missing(const Json& object, const std::string& name);

/// Adds the text, and the second one where the file has a field for it.
void add_text(const Json& object, const FileConfig& file, const Place& place, Dataset& data);

}  // namespace compression::datasets
