#pragma once
// The blocks that a network is a stack of: attention and FFN, each with a norm and a residual.

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/base/activation.h"  // Activation

namespace compression {

/// layer: LayerNorm (arXiv 1607.06450); rms: RMSNorm (arXiv 1910.07467), without mean and bias.
enum class NormKind { layer, rms };

/// Where norms stand: behind the residual's sum (BERT); before what attention and FFN read (GPT-2); or there and behind
/// what they give, before it is added (Gemma 2, arXiv 2408.00118).
enum class NormPlace { after, before, both };

struct NormSpec {
  NormKind kind = NormKind::layer;
  double eps = 1e-12;
  bool bias = true;  // of LayerNorm

  bool operator==(const NormSpec&) const = default;
};

/// What attention knows of the distance between two tokens.
enum class Positions {
  none,
  bias,          // a number a head is added to the scores; all blocks share the table (MPNet, arXiv 2004.09297)
  disentangled,  // content and relative position attend to each other (DeBERTa, arXiv 2006.03654)
  rotary,        // queries and keys are turned by their places (RoFormer, arXiv 2104.09864)
  alibi          // the scores fall with the distance, by a slope a head (ALiBi, arXiv 2108.12409)
};

/// Whether each head has something of its own there, which goes with it.
constexpr bool has_columns(Positions positions) {
  return positions == Positions::bias || positions == Positions::alibi;
}

struct AttentionSpec {
  int64_t heads = 12;
  int64_t group = 1;  // heads that share a key and a value (grouped-query attention, arXiv 2305.13245)
  int64_t head_size = 64;
  bool causal = false;                       // a token attends to itself and those before it
  int64_t window = 0;                        // a token attends to those at most so far away; 0: to all
  Positions positions = Positions::none;     // of the distance; those of the place are of the input
  std::vector<int64_t> position_heads = {};  // bias, alibi: each head's column of the table, or its slope; empty: all
  double rotary_base = 10000.0;              // rotary
  bool bias = true;                          // of queries, keys and values
  bool output_bias = true;
  std::optional<NormSpec> head_norm = {};  // of each head's queries and keys (Qwen3)
  std::optional<int64_t> score_size = {};  // scores are divided by its square root; absent: head_size
  double score_cap = 0.0;                  // not 0: scores are score_cap tanh(score / score_cap) (Gemma 2)

  int64_t kv_heads() const { return heads / group; }
  int64_t width() const { return heads * head_size; }
  int64_t kv_width() const { return kv_heads() * head_size; }

  /// What scores are multiplied by that are sums of so many terms: 1 / sqrt(score_size x terms).
  double score_scale(int64_t terms = 1) const {
    return 1.0 / std::sqrt(static_cast<double>(score_size.value_or(head_size) * terms));
  }

  bool operator==(const AttentionSpec&) const = default;
};

/// Plain: activation(x W + b) V + c. Gated: (activation(x W + b) * (x G + d)) V + c (arXiv 2002.05202).
struct MlpSpec {
  int64_t units = 3072;
  Activation activation = Activation::gelu;
  bool gated = false;
  bool bias = true;

  bool operator==(const MlpSpec&) const = default;
};

struct BlockSpec {
  AttentionSpec attention = {};
  MlpSpec mlp = {};
  NormSpec norm = {};
  NormPlace place = NormPlace::after;
  bool attention_norm =
      true;  // not after: whether what attention reads is normalised (not in ModernBERT's first block)
  /// Attention to what the stack before this one gives, between that to its own and the FFN, with a norm as theirs
  /// (Vaswani et al., arXiv 1706.03762).
  std::optional<AttentionSpec> cross = {};

  bool operator==(const BlockSpec&) const = default;
};

/// What a block can lose: attention heads, or units between the matrices of its FFN.
enum class UnitKind { heads, intermediate };
constexpr std::array<std::pair<UnitKind, std::string_view>, 2> enum_names(UnitKind) {
  return {{{UnitKind::heads, "heads"}, {UnitKind::intermediate, "intermediate"}}};
}

inline int64_t& units_of(BlockSpec& block, UnitKind kind) {
  return kind == UnitKind::heads ? block.attention.heads : block.mlp.units;
}
inline int64_t units_of(const BlockSpec& block, UnitKind kind) {
  return kind == UnitKind::heads ? block.attention.heads : block.mlp.units;
}

}  // namespace compression
