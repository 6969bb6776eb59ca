#include "compress/task/labels.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <unordered_set>

#include "compress/base/json_file.h"     // excerpt
#include "compress/base/number.h"        // number_of
#include "compress/tokenizer/unicode.h"  // lowercase, trim_start

namespace compression {

std::optional<int64_t> class_number(std::string_view label) {
  const bool leading_zero = label.size() > 1 && label[0] == '0';
  return leading_zero || label.starts_with('-') ? std::nullopt : number_of<int64_t>(label);
}

std::string folded_label(std::string_view label) {
  const auto valid = unicode::replace_invalid(label);
  const auto trimmed = unicode::trim_end(unicode::trim_start(valid));
  std::string folded;
  for (size_t at = 0; at < trimmed.size();) {
    const auto lower = unicode::lowercase(unicode::decode(trimmed, at));
    for (int i = 0; i < lower.size; ++i) unicode::append(lower.code_points[i], folded);
  }
  return folded;
}

ClassFinder::ClassFinder(const std::vector<std::string>& classes)
    : count_(static_cast<int64_t>(classes.size())),
      numbers_are_ids_(std::ranges::none_of(classes, [](const auto& name) { return class_number(name).has_value(); })) {
  const auto add = [](auto& ids, std::string name, int64_t id) {
    if (const auto [place, added] = ids.emplace(std::move(name), id); !added) place->second = -1;
  };
  for (int64_t id = 0; id < count_; ++id) {
    const auto& name = classes[static_cast<size_t>(id)];
    add(by_name_, name, id);
    add(by_folded_name_, folded_label(name), id);
  }
}

std::optional<ClassFinder::Found> ClassFinder::find(const std::string& label) const {
  const auto named = [&](const auto& ids, const std::string& name, LabelRule rule) -> std::optional<Found> {
    const auto found = ids.find(name);
    if (found == ids.end() || found->second < 0) return std::nullopt;
    return Found{found->second, rule};
  };
  if (by_name_.contains(label)) return named(by_name_, label, LabelRule::name);
  if (auto found = named(by_folded_name_, folded_label(label), LabelRule::folded_name)) return found;
  const auto number = numbers_are_ids_ ? class_number(label) : std::nullopt;
  if (number && *number < count_) return Found{*number, LabelRule::number};
  return std::nullopt;
}

bool are_unnamed(const std::vector<std::string>& classes) {
  for (size_t i = 0; i < classes.size(); ++i) {
    if (classes[i] != fmt::format("LABEL_{}", i)) return false;
  }
  return true;
}

std::vector<int64_t> class_order(const TaskHead& wanted, const std::vector<std::string>& classes) {
  const ClassFinder finder(classes);
  std::vector<int64_t> order;
  std::unordered_set<int64_t> taken;
  bool by_names = true;
  for (size_t i = 0; i < wanted.labels.size(); ++i) {
    auto found = finder.find(wanted.labels[i]);
    if (!found && i < wanted.written.size() && !wanted.written[i].empty()) found = finder.find(wanted.written[i]);
    if (!found || !taken.insert(found->id).second) return {};
    by_names = by_names && found->rule != LabelRule::number;
    order.push_back(found->id);
  }
  return order.size() == classes.size() || by_names ? order : std::vector<int64_t>{};
}

TaskHead with_classes_of(const TaskHead& data, const std::vector<std::string>& classes) {
  if (data.labels.empty() || are_unnamed(classes)) return data;
  const ClassFinder finder(classes);
  TaskHead head{.labels = classes, .task = data.task, .written = std::vector<std::string>(classes.size())};
  bool by_names = true;
  for (const auto& label : data.labels) {
    const auto found = finder.find(label);
    if (!found) return data;
    by_names = by_names && found->rule != LabelRule::number;
    auto& written = head.written[static_cast<size_t>(found->id)];
    if (written.empty()) written = label;  // several labels may be one class: "Positive", "POSITIVE "
  }
  const bool all = std::ranges::none_of(head.written, &std::string::empty);
  return all || by_names ? head : data;
}

std::string label_note(const std::vector<std::string>& labels, const std::vector<std::string>& classes) {
  constexpr size_t shown = 10;
  const ClassFinder finder(classes);
  std::string note;
  for (const auto rule : {LabelRule::folded_name, LabelRule::number}) {
    std::vector<std::string> from, to;
    if (rule == LabelRule::number && are_unnamed(classes)) continue;  // nothing but numbers can be meant
    for (const auto& label : labels) {
      const auto found = finder.find(label);
      const auto shown_label = excerpt(label);
      if (!found || found->rule != rule || std::ranges::find(from, shown_label) != from.end()) continue;
      from.push_back(shown_label);
      to.push_back(excerpt(classes[static_cast<size_t>(found->id)]));
    }
    if (from.empty()) continue;
    const auto more = from.size() > shown ? fmt::format(" and {} more", from.size() - shown) : "";
    from.resize(std::min(from.size(), shown));
    to.resize(from.size());
    note += fmt::format("{}labels {}{} are taken for {}{}, {}", note.empty() ? "" : "; ", fmt::join(from, ", "), more,
                        fmt::join(to, ", "), more.empty() ? "" : ", ...",
                        rule == LabelRule::number ? "by number" : "letter case and white space around aside");
  }
  return note;
}

}  // namespace compression
