#include "compress/model/fused.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <mutex>

#include "compress/base/error.h"         // UnsupportedError
#include "compress/kernels/attention.h"  // attention_forward, attention_backward
#include "compress/kernels/rows.h"       // add_norm_forward, activation_forward
#include "compress/model/graph_node.h"   // make_node, NodePointer
#include "compress/runtime/batch.h"      // without_padding

namespace compression {
namespace {

using torch::Tensor;

float* floats(const Tensor& t) {
  return t.data_ptr<float>();
}
Tensor new_floats(at::IntArrayRef sizes) {
  return torch::empty(sizes, torch::kFloat);
}
kernels::Rows rows_of(const Tensor& t) {
  return {floats(t), t.stride(0)};
}
kernels::ConstRows const_rows_of(const Tensor& t) {
  return {floats(t), t.stride(0)};
}

/// The tokens of a batch without its padding.
struct Packed {
  std::vector<int64_t> ids, positions, types;  // [tokens]
  std::vector<int64_t> columns;                // [tokens]: of the batch
  std::vector<int64_t> begin;                  // [sequences + 1]
  Tensor first;                                // int64 [sequences]: each sequence's first token
  Tensor places;                               // int64 [tokens]: row * length + column in the batch
  int64_t length = 0;                          // columns of the batch

