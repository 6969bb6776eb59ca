#pragma once
// Labelled texts in memory, and the files that they are read from. All are UTF-8, with or without a byte order mark.
//
// jsonl  One JSON object a line. A text is a string, a label a string or an integer. Lines of white space are skipped.
// csv    RFC 4180: a field in quotes may hold commas, line ends and doubled quotes; a quote inside of a field that does
// not
//        begin with one is an ordinary character. Lines end in LF or CRLF. Empty lines are skipped, as in a TSV.
// tsv    Fields between tabs. Nothing is quoted: a quote is an ordinary character.
// glue   A TSV of a GLUE task as it was published, such as SST-2/train.tsv. The task and its columns are recognised by
// the
//        header (CoLA, which has none, by its four columns), and `text`, `text_pair` and `label` are left out: CoLA,
//        SST-2, MRPC, QQP, MNLI, QNLI, RTE, WNLI. Rows of QQP that were broken where it was published are left out and
//        counted.
//
// A text may be empty. A label may not.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "compress/tokenizer/tokenizer.h"  // TextInput
#include "compress/workflow/fields.h"      // Presence

namespace compression::datasets {

/// Where texts come from. The format follows from the name (.jsonl, .csv, .tsv) or from `format`.
struct FileConfig {
  std::filesystem::path path;
  std::optional<std::string> format;  // jsonl | csv | tsv | glue
  std::string text = "text";          // field or column: a name, or a number from 0 in a file without a header
  std::optional<std::string> text_pair;
  std::string label = "label";
  bool header = true;  // of a CSV or TSV

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("path", self.path, "File of texts; for format glue a task's own TSV, such as SST-2/train.tsv",
          Presence::required);
    visit("format", self.format, "jsonl, csv, tsv or glue; from the name if absent");
    visit("text", self.text, "Field or column of the text: a name, or a number from 0 where there is no header");
    visit("text_pair", self.text_pair, "Field or column of the second text, for tasks on pairs");
    visit("label", self.label, "Field or column of the label");
    visit("header", self.header, "The first line of a CSV or TSV names its columns");
  }
};

/// The format is known, and the columns make sense in it. The disk is not looked at.
void validate(const FileConfig& config, Problems& problems);

struct Dataset {
  std::filesystem::path path;
  std::vector<TextInput> inputs;
  std::vector<std::string> labels;  // as written, one an input; empty strings where a file has none
  std::vector<int64_t> lines;       // where each example begins in the file, from 1
  int64_t skipped = 0;              // broken rows of GLUE's QQP
};

/// Reads the whole file. `labelled`: a missing label is an error, else it is left empty.
/// Throws DataError naming file and line: not there, empty, ill-formed, not UTF-8, a missing field, an unclosed quote,
/// a row with too many or too few columns; UnsupportedError for a GLUE task of regression (STS-B); ConfigError for a
/// setting that validate() refuses.
Dataset read_dataset(const FileConfig& file, bool labelled = true);

/// The class names of `train` in the order of their ids: numbers by value if all labels are integers 0..n-1, else names
/// sorted by byte. Throws DataError if there are fewer than two, or an example without a label.
std::vector<std::string> label_names(const Dataset& train);

/// Class ids of the labels of `data`: a name of `names`, or an integer below their number where no name is an integer.
/// Throws DataError naming file and line of the first label that is neither.
std::vector<int64_t> label_ids(const Dataset& data, const std::vector<std::string>& names);

}  // namespace compression::datasets
