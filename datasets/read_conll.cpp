#include <fmt/format.h>

#include <algorithm>

#include "datasets/readers.h"
#include "datasets/text_file.h"  // fail, in_quotes

namespace compression::datasets {

Dataset read_conll(const FileConfig& file, std::string_view text, bool labelled) {
  Dataset data;
  data.path = file.path;
  std::vector<std::string> words, tags;
  int64_t number = 0, begin = 0;
  const auto finish = [&] {
    if (!words.empty()) add_words(std::move(words), std::move(tags), labelled, begin, data);
    words.clear();
    tags.clear();
  };
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ++number;
    line = line.substr(0, line.find_last_not_of(" \t\r") + 1);
    const auto first_end = line.find_first_of(" \t");
    if (line.empty() || line.substr(0, first_end) == "-DOCSTART-") {
      finish();
      continue;
    }
    if (words.empty()) begin = number;
    words.emplace_back(line.substr(0, first_end));
    if (words.back().empty()) fail(file.path, number, "begins with white space, expected a word");
    if (first_end != std::string_view::npos) {
      tags.emplace_back(line.substr(line.find_last_of(" \t") + 1));
    } else if (labelled) {
      fail(file.path, number, fmt::format("only the word {}, expected its tag in a second column", in_quotes(line)));
    }
  }
  finish();
  if (data.inputs.empty()) fail(file.path, "only empty lines, expected words and tags");
  return data;
}

}  // namespace compression::datasets