  int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
  int64_t sequences() const { return static_cast<int64_t>(begin.size()) - 1; }
};

std::shared_ptr<const Packed> pack(const Tensor& input_ids, const Tensor& attention_mask, const Tensor& token_type_ids,
                                   int64_t padding_position) {
  const auto ids = input_ids.contiguous();
  const auto mask = attention_mask.defined() ? attention_mask.contiguous() : torch::ones_like(ids);
  const auto types = token_type_ids.defined() ? token_type_ids.contiguous() : torch::zeros_like(ids);
  auto batch = runtime::without_padding(
      {ids.data_ptr<int64_t>(), mask.data_ptr<int64_t>(), types.data_ptr<int64_t>(), ids.size(0), ids.size(1)},
      padding_position);
  auto packed = std::make_shared<Packed>();
  packed->ids = std::move(batch.ids);
  packed->positions = std::move(batch.positions);
  packed->types = std::move(batch.types);
  packed->begin = std::move(batch.begin);
  packed->places = torch::tensor(batch.places, torch::kLong);
  packed->length = ids.size(1);
  for (const auto place : batch.places) packed->columns.push_back(place % packed->length);
  packed->first = torch::tensor(std::vector<int64_t>(packed->begin.begin(), packed->begin.end() - 1), torch::kLong);
  return packed;
}

/// Where a parameter's gradient goes: what is there is added to, unless it is `fresh` and still to be filled.
struct Target {
  Tensor gradient;
  bool fresh = false;
};

Target target_of(const Tensor& parameter) {
  if (parameter.grad().defined()) return {parameter.grad(), false};
  auto gradient = torch::empty_like(parameter, parameter.options().requires_grad(false));
  Tensor(parameter).mutable_grad() = gradient;
  return {gradient, true};
}

/// For gradients that are only ever added to; null where the parameter is frozen, or there is none.
float* sums_of(const Tensor& parameter) {
  if (!parameter.defined() || !parameter.requires_grad()) return nullptr;
  const auto target = target_of(parameter);
  if (target.fresh) target.gradient.zero_();
  return floats(target.gradient);
}

/// Null where there is none.
const float* floats_of(const Tensor& parameter) {
  return parameter.defined() ? floats(parameter) : nullptr;
}

/// What a linear layer reads, as its arithmetic wants it; kept for the gradient of the weight.
struct Operand {
  Tensor full;  // float32 or bfloat16
  kernels::Int16Rows rows;
};

std::unique_ptr<Operand> operand(const Tensor& x, Arithmetic arithmetic) {
  auto result = std::make_unique<Operand>();
  if (x.numel() == 0) return result;
  switch (arithmetic) {
    case Arithmetic::float32:
      result->full = x;
      break;
    case Arithmetic::bfloat16:
      result->full = x.to(torch::kBFloat16);
      break;
    case Arithmetic::int16:
      kernels::quantize_rows(floats(x), x.size(0), x.size(1), x.stride(0), nullptr, result->rows);
  }
  return result;
}

/// y = x w^T + bias, if there is one, into y [rows, out], whose rows may be apart.
void linear_forward(LinearImpl& linear, const Operand& x, Arithmetic arithmetic, const Tensor& y) {
  auto out = y;
  const auto& bias = linear.bias;
  if (linear.weight.numel() == 0) {
    bias.defined() ? out.copy_(bias.expand_as(y)) : out.zero_();
    return;
  }
  switch (arithmetic) {
    case Arithmetic::float32:
      if (bias.defined()) {
        torch::addmm_out(out, bias, x.full, linear.weight.t());
      } else {
        torch::mm_out(out, x.full, linear.weight.t());
      }
      break;
    case Arithmetic::bfloat16:
      out.copy_(torch::linear(x.full, *linear.bfloat16_weight(), bias.defined() ? bias.to(torch::kBFloat16) : bias));
      break;
    case Arithmetic::int16:
      kernels::matmul_forward(x.rows, *linear.int16_weight(), floats_of(bias), floats(y), y.stride(0));
  }
}

/// Adds to the weight's gradient, and makes dx (undefined: not wanted) or adds to it. The bias is summed elsewhere.
void linear_backward(LinearImpl& linear, const Tensor& dy, const Operand& x, Arithmetic arithmetic, const Tensor& dx,
                     bool accumulate) {
  const auto target = linear.weight.requires_grad() ? target_of(linear.weight) : Target{};
  if (linear.weight.numel() == 0) {
    if (dx.defined() && !accumulate) dx.zero_();
    return;
  }
  if (arithmetic == Arithmetic::int16) {
    if (target.gradient.defined()) {
      kernels::matmul_weight_gradient(floats(dy), dy.size(1), dy.stride(0), x.rows, floats(target.gradient),
                                      !target.fresh);
    }
    if (dx.defined()) {
      kernels::matmul_input_gradient(floats(dy), dy.size(0), dy.stride(0), *linear.int16_weight(), floats(dx),
                                     dx.stride(0), accumulate);
    }
    return;
  }
  const bool half = arithmetic == Arithmetic::bfloat16;
  const auto gradient = half ? dy.to(torch::kBFloat16) : dy;
  const auto product = [&](Tensor out, const Tensor& a, const Tensor& b, bool add) {
    if (half) {
      const auto result = torch::mm(a, b);
      add ? out.add_(result) : out.copy_(result);
    } else if (add) {
      out.addmm_(a, b);
    } else {
      torch::mm_out(out, a, b);
    }
  };
  if (target.gradient.defined()) product(target.gradient, gradient.t(), x.full, !target.fresh);
  if (dx.defined()) product(dx, gradient, half ? *linear.bfloat16_weight() : linear.weight, accumulate);
}

/// How one forward pass is made; what its nodes share.
struct Pass {
  std::shared_ptr<const Packed> packed;
  Arithmetic arithmetic = Arithmetic::float32;
  bool recompute = false;
  bool training = false;  // dropout
  bool keep = false;      // for a backward pass
  uint64_t seed = 0;
  RelativeTable relative{nullptr};  // what attention adds for distances; may be null
  Tensor distance_rows;             // int64 [2 * length - 1]: the table's row at length - 1 + key - query
  Tensor distance_bias;             // the same rows' values, [heads of the table, 2 * length - 1]

  kernels::Dropout dropout(double probability, uint64_t site) const {
    return {training ? static_cast<float>(probability) : 0.0f, seed + site * 0xD1B54A32D192ED03};
  }
};

/// What a norm's backward pass needs of its forward pass.
struct KeptNorm {
  Tensor normalized, inverse_deviation;

