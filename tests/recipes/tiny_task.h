#pragma once
// Texts for runs of the tiny model.

#include <nlohmann/json.hpp>

#include "tests/support.h"

namespace compression::testing {

/// A task that the tiny model can learn: which of three words a text has most of.
inline void write_texts(const std::filesystem::path& file, int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::vector<std::string> words = {"the", "and", "of"}, names = {"article", "conjunction", "preposition"};
  std::string text;
  for (int i = 0; i < count; ++i) {
    const auto own = random() % 3;
    std::string line;
    for (int w = 0; w < 8; ++w) line += (random() % 4 == 0 ? words[random() % 3] : words[own]) + " ";
    text += nlohmann::json{{"text", line}, {"label", names[own]}}.dump() + "\n";
  }
  write_file(file, text);
}

}  // namespace compression::testing
