#include "compress/tokenizer/sentencepiece_model.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>
#include <unordered_map>

#include "compress/base/error.h"
#include "compress/base/limits.h"
#include "compress/tokenizer/json_node.h"      // in_quotes
#include "compress/tokenizer/subword_model.h"  // byte_token
#include "compress/tokenizer/unicode.h"

namespace compression {
namespace {

using Kind = SentencepieceModel::PieceKind;
using Piece = SentencepieceModel::Piece;

static_assert(std::endian::native == std::endian::little, "protobuf is little-endian");

struct IllFormed {};  // of bytes that are no message

/// A field of a message: a number (wire types 0, 1 and 5), or bytes (2).
struct Field {
  uint64_t number = 0;
  int wire_type = 0;
  uint64_t value = 0;
  std::string_view bytes = {};

  bool is(uint64_t wanted, int type) const { return number == wanted && wire_type == type; }
};

/// Goes through the fields of a message (https://protobuf.dev/programming-guides/encoding). A field of a known number
/// and another wire type is an unknown one, as with protobuf itself.
class Message {
 public:
  explicit Message(std::string_view bytes) : bytes_(bytes) {}

  std::optional<Field> next() {
    if (bytes_.empty()) return std::nullopt;
    Field field = read();
    if (field.wire_type == kGroupEnd) throw IllFormed();
    return field;
  }

 private:
  static constexpr int kVarint = 0, kFixed64 = 1, kBytes = 2, kGroup = 3, kGroupEnd = 4, kFixed32 = 5;
  static constexpr size_t kDeepest = 100;  // groups in groups

  Field read() {
    const uint64_t tag = varint();
    Field field{.number = tag >> 3, .wire_type = static_cast<int>(tag & 7)};
    if (field.number == 0 || tag > UINT32_MAX) throw IllFormed();
    switch (field.wire_type) {
      case kVarint:
        field.value = varint();
        break;
      case kFixed64:
        std::memcpy(&field.value, take(8).data(), 8);
        break;
      case kFixed32:
        std::memcpy(&field.value, take(4).data(), 4);
        break;
      case kBytes:
        field.bytes = take(varint());
        break;
      case kGroup:
        skip_group();
        break;
      case kGroupEnd:
        break;
      default:
        throw IllFormed();
    }
    return field;
  }

  /// Up to its end; groups of unknown fields are all there are.
  void skip_group() {
    if (++depth_ > kDeepest) throw IllFormed();
    while (read().wire_type != kGroupEnd) {
    }
    --depth_;
  }

  std::string_view take(uint64_t size) {
    if (size > bytes_.size()) throw IllFormed();
    const auto taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1).front());
      value |= static_cast<uint64_t>(byte & 0x7F) << (shift & 63);
      if (byte < 0x80) return value;
    }
    throw IllFormed();
  }

  std::string_view bytes_;
  size_t depth_ = 0;
};

template <class Visit>
void each_field(std::string_view message, const Visit& visit) {
  Message fields(message);
  while (const auto field = fields.next()) visit(*field);
}

/// The trainer's settings that matter to a reader.
struct Trainer {
  int32_t model_type = 1;
  std::string begin_piece = "<s>", end_piece = "</s>";
};

/// The value as an enumerator from 1 to `last`; none for another, which protobuf leaves out as well.
std::optional<int32_t> enumerator(const Field& field, int32_t last) {
  const auto value = static_cast<int32_t>(field.value);
  return value >= 1 && value <= last ? std::optional(value) : std::nullopt;
}

Piece read_piece(std::string_view message) {
  Piece piece;
  each_field(message, [&](const Field& field) {
    if (field.is(1, 2)) {
      piece.text = field.bytes;
    } else if (field.is(2, 5)) {
      piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    } else if (field.is(3, 0)) {
      constexpr Kind kinds[] = {Kind::kNormal,      Kind::kUnknown, Kind::kControl,
                                Kind::kUserDefined, Kind::kUnused,  Kind::kByte};
      if (const auto kind = enumerator(field, 6)) piece.kind = kinds[*kind - 1];
    }
  });
  return piece;
}

void read_trainer(std::string_view message, Trainer& trainer, SentencepieceModel& model) {
  each_field(message, [&](const Field& field) {
    if (field.is(3, 0)) trainer.model_type = enumerator(field, 4).value_or(trainer.model_type);
    if (field.is(35, 0)) model.byte_fallback = field.value != 0;
    if (field.is(46, 2)) trainer.begin_piece = field.bytes;
    if (field.is(47, 2)) trainer.end_piece = field.bytes;
  });
}

void read_normalizer(std::string_view message, SentencepieceModel& model) {
  each_field(message, [&](const Field& field) {
    if (field.is(2, 2)) model.charsmap = field.bytes;
    if (field.is(3, 0)) model.add_dummy_prefix = field.value != 0;
    if (field.is(4, 0)) model.remove_extra_whitespaces = field.value != 0;
    if (field.is(5, 0)) model.escape_whitespaces = field.value != 0;
  });
}