  static KeptNorm of(const Tensor& x) { return {torch::empty_like(x), new_floats({x.size(0)})}; }
  float* values() const { return normalized.defined() ? floats(normalized) : nullptr; }
  float* deviations() const { return normalized.defined() ? floats(inverse_deviation) : nullptr; }
};

kernels::NormShape shape_of(const LayerNormImpl& norm, int64_t rows) {
  return {.rows = rows, .width = norm.weight.size(0), .eps = norm.eps, .rms = norm.kind == NormKind::rms};
}

/// A layer's forward pass, and what its backward pass needs of it. What the FFN reads is always a norm of the sum of
/// attention's result and the layer's input. Norms behind the sums make the layer's result of another, and that first
/// norm is what the FFN's result is added to; those before make what attention reads, and it is added to the sum.
class LayerPass {
 public:
  LayerPass(EncoderLayer layer, Pass pass, uint64_t index, bool first_only)
      : layer_(std::move(layer)),
        pass_(std::move(pass)),
        first_only_(first_only),
        begin_norm_(norms_before() ? layer_->norm(Role::attention_norm) : LayerNorm(nullptr)),
        middle_norm_(norms_before() ? layer_->norm(Role::mlp_norm) : layer_->norm(Role::attention_norm)),
        end_norm_(norms_before() ? LayerNorm(nullptr) : layer_->norm(Role::mlp_norm)) {
    const auto& spec = layer_->spec.attention;
    attention_ = {.sequences = pass_.packed->sequences(),
                  .begin = pass_.packed->begin.data(),
                  .heads = spec.heads,
                  .head_size = spec.head_size,
                  .group = spec.group,
                  .scale = static_cast<float>(layer_->score_scale()),
                  .first_query_only = first_only,
                  .causal = spec.causal,
                  .window = spec.window,
                  .dropout = pass_.dropout(layer_->attention_dropout, 4 * index + 1)};
    if (pass_.relative) {
      bias_ = spec.position_heads.empty()
                  ? pass_.distance_bias
                  : pass_.distance_bias.index_select(0, torch::tensor(spec.position_heads, torch::kLong));
      attention_.bias = floats(bias_);
      attention_.reach = pass_.packed->length;
    }
    if (spec.positions == Positions::rotary) {
      angles_ = rotary_angles(spec.rotary_base, pass_.packed->length, spec.head_size, torch::kCPU);
    }
    after_attention_ = pass_.dropout(layer_->hidden_dropout, 4 * index + 2);
    after_output_ = pass_.dropout(layer_->hidden_dropout, 4 * index + 3);
  }

  /// x: [tokens, hidden] -> [tokens, hidden], or [sequences, hidden] of the first tokens.
  Tensor forward(const Tensor& x) {
    auto y = compute(x, pass_.keep && !pass_.recompute);
    if (pass_.keep && pass_.recompute) input_ = x;
    return y;
  }

  /// dy as forward()'s result -> dx as its argument.
  Tensor backward(const Tensor& dy) {
    if (input_.defined()) compute(input_, true);
    auto& layer = *layer_;
    const auto [d_end, d_output] =
        end_norm_ ? norm_backward(end_norm_, dy, kept_end_, after_output_, layer.linear(Role::down)->bias)
                  : std::pair(dy, dropout_backward(dy, after_output_, layer.linear(Role::down)));
    const auto d_middle = mlp_backward(d_output, end_norm_ ? d_end : Tensor());
    const auto [d_sum, d_attended] =
        norm_backward(middle_norm_, d_middle, kept_middle_, after_attention_,
                      layer.linear(Role::attention_output)->bias, end_norm_ ? Tensor() : d_end);
    return attention_backward(d_attended, d_sum);
  }

 private:
  bool norms_before() const { return layer_->spec.place == NormPlace::before; }

  Tensor first_rows(const Tensor& x) const { return first_only_ ? x.index_select(0, pass_.packed->first) : x; }

  Tensor compute(const Tensor& x, bool keep) {
    attend(begin_norm_ ? add_norm(begin_norm_, x, {}, {}, keep, kept_begin_) : x);
    auto y = new_floats({attention_.queries(), x.size(1)});
    linear_forward(*layer_->linear(Role::attention_output), *context_operand_, pass_.arithmetic, y);
    const auto middle_sum = end_norm_ ? Tensor() : torch::empty_like(y);
    const auto middle = add_norm(middle_norm_, y, first_rows(x), after_attention_, keep, kept_middle_, middle_sum);
    activate_units(middle);
    linear_forward(*layer_->linear(Role::down), *units_, pass_.arithmetic, y);
    if (end_norm_) {
      y = add_norm(end_norm_, y, middle, after_output_, keep, kept_end_);
    } else {
      kernels::add_dropout(y.size(0), y.size(1), floats(y), floats(middle_sum), after_output_, floats(y));
    }
    if (!keep) {
      for (auto* kept : {&query_, &key_, &value_, &context_, &log_sum_, &inner_, &gate_}) kept->reset();
      for (auto* kept : {&x_, &first_, &context_operand_, &middle_, &units_}) kept->reset();
    }
    return y;
  }

