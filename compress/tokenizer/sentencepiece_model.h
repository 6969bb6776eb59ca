#pragma once
// What a sentencepiece model holds, read by the sentencepiece library.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace compression {

struct SentencepieceModel {
  enum class PieceKind { kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };
  struct Piece {
    std::string text;
    float score = 0;
    PieceKind kind = PieceKind::kNormal;
  };

  bool is_bpe = false;  // else unigram
  std::vector<Piece> pieces;
  int32_t unknown_id = 0;
  int32_t begin_id = -1;  // -1: none
  int32_t end_id = -1;
  bool byte_fallback = false;
  std::string charsmap;  // as Precompiled reads it; empty: none
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

/// Reads the bytes of a .model file; what is wrong with them, or nothing. The one function of a library of its own,
/// from which nothing else of sentencepiece can be seen: its flags, and its copies of protobuf and Abseil, have the
/// names of others' (LibTorch's c10 among them).
std::string parse_sentencepiece(std::string_view bytes, SentencepieceModel& model);

}  // namespace compression