/// Whether text can be made of it.
bool is_of_text(Kind kind) {
  return kind == Kind::kNormal || kind == Kind::kUserDefined || kind == Kind::kUnused;
}

/// What is wrong with each piece by itself, and with all of them.
class PieceCheck {
 public:
  PieceCheck(const SentencepieceModel& model, const std::string& place) : model_(model), place_(place) {}

  /// The id of the unknown piece.
  int32_t run() {
    for (id_ = 0; id_ < model_.pieces.size(); ++id_) check(model_.pieces[id_]);
    const auto refuse = [&](const std::string& found, const std::string& expected) {
      throw CheckpointError(place_ + ": found " + found + ", expected " + expected);
    };
    if (!unknown_) refuse("no piece for what is unknown", "one");
    if (of_text_.empty()) refuse("no piece of text", "some");
    if (model_.byte_fallback && bytes_.size() < 256) {
      refuse("pieces for " + std::to_string(bytes_.size()) + " bytes", "256, as byte_fallback is set");
    }
    return *unknown_;
  }

  /// The control piece of that name, -1 if there is none.
  int32_t control(const std::string& text) const {
    const auto found = others_.find(text.substr(0, text.find('\0')));
    const bool is_control =
        found != others_.end() && model_.pieces[static_cast<size_t>(found->second)].kind == Kind::kControl;
    return is_control ? found->second : -1;
  }

 private:
  void check(const Piece& piece) {
    const auto id = static_cast<int32_t>(id_);
    if (piece.text.empty() || !unicode::is_valid(piece.text)) refuse(piece, "UTF-8, and not nothing");
    if (piece.text.size() > limits::token_bytes) {
      refuse(piece,
             "at most " + std::to_string(limits::token_bytes) + " bytes, not " + std::to_string(piece.text.size()));
    }
    if (!std::isfinite(piece.score)) {
      refuse(piece, "a finite score, not " + std::to_string(piece.score));
    }
    auto& ids = is_of_text(piece.kind) ? of_text_ : others_;
    if (const auto [first, is_new] = ids.emplace(piece.text, id); !is_new) {
      refuse(piece, "a text of its own, not that of piece " + std::to_string(first->second));
    }
    if (piece.kind == Kind::kUnknown) {
      if (unknown_) refuse(piece, "one piece for what is unknown, which is piece " + std::to_string(*unknown_));
      unknown_ = id;
    }
    if (piece.kind != Kind::kByte) return;
    if (!model_.byte_fallback) refuse(piece, "no piece for a byte, as byte_fallback is not set");
    static const auto names = [] {
      std::set<std::string> all;
      for (unsigned byte = 0; byte < 256; ++byte) all.insert(byte_token(byte));
      return all;
    }();
    if (!names.contains(piece.text)) refuse(piece, "<0x00> to <0xFF> for a byte");
    bytes_.insert(piece.text);
  }

  [[noreturn]] void refuse(const Piece& piece, const std::string& expected) const {
    constexpr size_t kShown = 40;
    const bool is_long = piece.text.size() > kShown;
    throw CheckpointError(place_ + ": piece " + std::to_string(id_) + ": found " +
                          in_quotes(piece.text.substr(0, kShown)) + (is_long ? "..." : "") + ", expected " + expected);
  }

  const SentencepieceModel& model_;
  const std::string& place_;
  size_t id_ = 0;
  std::unordered_map<std::string_view, int32_t> of_text_, others_;
  std::set<std::string> bytes_;
  std::optional<int32_t> unknown_;
};

}  // namespace

void check_pieces(SentencepieceModel& model, const std::string& place) {
  model.unknown_id = PieceCheck(model, place).run();
}

SentencepieceModel parse_sentencepiece(std::string_view bytes, const std::string& place) {
  SentencepieceModel model;
  Trainer trainer;
  try {
    each_field(bytes, [&](const Field& field) {
      if (field.is(1, 2)) {
        if (model.pieces.size() == static_cast<size_t>(limits::token_ids)) {
          throw CheckpointError(place + ": found more than " + std::to_string(limits::token_ids) + " pieces");
        }
        model.pieces.push_back(read_piece(field.bytes));
      }
      if (field.is(2, 2)) read_trainer(field.bytes, trainer, model);
      if (field.is(3, 2)) read_normalizer(field.bytes, model);
    });
  } catch (const IllFormed&) {
    throw CheckpointError(place + ": not a sentencepiece model: found bytes of another format");
  }
  if (model.pieces.empty()) throw CheckpointError(place + ": not a sentencepiece model: found no pieces");
  constexpr int32_t kBpe = 2;
  if (trainer.model_type > kBpe) {
    throw UnsupportedError(place + ": found a model of words or characters, supported: unigram, BPE");
  }
  model.is_bpe = trainer.model_type == kBpe;
  PieceCheck check(model, place);
  model.unknown_id = check.run();
  const auto control_or = [&](const std::string& name, const char* otherwise) {
    return check.control(name.empty() ? otherwise : name);
  };
  model.begin_id = control_or(trainer.begin_piece, "<s>");
  model.end_id = control_or(trainer.end_piece, "</s>");
  return model;
}

}  // namespace compression
