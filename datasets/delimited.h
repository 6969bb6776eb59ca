#pragma once
// Records of a CSV or TSV.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace compression::datasets {

struct Dialect {
  char separator = ',';
  bool quotes = true;  // a field that begins with a quote ends at the next single one
};
inline constexpr Dialect kCsv{',', true};
inline constexpr Dialect kTsv{'\t', false};
inline constexpr Dialect kPlainCsv{',', false};
inline constexpr Dialect kQuotedTsv{'\t', true};

/// How to have quotes taken off, for messages.
inline constexpr std::string_view kReadQuotes = "quotes: true (eval: --quotes)";

/// Whether a field was written in quotes by a program that doubles those inside: it begins and ends with one. Or with
/// `open`, whether it begins like one: that of a field with a line end in it.
bool looks_quoted(std::string_view field, bool open = false);

/// Goes through a text record by record. `path` is for messages.
class RecordReader {
 public:
  RecordReader(std::filesystem::path path, std::string_view text, Dialect dialect);

  /// Reads the next record that is not an empty line; false at the end.
  /// Throws DataError: a quote that is not closed, or text after a closing quote.
  bool next();

  const std::vector<std::string>& record() const { return record_; }
  std::vector<std::string>& record() { return record_; }

  const Dialect& dialect() const { return dialect_; }

  /// Where the record begins, from 1.
  int64_t line() const { return record_line_; }

 private:
  bool at_end() const { return at_ == text_.size(); }
  bool at_line_end() const;
  void skip_line_end();
  std::string plain_field();
  std::string quoted_field();

  std::filesystem::path path_;
  std::string_view text_;
  Dialect dialect_;
  size_t at_ = 0;
  int64_t line_ = 1;
  int64_t record_line_ = 0;
  std::vector<std::string> record_;
};

}  // namespace compression::datasets
