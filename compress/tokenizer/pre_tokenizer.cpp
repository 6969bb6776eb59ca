#include "compress/tokenizer/pre_tokenizer.h"

#include "compress/tokenizer/unicode.h"

namespace compression {

BertPreTokenizer::BertPreTokenizer() {
  for (size_t i = 0; i < byte_classes_.size(); ++i) {
    byte_classes_[i] = i >= 0x80                         ? ByteClass::kNotAscii
                       : unicode::is_white_space(i)      ? ByteClass::kSpace
                       : unicode::is_bert_punctuation(i) ? ByteClass::kPunctuation
                                                         : ByteClass::kWord;
  }
}

bool BertPreTokenizer::split(const TextView& text, const PartSink& sink) const {
  const size_t size = text.text.size();
  size_t word = 0;  // where the current word starts
  for (size_t i = 0; i < size;) {
    const size_t at = i;
    ByteClass character = byte_classes_[static_cast<unsigned char>(text.text[i])];
    if (character == ByteClass::kNotAscii) {
      const char32_t c = unicode::decode(text.text, i);
      character = unicode::is_white_space(c)        ? ByteClass::kSpace
                  : unicode::is_bert_punctuation(c) ? ByteClass::kPunctuation
                                                    : ByteClass::kWord;
    } else {
      ++i;
    }
    if (character == ByteClass::kWord) continue;
    if (word < at && !sink(text.slice(word, at))) return false;
    if (character == ByteClass::kPunctuation && !sink(text.slice(at, i))) return false;
    word = i;
  }
  return word == size || sink(text.slice(word, size));
}

}  // namespace compression
