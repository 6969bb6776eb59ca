#include "compress/tokenizer/graphemes.h"

#include <unicode/uchar.h>

#include "compress/tokenizer/unicode.h"

namespace compression {
namespace {

int break_class(char32_t c) {
  return u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_GRAPHEME_CLUSTER_BREAK);
}

bool is_control(int value) {
  return value == U_GCB_CONTROL || value == U_GCB_CR || value == U_GCB_LF;
}

bool is_hangul_join(int before, int after) {  // GB6 to GB8
  switch (before) {
    case U_GCB_L:
      return after == U_GCB_L || after == U_GCB_V || after == U_GCB_LV || after == U_GCB_LVT;
    case U_GCB_LV:
    case U_GCB_V:
      return after == U_GCB_V || after == U_GCB_T;
    case U_GCB_LVT:
    case U_GCB_T:
      return after == U_GCB_T;
    default:
      return false;
  }
}

}  // namespace

std::string_view first_grapheme(std::string_view text) {
  size_t end = 0;
  char32_t c = unicode::decode(text, end);
  if (c < 0x80 && c != '\r' && (end == text.size() || unicode::is_ascii(text[end]))) return text.substr(0, end);
  int before = break_class(c);
  bool after_pictograph = u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_EXTENDED_PICTOGRAPHIC);  // GB11
  int indicators = before == U_GCB_REGIONAL_INDICATOR;
  while (end < text.size()) {
    size_t next = end;
    c = unicode::decode(text, next);
    const int after = break_class(c);
    const bool is_pictograph = u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_EXTENDED_PICTOGRAPHIC);
    bool joins = false;
    if (before == U_GCB_CR) {
      joins = after == U_GCB_LF;
    } else if (!is_control(before) && !is_control(after)) {
      joins = is_hangul_join(before, after) || after == U_GCB_EXTEND || after == U_GCB_ZWJ ||
              after == U_GCB_SPACING_MARK || before == U_GCB_PREPEND ||
              (before == U_GCB_ZWJ && after_pictograph && is_pictograph) ||
              (before == U_GCB_REGIONAL_INDICATOR && after == U_GCB_REGIONAL_INDICATOR && indicators % 2 == 1);
    }
    if (!joins) break;
    if (after == U_GCB_REGIONAL_INDICATOR) ++indicators;
    after_pictograph = is_pictograph || (after_pictograph && (after == U_GCB_EXTEND || after == U_GCB_ZWJ));
    before = after;
    end = next;
  }
  return text.substr(0, end);
}

}  // namespace compression