  /// norm(dropout(x) + residual), the latter and `sum`, which gets the norm's argument, may be undefined.
  Tensor add_norm(LayerNorm& norm, const Tensor& x, const Tensor& residual, const kernels::Dropout& dropout, bool keep,
                  KeptNorm& kept, const Tensor& sum = {}) {
    auto y = torch::empty_like(x);
    if (keep) kept = KeptNorm::of(x);
    kernels::add_norm_forward(shape_of(*norm, x.size(0)), floats(x), floats_of(residual), floats(norm->weight),
                              floats_of(norm->bias), dropout, floats(y), kept.values(), kept.deviations(),
                              sum.defined() ? floats(sum) : nullptr);
    return y;
  }

  /// The gradients of a norm's argument and of what was dropped out there, whose bias is summed. others: what the
  /// argument's gradient has besides, or undefined.
  static std::pair<Tensor, Tensor> norm_backward(LayerNorm& norm, const Tensor& dy, const KeptNorm& kept,
                                                 const kernels::Dropout& dropout, const Tensor& bias,
                                                 const Tensor& others = {}) {
    const auto d_sum = torch::empty_like(dy), d_x = dropout.enabled() ? torch::empty_like(dy) : d_sum;
    kernels::add_norm_backward(shape_of(*norm, dy.size(0)), floats(dy), kept.values(), kept.deviations(),
                               floats(norm->weight), dropout, floats(d_sum), floats(d_x), sums_of(norm->weight),
                               sums_of(norm->bias), sums_of(bias), floats_of(others));
    return {d_sum, d_x};
  }

  static Tensor dropout_backward(const Tensor& dy, const kernels::Dropout& dropout, const Linear& before) {
    auto dx = dy;
    if (dropout.enabled()) {
      dx = torch::empty_like(dy);
      kernels::add_dropout(dy.size(0), dy.size(1), floats(dy), nullptr, dropout, floats(dx));
    }
    sum_bias(before, dx);
    return dx;
  }

  static void sum_bias(const Linear& linear, const Tensor& d) {
    if (auto* sums = sums_of(linear->bias)) {
      kernels::add_column_sums(d.size(0), d.size(1), floats(d), d.stride(0), sums);
    }
  }

  /// x: [tokens, hidden] -> context_operand_.
  void attend(const Tensor& x) {
    const auto arithmetic = pass_.arithmetic;
    auto& layer = *layer_;
    const auto queries = attention_.queries();
    x_tokens_ = x.size(0);
    x_ = operand(x, arithmetic);
    if (first_only_) first_ = operand(first_rows(x), arithmetic);
    query_ = new_floats({queries, attention_.width()});
    key_ = new_floats({x.size(0), attention_.kv_width()});
    value_ = new_floats({x.size(0), attention_.kv_width()});
    linear_forward(*layer.linear(Role::query), query_operand(), arithmetic, query_);
    linear_forward(*layer.linear(Role::key), *x_, arithmetic, key_);
    linear_forward(*layer.linear(Role::value), *x_, arithmetic, value_);
    rotate(query_, key_, /*back=*/false);
    context_ = new_floats({queries, attention_.width()});
    log_sum_ = new_floats({attention_.heads, queries});
    kernels::attention_forward(attention_, const_rows_of(query_), const_rows_of(key_), const_rows_of(value_),
                               rows_of(context_), floats(log_sum_));
    context_operand_ = operand(context_, arithmetic);
  }

