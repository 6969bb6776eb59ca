#pragma once
// The mathematics of a stack's input and of a block, once: computed with tensors (encoder.cpp), or written down as
// TorchScript (export/model_script.cpp). The fused forms (fused.cpp, compress/runtime/) compute the same by hand.

#include <cmath>
#include <vector>

#include "compress/model/encoder.h"       // EncoderLayerImpl, EmbeddingsImpl
#include "compress/spec/relative_rows.h"  // alibi_slopes

namespace compression {

/// What attention knows of distances, where blocks share a table of them. A value is empty where there is none.
template <class Value>
struct Distances {
  Value bias = {};  // Positions::bias: what is added to the scores, [1, heads of the table, query, key]
  Value rows = {};  // disentangled: each pair's row of `part`, int64 [query, key]
  Value part = {};  // disentangled: the rows of the table in use, [rows, hidden]
};

/// What the first block reads, [batch, sequence, hidden]. `Ops` computes or writes: Ops::Value is a tensor, or an
/// expression that has a tensor's operations.
template <class Ops>
typename Ops::Value embedded(Ops& ops, const EmbeddingsImpl& input) {
  auto x = ops.rows(input.word_embeddings, ops.ids());
  if (input.spec.scaled) x = x * std::sqrt(static_cast<double>(input.word_embeddings->columns()));
  if (input.token_type_embeddings) x = x + ops.rows(input.token_type_embeddings, ops.token_types());
  if (input.position_embeddings) {
    auto positions = ops.places();
    if (input.padding_position >= 0) {
      const auto real = ops.as_integers(ops.ids().ne(input.padding_position));
      positions = real.cumsum(1) * real + input.padding_position;
    } else if (input.spec.first_position > 0) {
      positions = positions + input.spec.first_position;
    }
    x = x + ops.rows(input.position_embeddings, positions);
  }
  if (input.norm) x = ops.norm(input.norm, x);
  if (input.spec.masks_queries) x = ops.without_masked(x);
  x = ops.dropout(x, input.dropout);
  return input.projection ? ops.linear(input.projection, x) : x;
}

/// What becomes of the scores, which a bias is added to last, and of their probabilities.
struct Scores {
  double scale, cap, dropout;
};

/// Heads are split as [batch, heads, sequence, head size].
template <class Ops>
class BlockMath {
 public:
  using Value = typename Ops::Value;

  BlockMath(Ops& ops, const EncoderLayerImpl& layer) : ops_(ops), layer_(layer), attention_(layer.spec.attention) {}

  /// x: [batch, sequence, hidden].
  Value block(const Value& x, const Distances<Value>& distances) {
    const auto add = [&](const Value& in, Role norm, Role result_norm, auto&& part) -> Value {
      if (layer_.spec.place == NormPlace::after) return normed(norm, part(in) + in);
      return normed(result_norm, part(normed(norm, in))) + in;
    };
    using enum Role;
    auto y = add(x, attention_norm, attention_result_norm, [&](const Value& in) { return attention(in, distances); });
    if (layer_.spec.cross) {
      y = add(y, cross_norm, cross_result_norm, [&](const Value& in) { return cross_attention(in); });
    }
    return add(y, mlp_norm, mlp_result_norm, [&](const Value& in) { return mlp(in); });
  }

  /// What attention_output reads: [batch, sequence, heads * head size].
  Value attended(const Value& x, const Distances<Value>& distances) {
    auto q = linear(Role::query, x), k = linear(Role::key, x), v = linear(Role::value, x);
    ops_.see_projections(q, k, v);
    q = split(q, attention_.heads, attention_.head_size);
    k = split(k, attention_.kv_heads(), attention_.head_size);
    v = split(v, attention_.kv_heads(), attention_.head_size);
    q = normed(Role::query_norm, q);
    k = normed(Role::key_norm, k);
    if (attention_.positions == Positions::rotary) {
      q = rotated(q);
      k = rotated(k);
    }
    ops_.remember(k, v);
    k = shared(k, attention_);
    v = shared(v, attention_);
    const auto bias = ops_.masked(of_distances(q, k, distances), attention_);
    const auto heads =
        ops_.attention(q, k, v, bias, {layer_.score_scale(), attention_.score_cap, layer_.attention_dropout});
    return joined(ops_.pruned_heads(heads, layer_));
  }

  /// What output reads: [batch, sequence, units].
  Value units(const Value& x) {
    auto all = ops_.activated(linear(Role::up, x), layer_.spec.mlp.activation);
    if (layer_.spec.mlp.gated) all = all * linear(Role::gate, x);
    return ops_.pruned_units(all, layer_);
  }

