#include "recipes/data_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ranges>
#include <string_view>
#include <unordered_map>

#include "compress/base/error.h"         // Error
#include "compress/base/message.h"       // one_line
#include "compress/base/quantile.h"      // quantile
#include "compress/task/labels.h"        // folded_label, ClassFinder
#include "compress/tokenizer/unicode.h"  // trim_start
#include "recipes/text.h"                // in_quotes

namespace compression::recipes {
namespace {

constexpr double much_cut = 0.05;  // share of texts; less is not worth a warning
constexpr size_t shown_names = 10;

bool is_blank(std::string_view text) {
  return unicode::trim_start(text).empty();
}

/// What makes two examples the same text.
std::string key_of(const TextInput& input) {
  return input.pair ? fmt::format("{}\n\n{}", input.text, *input.pair) : input.text;
}

/// An example's label, to be compared with others; empty for tasks that have none of this kind.
std::string label_of(const datasets::Dataset& data, size_t i) {
  if (i < data.labels.size()) return data.labels[i];
  return i < data.label_lists.size() ? fmt::format("{}", fmt::join(data.label_lists[i], "|")) : "";
}

/// "a, b, c"; of many names the first ones.
std::string some(const std::vector<std::string>& names) {
  const std::vector<std::string> first(names.begin(), names.begin() + std::min(shown_names, names.size()));
  return fmt::format("{}{}", fmt::join(first, ", "),
                     names.size() > shown_names ? fmt::format(" and {} more", names.size() - shown_names) : "");
}

std::map<std::string, int64_t> count_classes(const datasets::Dataset& data, const TaskHead& head) {
  std::map<std::string, int64_t> counts;
  if (!traits_of(head.task).has_classes()) return counts;
  const ClassFinder finder(head.labels);
  const auto count = [&](const std::string& label) {
    if (const auto found = finder.find(label)) ++counts[head.labels[static_cast<size_t>(found->id)]];
  };
  for (const auto& label : data.labels) count(label);
  for (const auto& list : data.label_lists) {
    for (const auto& label : list) count(label);
  }
  return counts;
}

std::optional<Lengths> lengths_of(const datasets::Dataset& data, LabelKind labels, int64_t max_length,
                                  const Tokenizer& tokenizer) {
  const auto all = static_cast<int64_t>(data.inputs.size()), count = std::min(all, most_lengths);
  if (count == 0) return std::nullopt;
  const EncodeOptions whole{.max_length = 0};
  std::vector<TextInput> inputs;
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(i * all / count);
    if (labels == LabelKind::tags) {
      lengths.push_back(static_cast<int64_t>(tokenizer.encode_words(data.words[at], whole).input_ids.size()));
    } else if (labels == LabelKind::cosine && data.inputs[at].pair) {  // each text is encoded alone
      inputs.push_back({data.inputs[at].text, std::nullopt});
      inputs.push_back({*data.inputs[at].pair, std::nullopt});
    } else {
      inputs.push_back(data.inputs[at]);
    }
  }
  for (const auto& encoding : tokenizer.encode_batch(inputs, whole)) {
    lengths.push_back(static_cast<int64_t>(encoding.input_ids.size()));
  }
  std::ranges::sort(lengths);
  const auto cut = lengths.end() - std::ranges::upper_bound(lengths, max_length);
  const bool windows = labels == LabelKind::answers;
  return Lengths{.median = quantile(lengths, 0.5),
                 .p90 = quantile(lengths, 0.9),
                 .p99 = quantile(lengths, 0.99),
                 .longest = lengths.back(),
                 .cut = windows ? 0.0 : static_cast<double>(cut) / static_cast<double>(lengths.size()),
                 .looked_at = count};
}

/// The texts of a split, each with the example that has it first.
using Texts = std::unordered_map<std::string, size_t>;

class Looker {
 public:
  Looker(const TaskData& data, const Tokenizer* tokenizer) : data_(data), tokenizer_(tokenizer) {
    report_.max_length = data.max_length();
    report_.class_names = traits_of(data.head().task).has_classes() ? data.head().labels : std::vector<std::string>{};
    report_.warnings = data.notes();
  }

