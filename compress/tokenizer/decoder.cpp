#include "compress/tokenizer/decoder.h"

#include <array>
#include <charconv>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "compress/base/error.h"   // UnsupportedError
#include "compress/base/limits.h"  // text_bytes
#include "compress/tokenizer/bpe.h"
#include "compress/tokenizer/unicode.h"

namespace compression {
namespace {

/// Nothing where `from` is empty.
void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

std::string joined(const std::vector<std::string>& parts) {
  std::string all;
  for (const auto& part : parts) all += part;
  return all;
}

/// The byte that a character of byte_characters() stands for.
std::optional<char> byte_of(char32_t character) {
  static const auto bytes = [] {
    std::unordered_map<char32_t, char> by_character;
    for (size_t byte = 0; byte < byte_characters().size(); ++byte) {
      size_t begin = 0;
      by_character.emplace(unicode::decode(byte_characters()[byte], begin), static_cast<char>(byte));
    }
    return by_character;
  }();
  const auto found = bytes.find(character);
  return found == bytes.end() ? std::nullopt : std::optional(found->second);
}

/// The byte of <0x00> to <0xFF>.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return static_cast<char>(value);
}

}  // namespace

void DecoderSequence::decode(std::vector<std::string>& tokens) const {
  for (const auto& step : steps_) step->decode(tokens);
}

void ByteLevelDecoder::decode(std::vector<std::string>& tokens) const {
  std::string bytes;
  for (const auto& token : tokens) {
    std::string own;
    for (size_t i = 0; i < token.size();) {
      const auto byte = byte_of(unicode::decode(token, i));
      if (!byte) {
        own = token;
        break;
      }
      own += *byte;
    }
    bytes += own;
  }
  tokens.assign(1, unicode::replace_invalid(bytes));
}

void WordPieceDecoder::decode(std::vector<std::string>& tokens) const {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> shorter{{{" .", "."},
                                                                                   {" ?", "?"},
                                                                                   {" !", "!"},
                                                                                   {" ,", ","},
                                                                                   {" ' ", "'"},
                                                                                   {" n't", "n't"},
                                                                                   {" 'm", "'m"},
                                                                                   {" do not", " don't"},
                                                                                   {" 's", "'s"},
                                                                                   {" 've", "'ve"},
                                                                                   {" 're", "'re"}}};
  for (size_t i = 0; i < tokens.size(); ++i) {
    auto& token = tokens[i];
    if (i > 0) token = token.starts_with(prefix_) ? token.substr(prefix_.size()) : " " + token;
    if (!cleanup_) continue;
    for (const auto& [from, to] : shorter) replace_all(token, from, to);
  }
}

void MetaspaceDecoder::decode(std::vector<std::string>& tokens) const {
  for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], mark_, i == 0 && was_prepended_ ? "" : " ");
}

void ReplaceDecoder::decode(std::vector<std::string>& tokens) const {
  size_t bytes = 0;
  for (auto& token : tokens) {
    size_t found = 0;
    for (auto at = token.find(text_); !text_.empty() && at != std::string::npos;
         at = token.find(text_, at + text_.size())) {
      ++found;
    }
    bytes += token.size() + found * content_.size();
    if (bytes > limits::text_bytes) {
      throw UnsupportedError("a tokenizer's decoder makes more than " + std::to_string(limits::text_bytes) +
                             " bytes of a text's tokens, supported: less");
    }
    replace_all(token, text_, content_);
  }
}

void ByteFallbackDecoder::decode(std::vector<std::string>& tokens) const {
  std::vector<std::string> result;
  std::string bytes;
  const auto end_of_bytes = [&] {
    if (bytes.empty()) return;
    if (unicode::is_valid(bytes)) {
      result.push_back(bytes);
    } else {
      result.insert(result.end(), bytes.size(), "\uFFFD");
    }
    bytes.clear();
  };
  for (auto& token : tokens) {
    if (const auto byte = fallback_byte(token)) {
      bytes += *byte;
      continue;
    }
    end_of_bytes();
    result.push_back(std::move(token));
  }
  end_of_bytes();
  tokens = std::move(result);
}

void FuseDecoder::decode(std::vector<std::string>& tokens) const {
  tokens.assign(1, joined(tokens));
}

void StripDecoder::decode(std::vector<std::string>& tokens) const {
  for (auto& token : tokens) {
    for (size_t i = 0; i < start_ && token.starts_with(content_); ++i) token.erase(0, content_.size());
    for (size_t i = 0; i < stop_ && token.ends_with(content_); ++i) token.erase(token.size() - content_.size());
  }
}

void SuffixDecoder::decode(std::vector<std::string>& tokens) const {
  for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
}

void UnknownDecoder::decode(std::vector<std::string>&) const {
  throw UnsupportedError(message_);
}

std::shared_ptr<const Decoder> sentencepiece_decoder(bool prefix) {
  std::vector<std::shared_ptr<const Decoder>> steps{std::make_shared<ReplaceDecoder>("\u2581", " "),
                                                    std::make_shared<ByteFallbackDecoder>(),
                                                    std::make_shared<FuseDecoder>()};
  if (prefix) steps.push_back(std::make_shared<StripDecoder>(" ", 1, 0));
  return std::make_shared<DecoderSequence>(std::move(steps));
}

}  // namespace compression
