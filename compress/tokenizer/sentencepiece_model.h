#pragma once
// What a sentencepiece model holds (https://github.com/google/sentencepiece, sentencepiece_model.proto).

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace compression {

struct SentencepieceModel {
  enum class PieceKind { kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };
  struct Piece {
    std::string text;  // not empty, UTF-8, at most limits::token_bytes
    float score = 0;   // finite
    PieceKind kind = PieceKind::kNormal;
  };

  bool is_bpe = false;        // else unigram
  std::vector<Piece> pieces;  // those that text can be made of differ; so do the others
  int32_t unknown_id = 0;     // of the one piece of that kind
  int32_t begin_id = -1;      // -1: none
  int32_t end_id = -1;
  bool byte_fallback = false;
  std::string charsmap;  // as Precompiled reads it; empty: none
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

/// Reads the bytes of a .model file, as protobuf does, and checks what sentencepiece checks when it loads one. `place`,
/// the file, begins messages. Throws CheckpointError, which names the piece; UnsupportedError for a model of words or
/// of characters.
SentencepieceModel parse_sentencepiece(std::string_view bytes, const std::string& place);

/// What parse_sentencepiece() checks of pieces, for a model from elsewhere; sets unknown_id. Throws CheckpointError.
void check_pieces(SentencepieceModel& model, const std::string& place);

}  // namespace compression