 private:
  Value linear(Role role, const Value& x) { return ops_.linear(layer_.linear(role), x); }
  /// x itself where the block has no such norm.
  Value normed(Role role, const Value& x) {
    const auto norm = layer_.norm(role);
    return norm ? ops_.norm(norm, x) : x;
  }

  Value attention(const Value& x, const Distances<Value>& distances) {
    const auto sum = attention_.heads == 0 ? ops_.bias_alone(layer_.linear(Role::attention_output), x)
                                           : linear(Role::attention_output, attended(x, distances));
    return ops_.dropout(sum, layer_.hidden_dropout);
  }

  Value cross_attention(const Value& x) {
    const auto& spec = *layer_.spec.cross;
    const auto& memory = ops_.memory();
    const auto q = split(linear(Role::cross_query, x), spec.heads, spec.head_size);
    const auto k = split(linear(Role::cross_key, memory), spec.kv_heads(), spec.head_size);
    const auto v = split(linear(Role::cross_value, memory), spec.kv_heads(), spec.head_size);
    const auto heads = ops_.attention(q, shared(k, spec), shared(v, spec), ops_.memory_mask(),
                                      {spec.score_scale(), spec.score_cap, layer_.attention_dropout});
    return ops_.dropout(linear(Role::cross_output, joined(heads)), layer_.hidden_dropout);
  }

  Value mlp(const Value& x) {
    const auto sum =
        layer_.spec.mlp.units == 0 ? ops_.bias_alone(layer_.linear(Role::down), x) : linear(Role::down, units(x));
    return ops_.dropout(sum, layer_.hidden_dropout);
  }

  static Value split(const Value& x, int64_t heads, int64_t size) {
    return x.unflatten(-1, {heads, size}).transpose(-3, -2);
  }
  static Value joined(const Value& heads) { return heads.transpose(1, 2).flatten(-2); }
  static Value shared(const Value& x, const AttentionSpec& spec) {
    return spec.group > 1 ? x.repeat_interleave(spec.group, -3) : x;
  }

  /// The halves of a head are the parts of complex numbers (RoFormer, arXiv 2104.09864, as GPT-NeoX has it).
  Value rotated(const Value& x) {
    const auto& [cosines, sines] = ops_.angles(attention_.rotary_base, attention_.head_size);
    const auto half = attention_.head_size / 2;
    return x * cosines + ops_.joined({-x.narrow(-1, half, half), x.narrow(-1, 0, half)}) * sines;
  }

  /// A slope a head.
  std::vector<double> slopes() const {
    const auto all = alibi_slopes(layer_.relative.heads);
    if (attention_.position_heads.empty()) return all;
    std::vector<double> own;
    for (const auto head : attention_.position_heads) own.push_back(all.at(static_cast<size_t>(head)));
    return own;
  }

  /// What distances add to the scores: [1 or batch, heads, query, key].
  Value of_distances(const Value& q, const Value& k, const Distances<Value>& distances) {
    if (attention_.positions == Positions::bias) {
      const auto& columns = attention_.position_heads;
      if (columns.empty()) return distances.bias;
      return distances.bias.index_select(1,
                                         ops_.constant(layer_, "position_heads", torch::tensor(columns, torch::kLong)));
    }
    if (attention_.positions == Positions::alibi) {
      const auto falling = -torch::tensor(slopes(), torch::kFloat).view({1, -1, 1, 1});
      return ops_.constant(layer_, "slopes", falling) * ops_.distance();
    }
    if (attention_.positions != Positions::disentangled) return {};
    const auto rows = ops_.dropout(distances.part, layer_.hidden_dropout);
    const bool own = layer_.relative.own_projections;
    const auto by_pair = [&](const Value& content, Role projection, const Value& pairs) {
      const auto projected = split(linear(projection, rows), attention_.heads, attention_.head_size);
      const auto all = content.matmul(projected.transpose(-1, -2));
      return all.take_along_dim(pairs.expand({1, 1, -1, -1}), -1) * layer_.score_scale();
    };
    Value scores{};
    if (layer_.relative.content_to_position) {
      scores = by_pair(q, own ? Role::position_key : Role::key, distances.rows);
    }
    if (layer_.relative.position_to_content) {
      const auto projection = own ? Role::position_query : Role::query;
      const auto term = by_pair(k, projection, distances.rows.transpose(-1, -2)).transpose(-1, -2);
      scores = layer_.relative.content_to_position ? scores + term : term;
    }
    return scores;
  }

  Ops& ops_;
  const EncoderLayerImpl& layer_;
  const AttentionSpec& attention_;
};

}  // namespace compression