  /// dy: the gradient of attention's result, d_sum: of the sum of it and the layer's input -> dx.
  Tensor attention_backward(const Tensor& dy, const Tensor& d_sum) {
    const auto arithmetic = pass_.arithmetic;
    auto& layer = *layer_;
    const auto d_context = torch::empty_like(context_);
    linear_backward(*layer.linear(Role::attention_output), dy, *context_operand_, arithmetic, d_context, false);
    const auto d_query = torch::empty_like(query_), d_key = torch::empty_like(key_),
               d_value = torch::empty_like(value_);
    const bool biased = bias_.defined() && pass_.relative->table->weight.requires_grad();
    const auto d_distances = biased ? torch::zeros_like(bias_) : Tensor();
    kernels::attention_backward(attention_, const_rows_of(query_), const_rows_of(key_), const_rows_of(value_),
                                const_rows_of(context_), floats(log_sum_), const_rows_of(d_context), rows_of(d_query),
                                rows_of(d_key), rows_of(d_value), biased ? floats(d_distances) : nullptr);
    if (biased) add_distances(d_distances);
    rotate(d_query, d_key, /*back=*/true);
    sum_bias(layer.linear(Role::query), d_query);
    sum_bias(layer.linear(Role::key), d_key);
    sum_bias(layer.linear(Role::value), d_value);
    // Where attention reads the layer's input itself, its gradient is added to the sum's.
    const auto d_first = begin_norm_ ? torch::empty_like(d_sum) : d_sum;
    linear_backward(*layer.linear(Role::query), d_query, query_operand(), arithmetic, d_first, !begin_norm_);
    auto dx = first_only_ ? new_floats({x_tokens_, d_sum.size(1)}) : d_first;
    linear_backward(*layer.linear(Role::key), d_key, *x_, arithmetic, dx, !first_only_);
    linear_backward(*layer.linear(Role::value), d_value, *x_, arithmetic, dx, true);
    if (first_only_) add_to_first(dx, d_first);
    if (!begin_norm_) return dx;
    dx = norm_backward(begin_norm_, dx, kept_begin_, {}, {}, first_only_ ? Tensor() : d_sum).first;
    if (first_only_) add_to_first(dx, d_sum);
    return dx;
  }

  /// x: [queries, hidden] -> units_.
  void activate_units(const Tensor& x) {
    const auto arithmetic = pass_.arithmetic;
    auto& layer = *layer_;
    middle_ = operand(x, arithmetic);
    inner_ = new_floats({x.size(0), layer.linear(Role::up)->weight.size(0)});
    linear_forward(*layer.linear(Role::up), *middle_, arithmetic, inner_);
    if (auto gate = layer.linear(Role::gate)) {
      gate_ = torch::empty_like(inner_);
      linear_forward(*gate, *middle_, arithmetic, gate_);
    }
    const auto units = torch::empty_like(inner_);
    kernels::activation_forward(layer.spec.mlp.activation, inner_.size(0), inner_.size(1), floats(inner_),
                                floats(units), floats_of(gate_));
    units_ = operand(units, arithmetic);
  }

  /// dy: the gradient of the FFN's result -> that of what it read, added to dx unless that is undefined.
  Tensor mlp_backward(const Tensor& dy, Tensor dx) {
    const auto arithmetic = pass_.arithmetic;
    auto& layer = *layer_;
    const auto d_units = torch::empty_like(inner_);
    linear_backward(*layer.linear(Role::down), dy, *units_, arithmetic, d_units, false);
    units_.reset();
    auto gate = layer.linear(Role::gate);
    const auto d_gate = gate ? torch::empty_like(gate_) : Tensor();
    kernels::activation_backward(layer.spec.mlp.activation, inner_.size(0), inner_.size(1), floats(inner_),
                                 floats(d_units), floats(d_units), sums_of(layer.linear(Role::up)->bias),
                                 floats_of(gate_), gate ? floats(d_gate) : nullptr,
                                 gate ? sums_of(gate->bias) : nullptr);
    inner_.reset();
    gate_.reset();
    const bool adds = dx.defined();
    if (!adds) dx = torch::empty_like(dy);
    linear_backward(*layer.linear(Role::up), d_units, *middle_, arithmetic, dx, adds);
    if (gate) linear_backward(*gate, d_gate, *middle_, arithmetic, dx, true);
    middle_.reset();
    return dx;
  }

  /// Queries and keys by their tokens' places, where the layer has rotary positions. That of first tokens is 0.
  void rotate(const Tensor& query, const Tensor& key, bool back) const {
    if (!angles_.cosine.defined()) return;
    const auto turn = [&](const Tensor& x) {
      kernels::rotate_heads(x.size(0), x.size(1) / attention_.head_size, attention_.head_size,
                            pass_.packed->columns.data(), floats(angles_.cosine), floats(angles_.sine), back,
                            floats(x));
    };
    if (!first_only_) turn(query);
    turn(key);
  }

