#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "compress/workflow/error.h"  // UnsupportedError
#include "datasets/readers.h"
#include "datasets/text_file.h"  // fail, listed

namespace compression::datasets {
namespace {

/// A task's columns. Those of a test file are the same without the label.
struct Layout {
  std::string_view tasks;
  std::string text, text_pair, label;
  bool skip_ragged = false;
};

const std::array<Layout, 6>& layouts() {
  static const std::array<Layout, 6> all{{
      {"MRPC", "#1 String", "#2 String", "Quality"},
      {"QQP", "question1", "question2", "is_duplicate", /*skip_ragged=*/true},
      {"QNLI", "question", "sentence", "label"},
      {"MNLI", "sentence1", "sentence2", "gold_label"},
      {"RTE, WNLI", "sentence1", "sentence2", "label"},
      {"SST-2", "sentence", "", "label"},
  }};
  return all;
}
constexpr std::string_view kTasks = "CoLA, SST-2, MRPC, QQP, MNLI, QNLI, RTE or WNLI";

bool has(const std::vector<std::string>& columns, const std::string& name) {
  return name.empty() || std::find(columns.begin(), columns.end(), name) != columns.end();
}

/// The layout that has all its columns in the header, or all but the label.
const Layout* find_layout(const std::vector<std::string>& header) {
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

bool is_stsb(const std::vector<std::string>& header) {
  return has(header, "old_index") && has(header, "sentence1");
}

Columns glue_columns(const RecordReader& header, const FileConfig& file, bool labelled) {
  const auto& names = header.record();
  if (is_stsb(names)) {
    throw UnsupportedError(fmt::format("{}: STS-B is a regression task, supported are {}", file.path.string(), kTasks));
  }
  const Layout* layout = find_layout(names);
  if (layout == nullptr) {
    fail(file.path, header.line(), fmt::format("the columns are {}, expected those of {}", listed(names), kTasks));
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

Dataset read_glue(const FileConfig& file, std::string_view text, bool labelled) {
  Dataset data;
  data.path = file.path;
  RecordReader reader(file.path, text, kTsv);
  if (!reader.next()) fail(file.path, "only empty lines, expected texts");
  if (is_cola(reader.record())) {
    const Columns columns{.count = 4, .text = 3, .text_pair = std::nullopt, .label = 1};
    add_record(reader, columns, labelled, data);
    add_records(reader, columns, labelled, data);
  } else {
    add_records(reader, glue_columns(reader, file, labelled), labelled, data);
  }
  if (data.inputs.empty()) fail(file.path, "only a header, expected texts below it");
  return data;
}

}  // namespace compression::datasets
