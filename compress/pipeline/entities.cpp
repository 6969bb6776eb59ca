#include "compress/pipeline/entities.h"

#include <algorithm>

namespace compression {
namespace {

char prefix_of(std::string_view tag) {
  return tag.empty() ? 'O' : tag.front();
}

std::string_view type_of(std::string_view tag) {
  const auto rest = tag.substr(std::min<size_t>(1, tag.size()));
  const auto dash = rest.find('-');
  const auto type = dash == std::string_view::npos ? rest : rest.substr(dash + 1);
  return type.empty() ? "_" : type;
}

}  // namespace

bool is_entity_tag(std::string_view tag) {
  constexpr std::string_view prefixes = "BIES";
  if (tag == "O") return true;
  return !tag.empty() && prefixes.find(tag.front()) != std::string_view::npos && (tag.size() == 1 || tag[1] == '-');
}

std::vector<TagSpan> tag_spans(std::span<const std::string> tags) {
  std::vector<TagSpan> spans;
  char before = 'O';
  std::string_view type_before = "_";
  size_t begin = 0;
  for (size_t i = 0; i <= tags.size(); ++i) {
    const std::string_view tag = i < tags.size() ? std::string_view(tags[i]) : "O";
    const char prefix = prefix_of(tag);
    const auto type = type_of(tag);
    const auto is_one_of = [](char c, std::string_view these) { return these.find(c) != std::string_view::npos; };
    const bool ends = is_one_of(before, "ES") || (is_one_of(before, "BI") && is_one_of(prefix, "BSO")) ||
                      (!is_one_of(before, "O.") && type_before != type);
    const bool begins = is_one_of(prefix, "BS") || (is_one_of(before, "ESO") && is_one_of(prefix, "EI")) ||
                        (!is_one_of(prefix, "O.") && type_before != type);
    if (ends) spans.push_back({begin, i, type_before});
    if (begins) begin = i;
    before = prefix;
    type_before = type;
  }
  return spans;
}

}  // namespace compression
