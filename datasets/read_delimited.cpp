#include <fmt/format.h>

#include <algorithm>

#include "compress/base/error.h"   // ConfigError
#include "compress/base/number.h"  // number_of
#include "datasets/readers.h"
#include "datasets/text_file.h"  // fail, in_quotes, listed

namespace compression::datasets {
namespace {

std::optional<size_t> position(const std::vector<std::string>& names, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<size_t>(found - names.begin());
}

size_t numbered_column(const RecordReader& first, const FileConfig& file, const std::string& number) {
  const auto column = number_of<size_t>(number);
  if (!column) {
    throw ConfigError(fmt::format("{}: column {}, expected a number from 0 as there is no header", file.path.string(),
                                  in_quotes(number)));
  }
  const size_t count = first.record().size();
  if (*column >= count) {
    fail(file.path, first.line(), fmt::format("no column {}, there are {} and the first is 0", *column, count));
  }
  return *column;
}

Columns named_columns(const RecordReader& header, const FileConfig& file, bool labelled) {
  Columns columns;
  columns.count = header.record().size();
  columns.text = find_column(header, file.path, *file.text);
  if (file.text_pair) columns.text_pair = find_column(header, file.path, *file.text_pair);
  columns.label = labelled ? find_column(header, file.path, *file.label) : position(header.record(), *file.label);
  return columns;
}

Columns numbered_columns(const RecordReader& first, const FileConfig& file, bool labelled) {
  Columns columns;
  columns.count = first.record().size();
  columns.text = numbered_column(first, file, *file.text);
  if (file.text_pair) columns.text_pair = numbered_column(first, file, *file.text_pair);
  const auto label = number_of<size_t>(*file.label);
  if (labelled || (label && *label < columns.count)) columns.label = numbered_column(first, file, *file.label);
  return columns;
}

std::vector<std::string> parts(std::string_view text, std::string_view separator) {
  std::vector<std::string> all;
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    if (end > 0) all.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + separator.size(), text.size()));
  }
  return all;
}

/// Whether a cell holds a list as Python and JSON write it: "['a', 'b']", "[0, 1]", "[]".
bool looks_like_list(std::string_view cell) {
  if (cell.size() < 2 || cell.front() != '[' || cell.back() != ']') return false;
  const auto inner = cell.substr(1, cell.size() - 2);
  return inner.empty() || inner.front() == '\'' || inner.front() == '"' ||
         (inner.front() >= '0' && inner.front() <= '9');
}

/// Texts with quotes around them that were kept as letters.
void warn_of_quotes(Dataset& data) {
  const auto quoted = [](const TextInput& input) {
    return looks_quoted(input.text) || (input.pair && looks_quoted(*input.pair));
  };
  const auto first = std::ranges::find_if(data.inputs, quoted);
  if (first == data.inputs.end()) return;
  data.warnings.push_back(fmt::format(
      "{}:{}: quotes around the text are read as letters, in {} of {} texts; {} takes them off, as pandas and "
      "the csv module write them",
      data.path.string(), data.lines[static_cast<size_t>(first - data.inputs.begin())],
      std::ranges::count_if(data.inputs, quoted), data.inputs.size(), kReadQuotes));
}

}  // namespace

size_t find_column(const RecordReader& header, const std::filesystem::path& path, const std::string& name) {
  const auto column = position(header.record(), name);
  if (!column) {
    const bool quoted = !header.dialect().quotes && std::ranges::any_of(header.record(), [](const std::string& field) {
      return looks_quoted(field);
    });
    fail(path, header.line(),
         fmt::format("no column {}, the columns are {}{}", in_quotes(name), listed(header.record()),
                     quoted ? fmt::format("; {} takes the quotes off", kReadQuotes) : ""));
  }
  return *column;
}

void add_record(RecordReader& reader, const Columns& columns, bool labelled, Dataset& data) {
  auto& record = reader.record();
  if (record.size() != columns.count) {
    if (columns.skip_ragged) {
      ++data.skipped;
      return;
    }
    const bool torn = columns.may_be_quoted && std::ranges::any_of(record, [](const std::string& field) {
                        return looks_quoted(field, /*open=*/true);
                      });
    fail(data.path, reader.line(),
         fmt::format("{} column{}, expected {}{}", record.size(), record.size() == 1 ? "" : "s", columns.count,
                     torn ? fmt::format(": a field begins with a quote; {} reads fields in quotes, which may hold tabs "
                                        "and line ends",
                                        kReadQuotes)
                          : ""));
  }
  std::string label = columns.label ? record[*columns.label] : "";
  const bool several = !columns.label_separator.empty();
  if (labelled && label.empty() && !several)
    fail(data.path, reader.line(), "an empty label, expected a name or an integer");
  if (labelled && several && looks_like_list(label)) {
    fail(data.path, reader.line(),
         fmt::format("label {}, expected labels parted by {}; lists are read from JSONL", in_quotes(label),
                     in_quotes(columns.label_separator)));
  }
  TextInput input{record[columns.text], std::nullopt};
  if (columns.text_pair) input.pair = record[*columns.text_pair];
  data.inputs.push_back(std::move(input));
  if (several) {
    data.label_lists.push_back(parts(label, columns.label_separator));
  } else {
    data.labels.push_back(std::move(label));
  }
  data.lines.push_back(reader.line());
}

void add_records(RecordReader& reader, const Columns& columns, bool labelled, Dataset& data) {
  while (reader.next()) add_record(reader, columns, labelled, data);
}

Dataset read_delimited(const FileConfig& file, std::string_view text, Dialect dialect, bool labelled, TaskType task) {
  Dataset data;
  data.path = file.path;
  RecordReader reader(file.path, text, dialect);
  if (!reader.next()) fail(file.path, "only empty lines, expected texts");
  labelled = labelled && traits_of(task).labels != LabelKind::none;
  auto columns = file.header ? named_columns(reader, file, labelled) : numbered_columns(reader, file, labelled);
  if (traits_of(task).labels == LabelKind::class_names) columns.label_separator = file.label_separator;
  columns.may_be_quoted = !dialect.quotes;
  if (!file.header) add_record(reader, columns, labelled, data);
  add_records(reader, columns, labelled, data);
  if (data.inputs.empty()) fail(file.path, "only a header, expected texts below it");
  if (!dialect.quotes) warn_of_quotes(data);
  return data;
}

}  // namespace compression::datasets
