#include "compress/tokenizer/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <climits>

#include "builtin_pb/sentencepiece_model.pb.h"

namespace compression {
namespace {

SentencepieceModel::PieceKind kind_of(sentencepiece::ModelProto::SentencePiece::Type type) {
  using Proto = sentencepiece::ModelProto::SentencePiece;
  using Kind = SentencepieceModel::PieceKind;
  switch (type) {
    case Proto::UNKNOWN:
      return Kind::kUnknown;
    case Proto::CONTROL:
      return Kind::kControl;
    case Proto::USER_DEFINED:
      return Kind::kUserDefined;
    case Proto::UNUSED:
      return Kind::kUnused;
    case Proto::BYTE:
      return Kind::kByte;
    default:
      return Kind::kNormal;
  }
}

}  // namespace

__attribute__((visibility("default"))) std::string parse_sentencepiece(std::string_view bytes,
                                                                       SentencepieceModel& model) {
  sentencepiece::ModelProto proto;
  if (bytes.size() > INT_MAX || !proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return "found bytes of another format";
  }
  proto.clear_self_test_data();  // Load() encodes it, which trusts the tables of the model
  sentencepiece::SentencePieceProcessor processor;
  if (const auto status = processor.Load(proto); !status.ok()) return status.ToString();
  const auto& trainer = proto.trainer_spec();
  const auto& normalizer = proto.normalizer_spec();
  switch (trainer.model_type()) {
    case sentencepiece::TrainerSpec::UNIGRAM:
      break;
    case sentencepiece::TrainerSpec::BPE:
      model.is_bpe = true;
      break;
    default:
      return "found a model of words or characters, expected unigram or BPE";
  }
  for (const auto& piece : proto.pieces()) {
    model.pieces.push_back({piece.piece(), piece.score(), kind_of(piece.type())});
  }
  model.unknown_id = processor.unk_id();
  model.begin_id = processor.bos_id();
  model.end_id = processor.eos_id();
  model.byte_fallback = trainer.byte_fallback();
  model.charsmap = normalizer.precompiled_charsmap();
  model.add_dummy_prefix = normalizer.add_dummy_prefix();
  model.remove_extra_whitespaces = normalizer.remove_extra_whitespaces();
  model.escape_whitespaces = normalizer.escape_whitespaces();
  return {};
}

}  // namespace compression