  /// To the gradient of the table of distances, from that of bias_.
  void add_distances(const Tensor& gradient) {
    auto& table = pass_.relative->table->weight;
    auto by_head = gradient;
    if (!layer_->spec.attention.position_heads.empty()) {
      by_head = torch::zeros_like(pass_.distance_bias)
                    .index_copy(0, torch::tensor(layer_->spec.attention.position_heads, torch::kLong), gradient);
    }
    sums_of(table);
    table.mutable_grad().index_add_(0, pass_.distance_rows, by_head.t());
  }

  /// To the rows of sequences' first tokens.
  void add_to_first(Tensor& dx, const Tensor& d_first) const {
    for (int64_t s = 0; s < pass_.packed->sequences(); ++s) {
      dx[pass_.packed->begin[static_cast<size_t>(s)]] += d_first[s];
    }
  }

  const Operand& query_operand() const { return first_only_ ? *first_ : *x_; }

  EncoderLayer layer_;
  Pass pass_;
  bool first_only_;
  LayerNorm begin_norm_, middle_norm_, end_norm_;  // the first and the last may be null
  kernels::AttentionShape attention_;
  kernels::Dropout after_attention_, after_output_;
  int64_t x_tokens_ = 0;
  Tensor bias_;          // [heads, 2 * length - 1], of distances; may be undefined
  RotaryAngles angles_;  // may be undefined
  Tensor input_;         // where the rest is made again
  Tensor query_, key_, value_, context_, log_sum_, inner_, gate_;
  std::unique_ptr<Operand> x_, first_, context_operand_, middle_, units_;
  KeptNorm kept_begin_, kept_middle_, kept_end_;
};

/// Words, positions and segments, summed and normalised.
class EmbeddingPass {
 public:
  EmbeddingPass(Embeddings embeddings, Pass pass) : embeddings_(std::move(embeddings)), pass_(std::move(pass)) {
    dropout_ = pass_.dropout(embeddings_->dropout, 0);
  }

  Tensor forward() {
    const auto& packed = *pass_.packed;
    const auto rows = [](const Embedding& table, const std::vector<int64_t>& ids) {
      return table->weight.index_select(0, torch::tensor(ids, torch::kLong));
    };
    const auto sum = rows(embeddings_->word_embeddings, packed.ids);
    if (embeddings_->position_embeddings) sum.add_(rows(embeddings_->position_embeddings, packed.positions));
    if (embeddings_->token_type_embeddings) sum.add_(rows(embeddings_->token_type_embeddings, packed.types));
    auto y = torch::empty_like(sum);
    auto& norm = embeddings_->norm;
    if (!norm) {
      kernels::add_dropout(sum.size(0), sum.size(1), floats(sum), nullptr, dropout_, floats(y));
      return y;
    }
    if (pass_.keep) kept_ = KeptNorm::of(sum);
    kernels::norm_dropout_forward(shape_of(*norm, sum.size(0)), floats(sum), floats(norm->weight),
                                  floats_of(norm->bias), dropout_, floats(y), kept_.values(), kept_.deviations());
    return y;
  }

  void backward(const Tensor& dy) {
    const auto d_sum = torch::empty_like(dy);
    if (auto& norm = embeddings_->norm) {
      kernels::norm_dropout_backward(shape_of(*norm, dy.size(0)), floats(dy), kept_.values(), kept_.deviations(),
                                     floats(norm->weight), dropout_, floats(d_sum), sums_of(norm->weight),
                                     sums_of(norm->bias));
    } else {
      kernels::add_dropout(dy.size(0), dy.size(1), floats(dy), nullptr, dropout_, floats(d_sum));
    }
    const auto& packed = *pass_.packed;
    if (embeddings_->position_embeddings) add_rows(embeddings_->position_embeddings, packed.positions, d_sum);
    if (embeddings_->token_type_embeddings) add_rows(embeddings_->token_type_embeddings, packed.types, d_sum);
    add_rows(embeddings_->word_embeddings, packed.ids, d_sum);
  }

