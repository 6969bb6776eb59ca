#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "compress/base/error.h"  // UnsupportedError
#include "datasets/readers.h"
#include "datasets/text_file.h"  // fail, listed

namespace compression::datasets {
namespace {

constexpr std::string_view kStsb = "STS-B";

/// A task's columns. Those of a test file are the same without the label.
struct Layout {
  std::string_view tasks;
  std::string text, text_pair, label;
  bool skip_ragged = false;
};

const std::array<Layout, 7>& layouts() {
  static const std::array<Layout, 7> all{{
      {"MRPC", "#1 String", "#2 String", "Quality"},
      {"QQP", "question1", "question2", "is_duplicate", /*skip_ragged=*/true},
      {"QNLI", "question", "sentence", "label"},
      {"MNLI", "sentence1", "sentence2", "gold_label"},
      {"RTE, WNLI", "sentence1", "sentence2", "label"},
      {"SST-2", "sentence", "", "label"},
      {kStsb, "sentence1", "sentence2", "score"},
  }};
  return all;
}
constexpr std::string_view kTasks = "CoLA, SST-2, MRPC, QQP, MNLI, QNLI, RTE or WNLI";

/// Whether labels are numbers.
bool has_scores(TaskType task) {
  const auto labels = traits_of(task).labels;
  return labels == LabelKind::number || labels == LabelKind::cosine;
}

bool has(const std::vector<std::string>& columns, const std::string& name) {
  return name.empty() || std::find(columns.begin(), columns.end(), name) != columns.end();
}

/// STS-B's test file is told from others by a column that the others do not have.
bool is_stsb(const std::vector<std::string>& header) {
  return has(header, "old_index") && has(header, "sentence1");
}

/// The layout that has all its columns in the header, or all but the label.
const Layout* find_layout(const std::vector<std::string>& header) {
  if (is_stsb(header)) return &layouts().back();
  const auto texts_are_there = [&](const Layout& l) { return has(header, l.text) && has(header, l.text_pair); };
  for (const auto& layout : layouts()) {
    if (texts_are_there(layout) && has(header, layout.label)) return &layout;
  }
  for (const auto& layout : layouts()) {
    if (texts_are_there(layout)) return &layout;
  }
  return nullptr;
}

/// CoLA's training and validation files begin at once: source, 0 or 1, the author's star, sentence.
bool is_cola(const std::vector<std::string>& first) {
  return first.size() == 4 && (first[1] == "0" || first[1] == "1") && (first[2].empty() || first[2] == "*");
}

Columns glue_columns(const RecordReader& header, const FileConfig& file, bool labelled, TaskType task) {
  const auto& names = header.record();
  const Layout* layout = find_layout(names);
  if (layout == nullptr) {
    fail(file.path, header.line(),
         fmt::format("the columns are {}, expected those of {}", listed(names), has_scores(task) ? kStsb : kTasks));
  }
  if ((layout->tasks == kStsb) != has_scores(task)) {
    throw UnsupportedError(fmt::format("{}: the labels of {} are {}, supported for task {}: {}", file.path.string(),
                                       layout->tasks, has_scores(task) ? "classes" : "numbers", enum_name(task),
                                       has_scores(task) ? kStsb : kTasks));
  }
  Columns columns;
  columns.count = names.size();
  columns.text = find_column(header, file.path, layout->text);
  if (!layout->text_pair.empty()) columns.text_pair = find_column(header, file.path, layout->text_pair);
  if (labelled || has(names, layout->label)) columns.label = find_column(header, file.path, layout->label);
  columns.skip_ragged = layout->skip_ragged;
  return columns;
}

}  // namespace

Dataset read_glue(const FileConfig& file, std::string_view text, bool labelled, TaskType task) {
  Dataset data;
  data.path = file.path;
  RecordReader reader(file.path, text, kTsv);
  if (!reader.next()) fail(file.path, "only empty lines, expected texts");
  if (is_cola(reader.record()) && !has_scores(task)) {
    const Columns columns{.count = 4, .text = 3, .text_pair = std::nullopt, .label = 1};
    add_record(reader, columns, labelled, data);
    add_records(reader, columns, labelled, data);
  } else {
    add_records(reader, glue_columns(reader, file, labelled, task), labelled, data);
  }
  if (traits_of(task).labels == LabelKind::cosine && labelled) {  // from 0 to 5, as cosines
    const auto numbers = scores(data);
    std::transform(numbers.begin(), numbers.end(), data.labels.begin(), [](double x) { return number_text(x / 5); });
  }
  if (data.inputs.empty()) fail(file.path, "only a header, expected texts below it");
  return data;
}

}  // namespace compression::datasets
