#include "datasets/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <system_error>
#include <unordered_map>

#include "compress/workflow/error.h"  // ConfigError
#include "datasets/readers.h"
#include "datasets/text_file.h"  // fail, in_quotes, listed, read_text

namespace compression::datasets {
namespace {

constexpr std::array<std::string_view, 4> kFormats{"jsonl", "csv", "tsv", "glue"};
constexpr std::string_view kFormatList = "jsonl, csv, tsv or glue";

bool is_format(std::string_view name) {
  return std::find(kFormats.begin(), kFormats.end(), name) != kFormats.end();
}

/// The format of the file, "" if neither the setting nor the name tells.
std::string format_of(const FileConfig& file) {
  if (file.format) return is_format(*file.format) ? *file.format : "";
  std::string extension = file.path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (extension == ".jsonl" || extension == ".csv" || extension == ".tsv") return extension.substr(1);
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

void validate_glue(const FileConfig& config, Problems& problems) {
  const FileConfig defaults;
  const std::string message = "set, but the columns of a GLUE task are known: leave it out";
  problems.require(config.text == defaults.text, "text", message);
  problems.require(!config.text_pair, "text_pair", message);
  problems.require(config.label == defaults.label, "label", message);
  problems.require(config.header, "header", message);
}

void validate_columns(const FileConfig& config, bool numbered, Problems& problems) {
  const auto column = [&](std::string_view key, const std::string& name) {
    if (numbered && !parse_number(name)) {
      problems.add(key, fmt::format("{}, expected a number from 0 as there is no header", in_quotes(name)));
    } else if (name.empty()) {
      problems.add(key, "empty, expected the name of a field or column");
    }
  };
  column("text", config.text);
  if (config.text_pair) column("text_pair", *config.text_pair);
  column("label", config.label);
  problems.require(config.label != config.text && config.label != config.text_pair, "label",
                   fmt::format("{}, which is the text too", in_quotes(config.label)));
}

/// The number that a label is, if it is written as to_string() would: "7", not "07".
std::optional<int64_t> class_number(const std::string& label) {
  const bool leading_zero = label.size() > 1 && label[0] == '0';
  const auto number = leading_zero ? std::nullopt : parse_number(label);
  if (!number || *number > static_cast<size_t>(INT64_MAX)) return std::nullopt;
  return static_cast<int64_t>(*number);
}

bool are_class_numbers(const std::set<std::string>& names) {
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    const auto number = class_number(name);
    return number && *number < static_cast<int64_t>(names.size());
  });
}

}  // namespace

void validate(const FileConfig& config, Problems& problems) {
  validate_path(config.path, problems);
  const std::string format = format_of(config);
  if (format == "glue") return validate_glue(config, problems);
  const bool format_matters = config.format.has_value() || !config.path.empty();
  if (format.empty() && format_matters) problems.add("format", unknown_format(config));
  problems.require(config.header || format != "jsonl", "header", "false, but a JSONL file has no header either way");
  validate_columns(config, !config.header && format != "jsonl", problems);
}

Dataset read_dataset(const FileConfig& file, bool labelled) {
  const std::string format = format_of(file);
  const std::string text = read_text(file.path);
  if (format == "jsonl") return read_jsonl(file, text, labelled);
  if (format == "csv") return read_delimited(file, text, kCsv, labelled);
  if (format == "tsv") return read_delimited(file, text, kTsv, labelled);
  if (format == "glue") return read_glue(file, text, labelled);
  throw ConfigError(fmt::format("{}: format {}", file.path.string(), unknown_format(file)));
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
  std::vector<std::string> result(names.begin(), names.end());
  if (are_class_numbers(names)) {
    std::sort(result.begin(), result.end(),
              [](const std::string& a, const std::string& b) { return *class_number(a) < *class_number(b); });
  }
  return result;
}

std::vector<int64_t> label_ids(const Dataset& data, const std::vector<std::string>& names) {
  std::unordered_map<std::string, int64_t> id_of;
  for (size_t id = 0; id < names.size(); ++id) id_of.emplace(names[id], static_cast<int64_t>(id));
  const bool numbers_are_ids = std::none_of(names.begin(), names.end(), class_number);

  std::vector<int64_t> ids;
  ids.reserve(data.labels.size());
  for (size_t i = 0; i < data.labels.size(); ++i) {
    const auto& label = data.labels[i];
    const auto named = id_of.find(label);
    const auto number = numbers_are_ids ? class_number(label) : std::nullopt;
    if (named != id_of.end()) {
      ids.push_back(named->second);
    } else if (number && *number < static_cast<int64_t>(names.size())) {
      ids.push_back(*number);
    } else {
      fail(data.path, data.lines[i],
           fmt::format("label {}, expected one of the {} classes: {}", in_quotes(label), names.size(), listed(names)));
    }
  }
  return ids;
}

}  // namespace compression::datasets
