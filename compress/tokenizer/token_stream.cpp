#include "compress/tokenizer/token_stream.h"

#include <span>
#include <string_view>

namespace compression {
namespace {

constexpr std::string_view replacement = "\uFFFD";
constexpr size_t longest = 16;  // tokens of a character: a longer row of bytes is none

}  // namespace

std::string TokenStream::given(const std::string& text) {
  // Bytes may have made those before them no UTF-8: these were given, and stay.
  const auto part = text.starts_with(before_)
                        ? text.substr(before_.size())
                        : tokenizer_.decode(std::span(ids_).subspan(count_before_), skip_special_);
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<int64_t>(count_before_));
  count_before_ = ids_.size();
  before_ = tokenizer_.decode(ids_, skip_special_);
  return part;
}

std::string TokenStream::add(int64_t id) {
  ids_.push_back(id);
  const auto text = tokenizer_.decode(ids_, skip_special_);
  if (text == before_) return {};
  if (text.ends_with(replacement) && ids_.size() - count_before_ < longest) return {};
  return given(text);
}

std::string TokenStream::finish() {
  const auto text = tokenizer_.decode(ids_, skip_special_);
  return text == before_ ? std::string() : given(text);
}

}  // namespace compression