  DataReport look() {
    for (const auto split : {Split::train, Split::validation, Split::test}) {
      if (data_.has(split)) look_at_split(split);
    }
    compare_names();
    compare_classes();
    compare_splits(Split::train, Split::validation);
    compare_splits(Split::train, Split::test);
    compare_splits(Split::validation, Split::test);
    return std::move(report_);
  }

 private:
  void warn(std::string_view text) { report_.warnings.push_back(one_line(text)); }

  void look_at_split(Split split) {
    const auto& data = data_.texts(split);
    const auto task = data_.head().task;
    SplitReport found{.split = split, .file = data.path.string(), .texts = static_cast<int64_t>(data.inputs.size())};
    found.classes = count_classes(data, data_.head());
    std::optional<size_t> first_empty, contradiction, contradicted;
    int64_t contradictions = 0;
    auto& texts = texts_[split];
    for (size_t i = 0; i < data.inputs.size(); ++i) {
      const auto& input = data.inputs[i];
      if (is_blank(input.text) || (input.pair && is_blank(*input.pair))) {
        if (!first_empty) first_empty = i;
        ++found.empty;
        continue;  // that many are the same is told by their number
      }
      const auto [before, is_new] = texts.emplace(key_of(input), i);
      if (is_new) continue;
      ++found.repeated;
      if (label_of(data, before->second) == label_of(data, i)) continue;
      if (!contradiction) contradicted = before->second, contradiction = i;
      ++contradictions;
    }
    if (tokenizer_ != nullptr)
      found.lengths = lengths_of(data, traits_of(task).labels, data_.max_length(), *tokenizer_);
    const auto name = split_name(split);
    if (found.empty > 0) {
      warn(fmt::format("data.{}: {} of {} texts are empty, the first at {}", name, found.empty, found.texts,
                       datasets::place_of(data, *first_empty)));
    }
    if (contradiction) {
      warn(
          fmt::format("data.{}: {} texts are there again with another label, the first at {}: {} is {} there and {} at "
                      "{}",
                      name, contradictions, datasets::place_of(data, *contradiction),
                      in_quotes(data.inputs[*contradiction].text), in_quotes(label_of(data, *contradiction)),
                      in_quotes(label_of(data, *contradicted)), datasets::place_of(data, *contradicted)));
    }
    found.unanswerable = std::ranges::count_if(data.answers, [](const auto& answers) { return answers.empty(); });
    if (data_.answers().unanswerable && found.unanswerable == 0) {
      warn(fmt::format("data.{}: every question has an answer, and data.answers.unanswerable is true", name));
    }
    if (found.lengths && found.lengths->cut >= much_cut) {
      warn(fmt::format("data.{}: max_length {} cuts {:.0f} % of the texts: their median is {} tokens, the longest {}",
                       name, data_.max_length(), 100 * found.lengths->cut, found.lengths->median,
                       found.lengths->longest));
    }
    report_.splits.push_back(std::move(found));
  }

  /// Labels of the training texts that a slip of the hand may have made two of.
  void compare_names() {
    if (!traits_of(data_.head().task).has_classes()) return;
    std::map<std::string, std::vector<std::string>> alike;
    for (const auto& label : datasets::distinct_labels(data_.texts(Split::train))) {
      alike[folded_label(label)].push_back(in_quotes(label));
    }
    for (const auto& [folded, labels] : alike) {
      if (labels.size() < 2) continue;
      warn(
          fmt::format("data.train: the labels {} differ in letter case or white space alone", fmt::join(labels, ", ")));
    }
  }

  void compare_classes() {
    for (const auto& split : report_.splits) {
      std::vector<std::string> missing;
      for (const auto& name : report_.class_names) {
        if (!split.classes.contains(name)) missing.push_back(in_quotes(name));
      }
      if (missing.empty()) continue;
      warn(fmt::format("data.{}: {} of {} classes are in no text: {}", split_name(split.split), missing.size(),
                       report_.class_names.size(), some(missing)));
    }
  }