 private:
  /// to[row[t]] += from[t], in the order of t; a row of -1 is left out. Threads share the columns.
  static void scatter(const std::vector<int64_t>& row, const Tensor& from, const Tensor& to) {
    const auto width = from.size(1);
    const float* in = floats(from);
    float* out = floats(to);
    at::parallel_for(0, width, 64, [&](int64_t begin, int64_t end) {
      for (size_t t = 0; t < row.size(); ++t) {
        if (row[t] < 0) continue;
        const float* source = in + static_cast<int64_t>(t) * width;
        float* target = out + row[t] * width;
        for (int64_t c = begin; c < end; ++c) target[c] += source[c];
      }
    });
  }

  static void add_rows(Embedding& table, const std::vector<int64_t>& ids, const Tensor& gradient) {
    if (!table->weight.requires_grad()) return;
    const auto padding = table->padding_id();
    if (!table->sparse_gradient()) {
      auto rows = ids;
      for (auto& id : rows) id = id == padding ? -1 : id;
      const auto target = target_of(table->weight);
      if (target.fresh) target.gradient.zero_();
      scatter(rows, gradient, target.gradient);
      return;
    }
    std::vector<int64_t> unique(ids);
    std::sort(unique.begin(), unique.end());
    unique.erase(std::unique(unique.begin(), unique.end()), unique.end());
    std::erase(unique, padding);
    std::vector<int64_t> rows(ids.size());
    for (size_t t = 0; t < ids.size(); ++t) {
      const auto at = std::lower_bound(unique.begin(), unique.end(), ids[t]);
      rows[t] = at != unique.end() && *at == ids[t] ? at - unique.begin() : -1;
    }
    const auto values = torch::zeros({static_cast<int64_t>(unique.size()), gradient.size(1)}, torch::kFloat);
    scatter(rows, gradient, values);
    const auto sparse = torch::_sparse_coo_tensor_unsafe(torch::tensor(unique, torch::kLong).unsqueeze(0), values,
                                                         table->weight.sizes(), values.options().layout(torch::kSparse),
                                                         /*is_coalesced=*/true);
    auto& present = table->weight.mutable_grad();
    present = present.defined() ? present + sparse : sparse;
  }

  Embeddings embeddings_;
  Pass pass_;
  kernels::Dropout dropout_;
  KeptNorm kept_;
};

/// A pass as a node of the autograd graph. Its parameters are no inputs of the node: it adds to their gradients itself.
struct LayerNode : torch::autograd::Node {
  std::unique_ptr<LayerPass> pass;
  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    TORCH_CHECK(pass != nullptr, "the backward pass of a fused layer runs once");
    const auto once = std::move(pass);
    if (!gradients.front().defined()) return {Tensor()};
    return {once->backward(gradients.front().contiguous())};
  }
};

struct EmbeddingNode : torch::autograd::Node {
  std::unique_ptr<EmbeddingPass> pass;
  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    TORCH_CHECK(pass != nullptr, "the backward pass of fused embeddings runs once");
    const auto once = std::move(pass);
    if (gradients.front().defined()) once->backward(gradients.front().contiguous());
    return {};
  }
};

bool has_fused_form(const InputSpec& input) {
  return !input.scaled && input.first_position == 0;
}
bool has_fused_form(const BlockSpec& block) {
  const auto& attention = block.attention;
  using enum Positions;
  return !attention.head_norm && !block.cross && block.place != NormPlace::both && attention.score_cap == 0.0 &&
         (attention.positions == none || attention.positions == bias || attention.positions == rotary);
}

uint64_t draw_seed() {
  auto generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return at::check_generator<at::CPUGeneratorImpl>(generator)->random64();
}

}  // namespace

void linear_products(LinearImpl& linear, const Tensor& x, const Tensor& dy, Arithmetic arithmetic) {
  const auto read = operand(x, arithmetic);
  linear_forward(linear, *read, arithmetic, new_floats({x.size(0), dy.size(1)}));
  linear_backward(linear, dy, *read, arithmetic, torch::empty_like(x), /*accumulate=*/false);
}

bool can_fuse(const ModelConfig& config) {
  const auto block_has = [](const BlockSpec& block) { return has_fused_form(block); };
  return std::ranges::all_of(config.layers, block_has) && has_fused_form(config.input) && !config.relative.norm &&
         config.decoder.empty();
}

