#pragma once
// What is done with a tokenizer that an input has made.

#include <memory>
#include <string>
#include <vector>

#include "compress/tokenizer/pipeline.h"
#include "tests/fuzz/fuzzing.h"

namespace compression::fuzzing {

inline void check_encoding(const Encoding& encoding, size_t text_bytes, int64_t ids) {
  const auto end = static_cast<int64_t>(text_bytes);
  for (const auto& span : encoding.offsets) {
    if (span.begin < 0 || span.end > end || span.begin > span.end) finding("an offset out of its text");
  }
  for (const auto id : encoding.input_ids) {
    if (id < 0 || id >= ids) finding("an id out of the vocabulary");
  }
}

/// Encodes some texts in every way, `own` among them.
inline void encode_texts(PipelineConfig config, const std::filesystem::path& folder, std::string_view own) {
  config.folder = folder;
  const auto ids = config.vocabulary_size;
  const TokenizerPipeline tokenizer(std::move(config));
  const std::vector<std::string> texts = {std::string(own.substr(0, 4096)),
                                          "The quick  brown [MASK] fox, d\u00e9j\u00e0 vu \u3042\u4e2d <s> </s>\t\n",
                                          std::string(300, ' ') + "x", "", "\xFF\xE2\x82 ab\xF0\x9F\x98\x80"};
  for (const auto& text : texts) {
    allow_errors([&] {
      tokenizer.encode({text, {}}, {.max_length = 0});
      check_encoding(tokenizer.encode({text, {}}, {.max_length = 0, .offsets = true}), text.size(), ids);
      check_encoding(tokenizer.encode({text, {}}, {.max_length = 8, .offsets = true}), text.size(), ids);
    });
    allow_errors([&] {
      for (const auto& window : tokenizer.encode_windows(
               {texts.front(), text}, {.max_length = 64, .truncation = Truncation::kOnlySecond, .offsets = true}, 3)) {
        check_encoding(window, std::max(text.size(), texts.front().size()), ids);
      }
    });
  }
  allow_errors([&] { tokenizer.encode_words(texts, {.max_length = 64, .offsets = true}); });
}

}  // namespace compression::fuzzing