  /// Texts of `of` that are in `in` too.
  void compare_splits(Split in, Split of) {
    if (!data_.has(in) || !data_.has(of)) return;
    int64_t common = 0;
    std::optional<size_t> first;
    for (const auto& [text, example] : texts_[of]) {
      if (!texts_[in].contains(text)) continue;
      ++common;
      first = std::min(first.value_or(example), example);
    }
    if (common == 0) return;
    const auto& data = data_.texts(of);
    warn(fmt::format("data.{}: {} of its {} different texts are in data.{} too, the first at {}", split_name(of),
                     common, texts_[of].size(), split_name(in), datasets::place_of(data, *first)));
  }

  const TaskData& data_;
  const Tokenizer* tokenizer_;
  DataReport report_;
  std::map<Split, Texts> texts_;
};

nlohmann::json lengths_json(const Lengths& lengths) {
  return {{"median", lengths.median},   {"p90", lengths.p90}, {"p99", lengths.p99},
          {"longest", lengths.longest}, {"cut", lengths.cut}, {"looked_at", lengths.looked_at}};
}

}  // namespace

DataReport look_at(const TaskData& data, const Tokenizer* tokenizer) {
  return Looker(data, tokenizer).look();
}

DataReport look_at(const TaskData& data, const Recipe& recipe) {
  std::shared_ptr<const Tokenizer> tokenizer;
  try {
    tokenizer = load_tokenizer(recipe.model.path);
  } catch (const Error&) {
    // Who needs it is told.
  }
  return look_at(data, tokenizer.get());
}

nlohmann::json data_json(const DataReport& report) {
  auto splits = nlohmann::json::array();
  for (const auto& split : report.splits) {
    splits.push_back({{"split", split_name(split.split)},
                      {"file", split.file},
                      {"texts", split.texts},
                      {"empty", split.empty},
                      {"repeated", split.repeated},
                      {"unanswerable", split.unanswerable},
                      {"classes", split.classes},
                      {"lengths", split.lengths ? lengths_json(*split.lengths) : nlohmann::json()}});
  }
  return {{"max_length", report.max_length}, {"splits", splits}, {"warnings", report.warnings}};
}

std::vector<std::string> data_lines(const DataReport& report) {
  std::vector<std::string> lines;
  for (const auto& split : report.splits) {
    auto line = fmt::format("{}: {} texts, {} empty, {} there before", split_name(split.split), split.texts,
                            split.empty, split.repeated);
    if (split.unanswerable > 0) line += fmt::format(", {} questions without an answer", split.unanswerable);
    if (const auto& lengths = split.lengths) {
      line += fmt::format("; tokens: median {}, 90 % up to {}, 99 % up to {}, longest {}", lengths->median,
                          lengths->p90, lengths->p99, lengths->longest);
      if (lengths->looked_at < split.texts) line += fmt::format(" (of {} texts)", lengths->looked_at);
      line += fmt::format("; {:.1f} % are cut to max_length {}", 100 * lengths->cut, report.max_length);
    }
    lines.push_back(std::move(line));
  }
  constexpr size_t shown_classes = 200;
  for (const auto& name : report.class_names | std::views::take(shown_classes)) {
    std::string counts;
    for (const auto& split : report.splits) {
      const auto found = split.classes.find(name);
      counts += fmt::format("{}{}", counts.empty() ? "" : ", ", found == split.classes.end() ? 0 : found->second);
    }
    lines.push_back(fmt::format("class {}: {}", in_quotes(name), counts));
  }
  if (report.class_names.size() > shown_classes) {
    lines.push_back(fmt::format("and {} more classes", report.class_names.size() - shown_classes));
  }
  for (const auto& warning : report.warnings) lines.push_back("warning: " + warning);
  return lines;
}

}  // namespace compression::recipes
