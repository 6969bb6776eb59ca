#include "datasets/delimited.h"

#include <fmt/format.h>

#include <algorithm>

#include "compress/base/limits.h"  // columns
#include "datasets/text_file.h"    // fail

namespace compression::datasets {

bool looks_quoted(std::string_view field, bool open) {
  if (!field.starts_with('"')) return false;
  if (open) return !field.substr(1).ends_with('"');
  if (field.size() < 2 || !field.ends_with('"')) return false;
  for (auto inside = field.substr(1, field.size() - 2); !inside.empty();) {
    const auto quote = inside.find('"');
    if (quote == std::string_view::npos) return true;
    if (inside.substr(quote + 1, 1) != "\"") return false;
    inside.remove_prefix(quote + 2);
  }
  return true;
}

RecordReader::RecordReader(std::filesystem::path path, std::string_view text, Dialect dialect)
    : path_(std::move(path)), text_(text), dialect_(dialect) {}

bool RecordReader::next() {
  while (!at_end() && at_line_end()) skip_line_end();
  if (at_end()) return false;
  record_.clear();
  record_line_ = line_;
  for (bool more = true; more;) {
    const bool is_quoted = dialect_.quotes && !at_end() && text_[at_] == '"';
    if (record_.size() == limits::columns) {
      fail(path_, record_line_, fmt::format("more than {} columns, expected at most that", limits::columns));
    }
    record_.push_back(is_quoted ? quoted_field() : plain_field());
    more = !at_end() && text_[at_] == dialect_.separator;
    if (more) ++at_;
  }
  skip_line_end();
  return true;
}

bool RecordReader::at_line_end() const {
  const std::string_view rest = text_.substr(at_);
  return rest.empty() || rest.starts_with('\n') || rest.starts_with("\r\n") || rest == "\r";
}

void RecordReader::skip_line_end() {
  if (at_end()) return;
  if (text_[at_] == '\r') ++at_;
  if (at_end()) return;
  ++at_;
  ++line_;
}

std::string RecordReader::plain_field() {
  const size_t begin = at_;
  while (!at_end() && text_[at_] != dialect_.separator && text_[at_] != '\n') ++at_;
  const bool line_ends = at_end() || text_[at_] == '\n';
  if (line_ends && at_ > begin && text_[at_ - 1] == '\r') --at_;
  return std::string(text_.substr(begin, at_ - begin));
}

std::string RecordReader::quoted_field() {
  const int64_t opened = line_;
  std::string field;
  for (bool closed = false; !closed;) {
    const size_t begin = at_ + 1;
    const size_t quote = text_.find('"', begin);
    if (quote == std::string_view::npos) {
      fail(path_, opened,
           "a quote that is not closed, expected a closing quote, or quotes: false where quotes are letters");
    }
    const std::string_view part = text_.substr(begin, quote - begin);
    field += part;
    line_ += std::count(part.begin(), part.end(), '\n');
    at_ = quote + 1;
    closed = at_end() || text_[at_] != '"';
    if (!closed) field += '"';
  }
  if (!at_line_end() && text_[at_] != dialect_.separator) {
    fail(path_, line_,
         fmt::format("text after a closing quote, expected {} or the end of the line, or quotes: false where quotes "
                     "are letters",
                     dialect_.separator == '\t' ? "a tab" : fmt::format("'{}'", dialect_.separator)));
  }
  return field;
}

}  // namespace compression::datasets