bool can_fuse(const EncoderImpl& encoder, const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
              const Capture& capture) {
  if (capture.attentions || capture.projections || !input_ids.is_cpu() || input_ids.numel() == 0) return false;
  const auto& embeddings = *encoder.embeddings;
  if (embeddings.word_embeddings->format() != WeightFormat::float32 || !has_fused_form(embeddings.spec)) return false;
  bool places = false;  // whether what is computed depends on the tokens' distances
  for (const auto& layer : encoder.layers) {
    if (!has_fused_form(layer->spec) || layer->head_mask.defined() || layer->intermediate_mask.defined()) return false;
    if (layer->linear(Role::query)->format() != WeightFormat::float32) return false;
    places = places || layer->spec.attention.window > 0;
  }
  if (encoder.relative) {
    const auto& table = encoder.relative->table;
    if (encoder.relative->norm || table->format() != WeightFormat::float32 || table->sparse_gradient()) return false;
    places = true;
  }
  if (!attention_mask.defined()) return true;
  const auto real = attention_mask.ne(0);
  if (!real.select(1, 0).all().item<bool>()) return false;
  // Distances are those of the batch's columns, which are the packed ones if the padding is at the end.
  return !places || !(real.slice(1, 1) & ~real.slice(1, 0, -1)).any().item<bool>();
}

EncoderOutput fused_forward(EncoderImpl& encoder, const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
                            const torch::Tensor& token_type_ids, const Capture& capture, Arithmetic arithmetic) {
  encoder.embeddings->check_length(input_ids.size(1));
  encoder.embeddings->word_embeddings->prepare(input_ids);
  Pass pass{.packed = pack(input_ids, attention_mask, token_type_ids, encoder.embeddings->padding_position),
            .arithmetic = arithmetic,
            .recompute = encoder.recompute,
            .training = encoder.is_training(),
            .keep = torch::GradMode::is_enabled() && !c10::InferenceMode::is_enabled()};
  if (pass.training) pass.seed = draw_seed();
  if (encoder.relative) {
    pass.relative = encoder.relative;
    pass.distance_rows = encoder.relative->rows(input_ids.size(1)).flip(0);
    pass.distance_bias = encoder.relative->table->weight.detach().index_select(0, pass.distance_rows).t().contiguous();
  }

  Tensor x;
  const auto record = [&](const NodePointer& node, const Tensor& y) {
    if (pass.keep) torch::autograd::set_history(y, node);
  };
  {
    auto embedding = std::make_unique<EmbeddingPass>(encoder.embeddings, pass);
    {
      const torch::NoGradGuard no_grad;
      x = embedding->forward();
    }
    if (pass.keep) {
      auto node = make_node<EmbeddingNode>();
      node->pass = std::move(embedding);
      record(node, x);
    }
  }
  // Autocast gives bfloat16 here; what follows reads floats.
  if (encoder.embeddings->projection) x = encoder.embeddings->projection->forward(x).to(torch::kFloat);

  EncoderOutput out;
  const auto unpack = [&](const Tensor& tokens) {
    const auto flat =
        torch::zeros({input_ids.numel(), tokens.size(1)}, torch::kFloat).index_copy(0, pass.packed->places, tokens);
    return flat.view({input_ids.size(0), input_ids.size(1), tokens.size(1)});
  };
  if (capture.hidden_states) out.hidden_states.push_back(unpack(x));
  const bool all_tokens = capture.hidden_states || capture.last_hidden_state;
  bool first_only = false;
  for (size_t i = 0; i < encoder.layers.size(); ++i) {
    first_only = !all_tokens && i + 1 == encoder.layers.size();
    auto layer = std::make_unique<LayerPass>(encoder.layers[i], pass, i + 1, first_only);
    Tensor y;
    {
      const torch::NoGradGuard no_grad;
      y = layer->forward(x.detach());
    }
    if (pass.keep) {
      auto node = make_node<LayerNode>();
      node->set_next_edges(torch::autograd::collect_next_edges(x));
      node->pass = std::move(layer);
      record(node, y);
    }
    x = y;
    if (encoder.final_norm && i + 1 == encoder.layers.size()) x = encoder.final_norm->forward(x).to(torch::kFloat);
    if (capture.hidden_states) out.hidden_states.push_back(unpack(x));
  }
  if (all_tokens) out.last_hidden_state = capture.hidden_states ? out.hidden_states.back() : unpack(x);
  out.first = first_only ? x : x.index_select(0, pass.packed->first);
  return out;
}

}  // namespace compression
