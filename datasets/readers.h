#pragma once
// The readers behind read_dataset(), one a format. `text` is what `file.path` holds.

#include <optional>
#include <string>
#include <string_view>

#include "datasets/dataset.h"    // Dataset, FileConfig
#include "datasets/delimited.h"  // Dialect, RecordReader

namespace compression::datasets {

Dataset read_jsonl(const FileConfig& file, std::string_view text, bool labelled, TaskType task);
Dataset read_delimited(const FileConfig& file, std::string_view text, Dialect dialect, bool labelled, TaskType task);
Dataset read_glue(const FileConfig& file, std::string_view text, bool labelled, TaskType task);
Dataset read_conll(const FileConfig& file, std::string_view text, bool labelled);
Dataset read_squad(const FileConfig& file, std::string_view text, bool labelled);

/// Adds a text of words. Throws DataError if there are none, or not as many tags.
void add_words(std::vector<std::string> words, std::vector<std::string> tags, bool labelled, int64_t line,
               Dataset& data);

/// What to take from the records of a CSV or TSV.
struct Columns {
  size_t count = 0;  // of every record
  size_t text = 0;
  std::optional<size_t> text_pair, label;
  bool skip_ragged = false;          // leaves out a record with another count; else it is an error
  bool may_be_quoted = false;        // a record with another count may be a field in quotes, torn apart
  std::string label_separator = {};  // parts several labels; empty: there is one
};

/// Adds the reader's present record to `data`.
void add_record(RecordReader& reader, const Columns& columns, bool labelled, Dataset& data);

/// Adds the records that are left.
void add_records(RecordReader& reader, const Columns& columns, bool labelled, Dataset& data);

/// The column of that name. Throws DataError naming the columns that are there.
size_t find_column(const RecordReader& header, const std::filesystem::path& path, const std::string& name);

}  // namespace compression::datasets
