#include "datasets/dataset.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>
#include <system_error>

#include "compress/base/error.h"    // ConfigError, DataError
#include "compress/base/limits.h"   // text_bytes
#include "compress/base/message.h"  // printable
#include "compress/base/number.h"   // number_of
#include "compress/task/labels.h"   // ClassFinder, class_number
#include "datasets/kinds.h"         // find_kind
#include "datasets/readers.h"
#include "datasets/text_file.h"  // fail, in_quotes, listed, read_text

namespace compression::datasets {
namespace {

constexpr std::array<std::string_view, 6> kFormats{"jsonl", "csv", "tsv", "glue", "conll", "squad"};
constexpr std::string_view kFormatList = "jsonl, csv, tsv, glue, conll or squad";

bool is_format(std::string_view name) {
  return std::find(kFormats.begin(), kFormats.end(), name) != kFormats.end();
}

/// The format of the file, "" if neither the setting nor the name tells.
std::string format_of(const FileConfig& file) {
  if (file.format) return is_format(*file.format) ? *file.format : "";
  std::string extension = file.path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (extension == ".json") return "squad";
  if (extension == ".jsonl" || extension == ".csv" || extension == ".tsv" || extension == ".conll") {
    return extension.substr(1);
  }
  return "";
}

std::string unknown_format(const FileConfig& file) {
  if (file.format) return fmt::format("{}, expected {}", in_quotes(*file.format), kFormatList);
  return fmt::format("absent, and {} does not tell: expected {}", in_quotes(file.path.filename().string()),
                     kFormatList);
}

void validate_path(const std::filesystem::path& path, Problems& problems) {
  problems.require(!path.empty(), "path", "empty, expected a file of texts");
}

/// Formats whose fields are known.
void validate_fixed(const FileConfig& config, std::string_view columns, Problems& problems) {
  const std::string message = fmt::format("set, but the columns of {} are known: leave it out", columns);
  problems.require(!config.text, "text", message);
  problems.require(!config.text_pair, "text_pair", message);
  problems.require(!config.label, "label", message);
  problems.require(config.header, "header", message);
  problems.require(!config.quotes, "quotes", fmt::format("set, but quotes of {} are letters: leave it out", columns));
}

void validate_columns(const FileConfig& config, bool numbered, Problems& problems) {
  const auto column = [&](std::string_view key, const std::string& name) {
    if (numbered && !number_of<size_t>(name)) {
      problems.add(key, fmt::format("{}, expected a number from 0 as there is no header", in_quotes(name)));
    } else if (name.empty()) {
      problems.add(key, "empty, expected the name of a field or column");
    }
  };
  column("text", config.text.value_or("text"));
  if (config.text_pair) column("text_pair", *config.text_pair);
  const auto label = config.label.value_or("label");
  column("label", label);
  problems.require((!config.text || label != config.text) && (!config.text_pair || label != config.text_pair), "label",
                   fmt::format("{}, which is the text too", in_quotes(label)));
  problems.require(!config.label_separator.empty(), "label_separator", "empty, expected what parts labels");
}

/// Throws UnsupportedError if files of the format have no data for the task.
void check_format(const std::filesystem::path& path, const std::string& format, TaskType task) {
  const auto expected = find_kind(traits_of(task).labels).formats();
  if (format.empty() || std::ranges::find(expected, format) != expected.end()) return;
  throw UnsupportedError(fmt::format("{}: a file of format {}, supported for task {}: {}", path.string(), format,
                                     enum_name(task), fmt::join(expected, ", ")));
}

Dataset read_format(const std::string& format, const FileConfig& file, std::string_view text, bool labelled,
                    TaskType task) {
  if (format == "jsonl") return read_jsonl(file, text, labelled, task);
  if (format == "csv") return read_delimited(file, text, file.quotes.value_or(true) ? kCsv : kPlainCsv, labelled, task);
  if (format == "tsv") {
    return read_delimited(file, text, file.quotes.value_or(false) ? kQuotedTsv : kTsv, labelled, task);
  }
  if (format == "glue") return read_glue(file, text, labelled, task);
  if (format == "conll") return read_conll(file, text, labelled);
  if (format == "squad") return read_squad(file, text, labelled);
  throw ConfigError(fmt::format("{}: format {}", file.path.string(), unknown_format(file)));
}

bool are_class_numbers(const std::set<std::string>& names) {
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    const auto number = class_number(name);
    return number && *number < static_cast<int64_t>(names.size());
  });
}

std::vector<std::string> in_order(const std::set<std::string>& names) {
  std::vector<std::string> result(names.begin(), names.end());
  if (are_class_numbers(names)) {
    std::sort(result.begin(), result.end(),
              [](const std::string& a, const std::string& b) { return *class_number(a) < *class_number(b); });
  }
  return result;
}

/// The ids of labels by the rule of compress/task/labels.h.
class IdFinder {
 public:
  explicit IdFinder(const std::vector<std::string>& names) : names_(names), finder_(names) {}

  int64_t find(const std::string& label, const Dataset& data, size_t example) const {
    if (const auto found = finder_.find(label)) return found->id;
    fail(data.path, data.lines[example],
         fmt::format("label {}, expected one of the {} classes: {}", in_quotes(label), names_.size(), listed(names_)));
  }

