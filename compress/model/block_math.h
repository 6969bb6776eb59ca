#pragma once
// The mathematics of a block, once: computed with tensors (encoder.cpp), or written down as TorchScript
// (export/model_script.cpp). The fused forms (fused.cpp, compress/runtime/) compute the same by hand.

#include <vector>

#include "compress/model/encoder.h"       // EncoderLayerImpl
#include "compress/spec/relative_rows.h"  // alibi_slopes

namespace compression {

/// What attention knows of distances, where blocks share a table of them. A value is empty where there is none.
template <class Value>
struct Distances {
  Value bias = {};  // Positions::bias: what is added to the scores, [1, heads of the table, query, key]
  Value rows = {};  // disentangled: each pair's row of `part`, int64 [query, key]
  Value part = {};  // disentangled: the rows of the table in use, [rows, hidden]
};

/// `Ops` computes or writes: Ops::Value is a tensor, or an expression. Both have the operations that are called below;
/// heads are split as [batch, heads, sequence, head size].
template <class Ops>
class BlockMath {
 public:
  using Value = typename Ops::Value;

  BlockMath(Ops& ops, const EncoderLayerImpl& layer) : ops_(ops), layer_(layer), attention_(layer.spec.attention) {}

  /// x: [batch, sequence, hidden].
  Value block(const Value& x, const Distances<Value>& distances) {
    if (layer_.spec.place == NormPlace::after) {
      const auto middle = ops_.norm(layer_.attention_norm, ops_.sum(attention(x, distances), x));
      return ops_.norm(layer_.output_norm, ops_.sum(mlp(middle), middle));
    }
    const auto read = layer_.attention_norm ? ops_.norm(layer_.attention_norm, x) : x;
    const auto middle = ops_.sum(attention(read, distances), x);
    return ops_.sum(mlp(ops_.norm(layer_.output_norm, middle)), middle);
  }

  /// What attention_output reads: [batch, sequence, heads * head size].
  Value attended(const Value& x, const Distances<Value>& distances) {
    auto q = ops_.linear(layer_.query, x), k = ops_.linear(layer_.key, x), v = ops_.linear(layer_.value, x);
    ops_.see_projections(q, k, v);
    q = ops_.split_heads(q, attention_.heads, attention_.head_size);
    k = ops_.split_heads(k, attention_.kv_heads(), attention_.head_size);
    v = ops_.split_heads(v, attention_.kv_heads(), attention_.head_size);
    if (layer_.query_norm) {
      q = ops_.norm(layer_.query_norm, q);
      k = ops_.norm(layer_.key_norm, k);
    }
    if (attention_.positions == Positions::rotary) {
      q = ops_.rotated(q, attention_.rotary_base);
      k = ops_.rotated(k, attention_.rotary_base);
    }
    if (attention_.group > 1) {
      k = ops_.repeated(k, attention_.group);
      v = ops_.repeated(v, attention_.group);
    }
    const auto bias = ops_.masked(of_distances(q, k, distances), attention_);
    const auto heads = ops_.attention(q, k, v, bias, layer_.score_scale(), layer_.attention_dropout);
    return ops_.join_heads(ops_.pruned_heads(heads, layer_), attention_.width());
  }

  /// What output reads: [batch, sequence, units].
  Value units(const Value& x) {
    auto all = ops_.activated(ops_.linear(layer_.intermediate, x), layer_.spec.mlp.activation);
    if (layer_.gate) all = ops_.product(all, ops_.linear(layer_.gate, x));
    return ops_.pruned_units(all, layer_);
  }

 private:
  Value attention(const Value& x, const Distances<Value>& distances) {
    const auto sum = attention_.heads == 0 ? ops_.bias_alone(layer_.attention_output, x)
                                           : ops_.linear(layer_.attention_output, attended(x, distances));
    return ops_.dropout(sum, layer_.hidden_dropout);
  }

  Value mlp(const Value& x) {
    const auto sum =
        layer_.spec.mlp.units == 0 ? ops_.bias_alone(layer_.output, x) : ops_.linear(layer_.output, units(x));
    return ops_.dropout(sum, layer_.hidden_dropout);
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
      return columns.empty() ? distances.bias : ops_.selected_heads(distances.bias, columns, layer_);
    }
    if (attention_.positions == Positions::alibi) return ops_.falling(slopes(), layer_);
    if (attention_.positions != Positions::disentangled) return {};
    const auto rows = ops_.dropout(distances.part, layer_.hidden_dropout);
    const auto by_pair = [&](const Value& content, const Linear& projection, const Value& pairs) {
      const auto projected = ops_.split_heads(ops_.linear(projection, rows), attention_.heads, attention_.head_size);
      const auto all = ops_.gathered(ops_.products(content, projected), pairs, attention_.heads);
      return ops_.scaled(all, layer_.score_scale());
    };
    Value scores{};
    if (layer_.relative.content_to_position) {
      scores = by_pair(q, layer_.position_key ? layer_.position_key : layer_.key, distances.rows);
    }
    if (layer_.relative.position_to_content) {
      const auto& projection = layer_.position_query ? layer_.position_query : layer_.query;
      const auto term = ops_.turned(by_pair(k, projection, ops_.turned(distances.rows)));
      scores = layer_.relative.content_to_position ? ops_.sum(scores, term) : term;
    }
    return scores;
  }

  Ops& ops_;
  const EncoderLayerImpl& layer_;
  const AttentionSpec& attention_;
};

}  // namespace compression
