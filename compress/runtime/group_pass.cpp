#include "compress/runtime/group_pass.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "compress/kernels/head_attention.h"  // head_attention

namespace compression::runtime {

using kernels::Epilogue;
using kernels::LinearInput;
using kernels::LinearWeight;
using kernels::Range;

namespace {

constexpr int64_t inner_rows = 48;  // part of the intermediate layer, for which it stays in the second-level cache

/// With fewer rows a thread, threads share a weight's columns instead: each reads its own part of the weights only.
constexpr int64_t rows_to_share = 24;

/// Angles as transformers rounds them.
void turn(const Weights& w, int64_t columns, Space& space) {
  if (w.rotary_bases.empty() || columns <= space.turned) return;
  const auto size = w.head_size, half = size / 2;
  float* row = space.turns.resize(std::ssize(w.rotary_bases) * columns * size);
  for (const auto base : w.rotary_bases) {
    for (int64_t column = 0; column < columns; ++column, row += size) {
      for (int64_t i = 0; i < half; ++i) {
        const auto exponent = static_cast<float>(2 * i) / static_cast<float>(size);
        const auto angle = static_cast<float>(column) * (1.0f / std::pow(static_cast<float>(base), exponent));
        row[i] = std::cos(angle);
        row[half + i] = std::sin(angle);
      }
    }
  }
  space.turned = columns;
}

Junction input_of(const Layer& layer) {
  return {.input_norm = layer.pre_norm ? &layer.attention_norm : nullptr, .next = &layer.qkv};
}

}  // namespace

void reserve(const Weights& w, const Batch& batch, const std::vector<Group>& groups, int64_t members, Space& space) {
  int64_t tokens = 0, texts = 0, longest = 0, columns = 0;
  for (int64_t t = 0; t < batch.texts(); ++t) {
    longest = std::max(longest, batch.tokens_before(t + 1) - batch.tokens_before(t));
    columns = std::max(columns, batch.column(batch.tokens_before(t + 1) - 1) + 1);
  }
  for (const auto& group : groups) {
    tokens = std::max(tokens, batch.tokens_before(group.last) - batch.tokens_before(group.first));
    texts = std::max(texts, group.last - group.first);
  }
  const auto rows = std::max(tokens, texts), hidden = std::max(w.hidden, w.embedding_size);
  const auto inner = std::max(members * inner_rows, std::min(rows, members * rows_to_share));
  space.x.resize(rows * hidden);
  space.middle.resize(rows * hidden);
  space.sum.resize(rows * hidden);
  space.first.resize(texts * (w.hidden + w.widest_part));
  space.qkv.resize(rows * w.widest_qkv);
  space.context.resize(rows * w.widest_heads);
  space.wide.resize(inner * w.widest);
  space.input.resize(rows * w.stride);
  space.input_scale.resize(rows);
  space.inner_input.resize(std::max(inner, texts) * w.inner_stride);
  space.inner_scale.resize(std::max(inner, texts));
  space.scratch_words = 0;
  for (const auto& layer : w.layers) {
    space.scratch_words = std::max(space.scratch_words, kernels::head_attention_scratch(
                                                            layer->attention, longest, w.head_size, w.position_rows()));
  }
  space.scratch.resize(members * space.scratch_words);
  turn(w, columns, space);
}

void GroupPass::run(bool all_tokens, float* out, int64_t width) const {
  const auto& w = weights_;
  const bool pools = !all_tokens && w.head_mean, first_only = !all_tokens && !pools;
  const bool has_final_norm = w.final_norm.present();
  embed();
  const Junction to_head{.next = w.dense && !pools ? &*w.dense : nullptr};
  const auto count = w.layers.size();
  for (size_t i = 0; i < count; ++i) {
    const bool last = i + 1 == count;
    layer(*w.layers[i], last && first_only, !last ? input_of(*w.layers[i + 1]) : has_final_norm ? Junction() : to_head);
  }
  if (has_final_norm) {
    const auto rows = first_only ? texts_ : tokens_;
    join({.norm = &w.final_norm, .next = to_head.next}, space_.x.data(), nullptr, share(rows), w.hidden,
         space_.x.data());
    meet(rows);
  }
  if (pools) pool();
  if (all_tokens) {
    write_all_tokens(out, width);
  } else if (weights_.classifier) {
    head(out, width);
  } else {
    copy_rows(space_.x.data(), texts_, width, [&](int64_t r) { return out + (group_.first + r) * width; });
  }
  member_.wait();  // before another group takes the buffers
}

/// Whether members share the columns of a product of so many rows, and not its rows.
bool GroupPass::by_columns(int64_t rows) const {
  return member_.size > 1 && rows < rows_to_share * member_.size;
}

/// After what another member reads next where columns are shared.
void GroupPass::meet(int64_t rows) const {
  if (by_columns(rows)) member_.wait();
}

Range GroupPass::share(int64_t count) const {
  const auto [first, last] = member_.share(count);
  return {first, last};
}

/// This member's part of a product; `y` is that of all rows.
void GroupPass::product(const LinearInput& x, const LinearWeight& weight, int64_t rows, Range panels,
                        const Epilogue& epilogue, float* y, int64_t ld) const {
  if (by_columns(rows)) {
    const auto [first, last] = share(panels.last - panels.first);
    multiply(x, weight, {0, rows}, {panels.first + first, panels.first + last}, epilogue, y, ld);
  } else {
    multiply(x, weight, share(rows), panels, epilogue, y, ld);
  }
}
void GroupPass::product(const LinearInput& x, const LinearWeight& weight, int64_t rows, const Epilogue& epilogue,
                        float* y, int64_t ld) const {
  product(x, weight, rows, {0, weight.panels}, epilogue, y, ld);
}

LinearInput GroupPass::input(const LinearWeight& weight) const {
  return {weight.number, weights_.stride, space_.input.data(), space_.input_scale.data(), weight.input_scale};
}
LinearInput GroupPass::inner_input(const LinearWeight& weight) const {
  return {weight.number, weights_.inner_stride, space_.inner_input.data(), space_.inner_scale.data(),
          weight.input_scale};
}

void GroupPass::prepare(const float* x, int64_t rows, const LinearInput& to, int64_t columns) const {
  const auto [first, last] = share(rows);
  prepare_rows(x, columns, columns, first, last, to);
}

/// `residual` may be null.
void GroupPass::join(const Junction& junction, const float* x, const float* residual, Range rows, int64_t width,
                     float* y) const {
  const auto norm = [&](const NormWeight* weight) {
    return weight == nullptr ? kernels::Norm{.width = width} : norm_of(*weight, width);
  };
  const auto own = norm(junction.norm);
  if (junction.next == nullptr) return norm_rows(own, x, residual, rows.first, rows.last, y, nullptr);
  const auto to = input(*junction.next);
  norm_rows(own, x, residual, rows.first, rows.last, y, &to, norm(junction.input_norm));
}

/// Rows whose place is null stay behind.
template <class Place>
void GroupPass::copy_rows(const float* from, int64_t rows, int64_t width, Place&& place) const {
  const auto [first, last] = share(rows);
  for (auto r = first; r < last; ++r) {
    if (float* to = place(r)) std::copy_n(from + r * width, width, to);
  }
}

void GroupPass::embed() const {
  const auto& w = weights_;
  const auto width = w.embedding_size;
  const auto rows = share(tokens_);
  float* sum = w.projection ? space_.sum.data() : space_.x.data();
  for (auto r = rows.first; r < rows.last; ++r) {
    const auto t = static_cast<size_t>(token_ + r);
    float* row = sum + r * width;
    std::fill_n(row, width, 0.0f);
    const auto add = [&](const StoredMatrix& table, int64_t id) {
      if (table.present()) storage_of(table.format).add_row(table, id, row);
    };
    add(w.word, batch_.ids[t]);
    add(w.token_type, batch_.types[t]);
    add(w.position, batch_.positions[t]);
  }
  const auto first = input_of(*w.layers.front());
  auto to = w.projection ? Junction{.next = &*w.projection} : first;
  to.norm = &w.embedding_norm;
  join(to, sum, nullptr, rows, width, sum);
  meet(tokens_);
  if (!w.projection) return;
  product(input(*w.projection), *w.projection, tokens_, Activation::none, space_.x.data(), w.hidden);
  meet(tokens_);
  join(first, space_.x.data(), nullptr, rows, w.hidden, space_.x.data());
  meet(tokens_);
}

/// From `x` to `x`, by `next`. first_only: of each text's first token, after which `x` has a row a text.
void GroupPass::layer(const Layer& l, bool first_only, const Junction& next) const {
  const auto hidden = weights_.hidden, rows = first_only ? texts_ : tokens_;
  const auto in = input(l.qkv);
  const float *residual = space_.x.data(), *query = space_.qkv.data();
  if (first_only) {
    residual = space_.first.data();
    float* queries = space_.first.data() + texts_ * hidden;
    queries_of_first(l, in, queries);
    query = queries;
    change_heads(l, queries);
  } else {
    product(in, l.qkv, tokens_, Activation::none, space_.qkv.data(), l.qkv.out);
    change_heads(l, nullptr);
  }
  member_.wait();
  attention(l, first_only, query);
  member_.wait();

  const auto context = input(l.attention_output);
  prepare(space_.context.data(), rows, context, l.heads * weights_.head_size);
  meet(rows);
  product(context, l.attention_output, rows, Activation::none, space_.sum.data(), hidden);
  meet(rows);
  Junction middle{.next = &l.intermediate}, end = next;
  (l.pre_norm ? middle.input_norm : middle.norm) = l.pre_norm ? &l.output_norm : &l.attention_norm;
  if (!l.pre_norm) end.norm = &l.output_norm;
  join(middle, space_.sum.data(), residual, share(rows), hidden, space_.middle.data());
  meet(rows);
  by_columns(rows) ? feed_forward_by_columns(l, rows, end) : feed_forward_by_rows(l, rows, end);
}

/// Keys and values of all tokens, queries of each text's first, and what these tokens were before, in `first`.
void GroupPass::queries_of_first(const Layer& l, const LinearInput& in, float* queries) const {
  const auto hidden = weights_.hidden, panels = l.part / kernels::panel_width();
  product(in, l.qkv, tokens_, {panels, l.qkv.panels}, Activation::none, space_.qkv.data(), l.qkv.out);
  member_.wait();
  const auto first = inner_input(l.qkv);
  const auto texts = share(texts_);
  for (auto s = texts.first; s < texts.last; ++s) {
    const auto t = text_begin(s);
    std::copy_n(in.values + t * in.stride, l.qkv.words, first.values + s * first.stride);
    first.scale[s] = in.scale[t];
    std::copy_n(space_.x.data() + t * hidden, hidden, space_.first.data() + s * hidden);
  }
  meet(texts_);
  product(first, l.qkv, texts_, {0, panels}, Activation::none, queries, l.part);
}

/// Norms of heads, and rotary positions: of the keys, and of all queries or, in rows of their own, of those of texts'
/// first tokens, whose position turns nothing.
void GroupPass::change_heads(const Layer& l, float* first_queries) const {
  const bool normed = l.query_norm.present(), turned = l.rotary >= 0;
  if (l.heads == 0 || (!normed && !turned)) return;
  const auto size = weights_.head_size;
  const auto norm = [&](const NormWeight& weight, float* heads, int64_t count) {
    norm_rows(norm_of(weight, size), heads, nullptr, 0, count, heads, nullptr);
  };
  meet(tokens_);
  const auto [first, last] = share(tokens_);
  for (auto r = first; r < last; ++r) {
    float *queries = space_.qkv.data() + r * l.qkv.out, *keys = queries + l.part;
    if (normed && first_queries == nullptr) norm(l.query_norm, queries, l.heads);
    if (normed) norm(l.key_norm, keys, l.kv_heads);
    if (!turned) continue;
    const float* angles = space_.turns.data() + (l.rotary * space_.turned + batch_.column(token_ + r)) * size;
    if (first_queries == nullptr) kernels::rotate_rows(queries, l.heads, size, angles);
    kernels::rotate_rows(keys, l.kv_heads, size, angles);
  }
  if (first_queries == nullptr || !normed) return;
  meet(texts_);
  const auto texts = share(texts_);
  for (auto s = texts.first; s < texts.last; ++s) norm(l.query_norm, first_queries + s * l.part, l.heads);
}

void GroupPass::attention(const Layer& l, bool first_only, const float* query) const {
  const auto items = share(texts_ * l.heads);
  for (auto item = items.first; item < items.last; ++item) {
    attend(l, item / l.heads, item % l.heads, first_only, query);
  }
}

/// One head of one text.
void GroupPass::attend(const Layer& l, int64_t text, int64_t head, bool first_only, const float* query) const {
  const auto size = weights_.head_size, ld = l.qkv.out, width = l.heads * size;
  const auto key = l.part + head / (l.heads / l.kv_heads) * size;
  const auto begin = text_begin(text), tokens = text_begin(text + 1) - begin;
  const auto keys = batch_.keys[static_cast<size_t>(group_.first + text)];
  const bool equal = keys == Batch::Keys::equal;
  const int64_t skipped = keys == Batch::Keys::but_first ? 1 : 0;
  const float* base = space_.qkv.data() + begin * ld;
  kernels::AttentionHead task{.number = l.attention};
  task.tokens = tokens - skipped;
  task.queries = first_only ? 1 : tokens;
  task.size = size;
  task.query = (first_only ? query + text * l.part : base) + head * size;
  task.key = base + skipped * ld + key;
  task.value = task.key + l.kv_part;
  task.ld = ld;
  task.scale = equal ? 0.0f : weights_.score_scale;
  kernels::HeadPositions positions;
  if (weights_.position_rows() > 0 && !equal) {
    positions = weights_.positions_of(l, head);
    task.positions = &positions;
  }
  if (l.position_bias.defined() && !equal) {
    task.bias = l.position_bias.as<float>() + head * (2 * weights_.max_length - 1) + weights_.max_length - 1;
  }
  const bool near = !equal && std::min(l.before, l.after) < kernels::AttentionHead::everywhere;
  if (near) {
    task.before = l.before;
    task.after = l.after;
  }
  if (task.positions != nullptr || task.bias != nullptr || near) {
    const int64_t* places = batch_.places.data() + token_ + begin;
    if (places[tokens - 1] - places[0] == tokens - 1 && !(near && skipped > 0)) {
      if (task.bias != nullptr) task.bias += skipped;
      if (task.positions != nullptr) positions.row += skipped;
    } else {
      task.query_place = places;
      task.key_place = places + skipped;
    }
  }
  task.context = space_.context.data() + (first_only ? text : begin) * width + head * size;
  task.ld_context = width;
  head_attention(task, space_.scratch.data() + member_.index * space_.scratch_words);
}

/// The units by `multiply(panels, epilogue)`; gates first, for the others are multiplied by them.
template <class Multiply>
void GroupPass::intermediate(const Layer& l, float* units, Multiply&& multiply) const {
  const auto panels = l.intermediate.panels;
  if (!l.gated) return multiply(Range{0, panels}, Epilogue(weights_.function));
  multiply(Range{panels / 2, panels}, Epilogue(Activation::none));
  multiply(Range{0, panels / 2}, Epilogue(weights_.function, units + l.intermediate.out / 2));
}

void GroupPass::feed_forward_by_columns(const Layer& l, int64_t rows, const Junction& next) const {
  const auto columns = l.intermediate.out;
  const auto inner = inner_input(l.output);
  float* wide = space_.wide.data();
  intermediate(l, wide, [&](Range panels, const Epilogue& epilogue) {
    product(input(l.intermediate), l.intermediate, rows, panels, epilogue, wide, columns);
  });
  member_.wait();
  const auto own = share(rows);
  prepare_rows(wide, columns, l.output.in, own.first, own.last, inner);
  member_.wait();
  product(inner, l.output, rows, Activation::none, space_.sum.data(), weights_.hidden);
  member_.wait();
  join(next, space_.sum.data(), space_.middle.data(), own, weights_.hidden, space_.x.data());
  member_.wait();
}

/// A few of this member's rows at a time, whose units stay in the cache.
void GroupPass::feed_forward_by_rows(const Layer& l, int64_t rows, const Junction& next) const {
  const auto hidden = weights_.hidden, columns = l.intermediate.out;
  const auto middle = input(l.intermediate), inner = inner_input(l.output).from(member_.index * inner_rows);
  float* wide = space_.wide.data() + member_.index * inner_rows * columns;
  const auto [first, last] = share(rows);
  const auto parts = (last - first + inner_rows - 1) / inner_rows;
  for (int64_t i = 0; i < parts; ++i) {
    const auto begin = first + i * (last - first) / parts, end = first + (i + 1) * (last - first) / parts;
    const auto count = end - begin;
    intermediate(l, wide, [&](Range panels, const Epilogue& epilogue) {
      multiply(middle.from(begin), l.intermediate, {0, count}, panels, epilogue, wide, columns);
    });
    prepare_rows(wide, columns, l.output.in, 0, count, inner);
    multiply(inner, l.output, {0, count}, {0, l.output.panels}, Activation::none, space_.sum.data() + begin * hidden,
             hidden);
    join(next, space_.sum.data(), space_.middle.data(), {begin, end}, hidden, space_.x.data());
  }
}

/// The mean of each text's tokens that the mask has, as input of the head.
void GroupPass::pool() const {
  member_.wait();
  const auto hidden = weights_.hidden;
  const auto texts = share(texts_);
  for (auto s = texts.first; s < texts.last; ++s) {
    float* mean = space_.first.data() + s * hidden;
    const auto begin = batch_.present.begin() + token_;
    const auto count = std::count(begin + text_begin(s), begin + text_begin(s + 1), true);
    std::fill_n(mean, hidden, count > 0 ? 0.0f : std::numeric_limits<float>::quiet_NaN());
    for (auto t = text_begin(s); t < text_begin(s + 1); ++t) {
      if (!begin[t]) continue;
      kernels::add_row(DType::float32, space_.x.data() + t * hidden, 1.0f / static_cast<float>(count), hidden, mean);
    }
  }
  prepare(space_.first.data(), texts_, input(*weights_.dense), hidden);
  meet(texts_);
}

void GroupPass::write_all_tokens(float* out, int64_t width) const {
  const float* rows = space_.x.data();
  if (weights_.reads_all_tokens()) {
    member_.wait();  // its rows are narrower than those that another member may still read in `middle`
    const auto& dense = *weights_.dense;
    product(input(dense), dense, tokens_, weights_.head_function, space_.middle.data(), width);
    meet(tokens_);
    rows = space_.middle.data();
  }
  copy_rows(rows, tokens_, width, [&](int64_t r) {
    const auto t = static_cast<size_t>(token_ + r);
    return batch_.present[t] ? out + batch_.places[t] * width : nullptr;
  });
}

void GroupPass::head(float* out, int64_t classes) const {
  const auto &dense = *weights_.dense, &classifier = *weights_.classifier;
  const auto hidden = weights_.hidden;
  product(input(dense), dense, texts_, weights_.head_function, space_.middle.data(), hidden);
  meet(texts_);
  if (weights_.head_norm.present()) {
    join({.norm = &weights_.head_norm}, space_.middle.data(), nullptr, share(texts_), hidden, space_.middle.data());
  }
  const auto pooled = inner_input(classifier);
  prepare(space_.middle.data(), texts_, pooled, hidden);
  meet(texts_);
  product(pooled, classifier, texts_, Activation::none, out + group_.first * classes, classes);
}

}  // namespace compression::runtime