 private:
  const std::vector<std::string>& names_;
  ClassFinder finder_;
};

}  // namespace

void validate(const FileConfig& config, Problems& problems) {
  validate_path(config.path, problems);
  const std::string format = format_of(config);
  if (format == "glue") return validate_fixed(config, "a GLUE task", problems);
  if (format == "conll") return validate_fixed(config, "a CoNLL file", problems);
  if (format == "squad") return validate_fixed(config, "a SQuAD file", problems);
  const bool format_matters = config.format.has_value() || !config.path.empty();
  if (format.empty() && format_matters) problems.add("format", unknown_format(config));
  problems.require(config.header || format != "jsonl", "header", "false, but a JSONL file has no header either way");
  problems.require(!config.quotes || format != "jsonl", "quotes", "set, but a JSONL file has JSON's own: leave it out");
  validate_columns(config, !config.header && format != "jsonl", problems);
}

FileConfig with_names(FileConfig config, TaskType task) {
  const auto names = find_kind(traits_of(task).labels).names();
  if (!config.text) config.text = names.text;
  if (!config.label) config.label = names.label;
  if (!config.text_pair) config.text_pair = names.text_pair;
  return config;
}

std::string place_of(const Dataset& data, size_t example) {
  const auto path = printable(data.path.string());
  if (example < data.lines.size() && data.lines[example] > 0) return fmt::format("{}:{}", path, data.lines[example]);
  return example < data.ids.size() ? fmt::format("{}: question {}", path, in_quotes(data.ids[example])) : path;
}

void check_sizes(const Dataset& data, TaskType task) {
  const auto check = [&](size_t i, const std::string& text, size_t most, std::string_view what) {
    if (text.size() <= most) return;
    throw DataError(
        fmt::format("{}: a {} of {} bytes, expected at most {}", place_of(data, i), what, text.size(), most));
  };
  const bool has_contexts = traits_of(task).labels == LabelKind::answers;
  for (size_t i = 0; i < data.inputs.size(); ++i) {
    const auto& [text, pair] = data.inputs[i];
    check(i, text, limits::text_bytes, "text");
    if (pair)
      check(i, *pair, has_contexts ? limits::context_bytes : limits::text_bytes, has_contexts ? "context" : "text");
  }
}

Dataset read_dataset(const FileConfig& config, bool labelled, TaskType task) {
  const std::string format = format_of(config);
  const auto file = with_names(config, task);
  check_format(file.path, format, task);
  const std::string text = read_text(file.path);
  auto data = read_format(format, file, text, labelled, task);
  check_sizes(data, task);
  return data;
}

std::vector<std::string> label_names(const Dataset& train) {
  const std::set<std::string> names(train.labels.begin(), train.labels.end());
  if (names.count("") > 0) {
    const auto example = std::find(train.labels.begin(), train.labels.end(), "") - train.labels.begin();
    fail(train.path, train.lines[static_cast<size_t>(example)], "no label, expected one to train on");
  }
  if (names.empty()) fail(train.path, "no examples, expected two classes or more");
  if (names.size() == 1) {
    fail(train.path, fmt::format("every label is {}, expected two classes or more", in_quotes(*names.begin())));
  }
  return in_order(names);
}

std::vector<std::string> listed_names(const Dataset& train) {
  std::set<std::string> names;
  for (size_t i = 0; i < train.label_lists.size(); ++i) {
    for (const auto& name : train.label_lists[i]) {
      if (name.empty()) fail(train.path, train.lines[i], "an empty label, expected a name or an integer");
      names.insert(name);
    }
  }
  if (names.empty()) fail(train.path, "no labels, expected some to train on");
  return in_order(names);
}

std::vector<std::string> distinct_labels(const Dataset& data) {
  std::set<std::string> names(data.labels.begin(), data.labels.end());
  for (const auto& list : data.label_lists) names.insert(list.begin(), list.end());
  names.erase("");
  return {names.begin(), names.end()};
}

std::vector<int64_t> label_ids(const Dataset& data, const std::vector<std::string>& names) {
  const IdFinder finder(names);
  std::vector<int64_t> ids;
  ids.reserve(data.labels.size());
  for (size_t i = 0; i < data.labels.size(); ++i) ids.push_back(finder.find(data.labels[i], data, i));
  return ids;
}

std::vector<std::vector<int64_t>> listed_ids(const Dataset& data, const std::vector<std::string>& names) {
  const IdFinder finder(names);
  std::vector<std::vector<int64_t>> ids(data.label_lists.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    for (const auto& label : data.label_lists[i]) ids[i].push_back(finder.find(label, data, i));
  }
  return ids;
}

namespace {

/// A number as C writes it, whatever the process's locale is.
std::optional<double> finite_number(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  const auto number = number_of<double>(text);
  return number && std::isfinite(*number) ? number : std::nullopt;
}

}  // namespace

std::vector<double> scores(const Dataset& data) {
  std::vector<double> numbers;
  for (size_t i = 0; i < data.labels.size(); ++i) {
    const auto& label = data.labels[i];
    const auto number = finite_number(label);
    if (!number) fail(data.path, data.lines[i], fmt::format("label {}, expected a number", in_quotes(label)));
    numbers.push_back(*number);
  }
  return numbers;
}

}  // namespace compression::datasets
