#pragma once
// Labelled texts in memory, and the files that they are read from. All are UTF-8, with or without a byte order mark.
//
// clang-format off
// jsonl  One JSON object a line. Lines of white space are skipped.
// csv    RFC 4180: a field in quotes may hold commas, line ends and doubled quotes; a quote inside of a field that does
//        not begin with one is an ordinary character. Lines end in LF or CRLF. Empty lines are skipped, as in a TSV.
// tsv    Fields between tabs. Nothing is quoted: a quote is an ordinary character; with `quotes` it is as in a CSV. A
//        file whose fields look quoted gets a warning.
// glue   A TSV of a GLUE task as it was published, such as SST-2/train.tsv. The task and its columns are recognised by
//        the header (CoLA, which has none, by its four columns), and `text`, `text_pair` and `label` are left out:
//        CoLA, SST-2, MRPC, QQP, MNLI, QNLI, RTE, WNLI; STS-B for regression and embedding. Rows of QQP that were
//        broken where it was published are left out and counted.
// conll  For token_classification: a word a line, its tag in the last of the columns between spaces or tabs. Empty
//        lines and -DOCSTART- part texts.
// squad  For question_answering: the JSON of SQuAD 1.1 and 2.0, data / paragraphs / qas.
//
// A text may be empty. A label may not. What a label is depends on the task (docs/tasks.md):
//   classification, and no task       a string or an integer
//   multi_label                       a list of these; in a CSV or TSV parted by `label_separator`; may be empty
//   regression, embedding             a number
//   token_classification              a list of tags, one a word
//   question_answering                answers: {"text": [...], "answer_start": [...]}, or a list of
//                                     {"text", "answer_start"}; none where the question has no answer
//   masked_lm                         none
// clang-format on

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "compress/base/fields.h"          // Presence
#include "compress/spec/config.h"          // TaskType
#include "compress/tokenizer/tokenizer.h"  // TextInput

namespace compression::datasets {

/// Where texts come from. The format follows from the name (.jsonl, .csv, .tsv, .conll; .json is squad) or from
/// `format`.
struct FileConfig {
  std::filesystem::path path;
  std::optional<std::string> format;           // jsonl | csv | tsv | glue | conll | squad
  std::optional<std::string> text, text_pair;  // field or column: a name, or a number from 0 in a file without a header
  std::optional<std::string> label;
  std::string label_separator = "|";
  bool header = true;          // of a CSV or TSV
  std::optional<bool> quotes;  // of a CSV or TSV; absent: true of a CSV, false of a TSV

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("path", self.path, "File of texts; for format glue a task's own TSV, such as SST-2/train.tsv",
          Presence::required);
    visit("format", self.format, "jsonl, csv, tsv, glue, conll or squad; from the name if absent");
    visit("text", self.text,
          "Field or column of the text: a name, or a number from 0 where there is no header; if absent text, of "
          "token_classification tokens, of question_answering question");
    visit("text_pair", self.text_pair,
          "Field or column of the second text, for tasks on pairs; if absent, of embedding text_pair, of "
          "question_answering context");
    visit("label", self.label,
          "Field or column of the label; if absent label, of token_classification tags, of question_answering answers");
    visit("label_separator", self.label_separator, "Of multi_label: what parts the labels in a column of a CSV or TSV");
    visit("header", self.header, "The first line of a CSV or TSV names its columns");
    visit(
        "quotes", self.quotes,
        "Of a CSV or TSV: a field that begins with a quote ends at the next single one, and may hold separators, line "
        "ends and doubled quotes; else a quote is a letter. If absent true of a CSV, false of a TSV");
  }
};

/// The format is known, and the columns make sense in it. The disk is not looked at.
void validate(const FileConfig& config, Problems& problems);

/// The config with the names that stand where it has none.
FileConfig with_names(FileConfig config, TaskType task);

/// Part of a context, which begins at this byte.
struct Answer {
  std::string text;
  int64_t begin = 0;
};

struct Dataset {
  std::filesystem::path path;
  std::vector<TextInput> inputs;           // of token_classification the words with spaces between
  std::vector<std::string> labels;         // one label a text, as written; empty strings where a file has none
  std::vector<int64_t> lines;              // where each example begins in the file, from 1; 0 in a SQuAD file
  std::vector<std::string> ids = {};       // of a SQuAD file: what each question is called there
  int64_t skipped = 0;                     // broken rows of GLUE's QQP
  std::vector<std::string> warnings = {};  // what is odd in the file, a line each

  std::vector<std::vector<std::string>> label_lists;  // multi_label, token_classification
  std::vector<std::vector<std::string>> words;        // token_classification
  std::vector<std::vector<Answer>> answers;           // question_answering
};

/// Where an example is, for messages: "train.csv:7", "squad.json: question 'q1'".
std::string place_of(const Dataset& data, size_t example);

/// Throws DataError naming the place of a text longer than limits::text_bytes, or than limits::context_bytes where
/// it is the context of a question.
void check_sizes(const Dataset& data, TaskType task);

/// Reads the whole file. `labelled`: a missing label is an error, else it is left empty.
/// Throws DataError naming file and line: not there, empty, ill-formed, not UTF-8, a missing field, an unclosed quote,
/// a row with too many or too few columns, a text that check_sizes() refuses, not as many tags as words, an answer that
/// is not in its context; UnsupportedError for a format or a GLUE task that is not for the task; ConfigError for a
/// setting that validate() refuses.
Dataset read_dataset(const FileConfig& file, bool labelled = true, TaskType task = TaskHead().task);

/// The class names of `train` in the order of their ids: numbers by value if all labels are integers 0..n-1, else names
/// sorted by byte. Throws DataError if there are fewer than two, or an example without a label.
std::vector<std::string> label_names(const Dataset& train);

/// The different labels of `data`, those of label_lists among them, sorted by byte; without empty ones.
std::vector<std::string> distinct_labels(const Dataset& data);

/// Class ids of the labels of `data`, by the rule of compress/task/labels.h. Throws DataError naming file and line of
/// the first label that is none of `names`.
std::vector<int64_t> label_ids(const Dataset& data, const std::vector<std::string>& names);

/// The same of label_lists, where one name is enough.
std::vector<std::string> listed_names(const Dataset& train);
std::vector<std::vector<int64_t>> listed_ids(const Dataset& data, const std::vector<std::string>& names);

/// Labels as numbers. Throws DataError naming file and line of the first that is none.
std::vector<double> scores(const Dataset& data);

}  // namespace compression::datasets
