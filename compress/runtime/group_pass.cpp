#include "compress/runtime/group_pass.h"

#include <algorithm>

#include "compress/kernels/int16_attention.h"  // int16_attention

namespace compression::runtime {

using kernels::LinearInput;
using kernels::LinearWeight;
using kernels::Range;

namespace {

constexpr int64_t inner_rows = 48;  // part of the intermediate layer, for which it stays in the second-level cache

/// With fewer rows a thread, threads share a weight's columns instead: each reads its own part of the weights only.
constexpr int64_t rows_to_share = 24;

}  // namespace

void reserve(const Weights& w, const Batch& batch, const std::vector<Group>& groups, int64_t members, Space& space) {
  int64_t tokens = 0, texts = 0, longest = 0;
  for (int64_t t = 0; t < batch.texts(); ++t) {
    longest = std::max(longest, batch.tokens_before(t + 1) - batch.tokens_before(t));
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
  space.qkv.resize(rows * 3 * w.widest_part);
  space.context.resize(rows * w.widest_heads);
  space.wide.resize(inner * w.widest);
  space.input.resize(rows * w.stride);
  space.input_scale.resize(rows);
  space.inner_input.resize(std::max(inner, texts) * w.inner_stride);
  space.inner_scale.resize(std::max(inner, texts));
  space.scratch_words = kernels::int16_attention_scratch(longest, w.head_size, w.position_rows());
  space.scratch.resize(members * space.scratch_words);
}

void GroupPass::run(bool all_tokens, float* out, int64_t width) const {
  embed();
  const auto count = weights_.layers.size();
  for (size_t i = 0; i < count; ++i) {
    const auto* next = i + 1 < count ? &weights_.layers[i + 1]->qkv : weights_.dense ? &*weights_.dense : nullptr;
    layer(*weights_.layers[i], !all_tokens && i + 1 == count, next);
  }
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
void GroupPass::join(int64_t rows) const {
  if (by_columns(rows)) member_.wait();
}

Range GroupPass::share(int64_t count) const {
  const auto [first, last] = member_.share(count);
  return {first, last};
}

/// This member's part of a product; `y` is that of all rows.
void GroupPass::product(const LinearInput& x, const LinearWeight& weight, int64_t rows, Range panels,
                        Activation function, float* y, int64_t ld) const {
  if (by_columns(rows)) {
    const auto [first, last] = share(panels.last - panels.first);
    multiply(x, weight, {0, rows}, {panels.first + first, panels.first + last}, function, y, ld);
  } else {
    multiply(x, weight, share(rows), panels, function, y, ld);
  }
}
void GroupPass::product(const LinearInput& x, const LinearWeight& weight, int64_t rows, Activation function, float* y,
                        int64_t ld) const {
  product(x, weight, rows, {0, weight.panels}, function, y, ld);
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

/// And the rows as input of `next`, unless it is null.
void GroupPass::norm(const NormWeight& weight, const float* x, const float* residual, Range rows, float* y,
                     const LinearWeight* next) const {
  const auto norm = weights_.norm_of(weight);
  if (next == nullptr) return norm_rows(norm, x, residual, rows.first, rows.last, y, nullptr);
  const auto to = input(*next);
  norm_rows(norm, x, residual, rows.first, rows.last, y, &to);
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
  const auto& next = w.projection ? *w.projection : w.layers.front()->qkv;
  norm(w.embedding_norm, sum, nullptr, rows, sum, &next);
  join(tokens_);
  if (!w.projection) return;
  product(input(next), next, tokens_, Activation::none, space_.x.data(), w.hidden);
  join(tokens_);
  prepare(space_.x.data(), tokens_, input(w.layers.front()->qkv), w.hidden);
  join(tokens_);
}

/// From `x` to `x`, and as input of `next`. first_only: of each text's first token, after which `x` has a row a text.
void GroupPass::layer(const Layer& l, bool first_only, const LinearWeight* next) const {
  const auto hidden = weights_.hidden, rows = first_only ? texts_ : tokens_;
  const auto in = input(l.qkv);
  const float *residual = space_.x.data(), *query = space_.qkv.data();
  if (first_only) {
    residual = space_.first.data();
    float* queries = space_.first.data() + texts_ * hidden;
    queries_of_first(l, in, queries);
    query = queries;
  } else {
    product(in, l.qkv, tokens_, Activation::none, space_.qkv.data(), 3 * l.part);
  }
  member_.wait();
  attention(l, first_only, query);
  member_.wait();

  const auto context = input(l.attention_output);
  prepare(space_.context.data(), rows, context, l.heads * weights_.head_size);
  join(rows);
  product(context, l.attention_output, rows, Activation::none, space_.sum.data(), hidden);
  join(rows);
  norm(l.attention_norm, space_.sum.data(), residual, share(rows), space_.middle.data(), &l.intermediate);
  join(rows);
  by_columns(rows) ? feed_forward_by_columns(l, rows, next) : feed_forward_by_rows(l, rows, next);
}

/// Keys and values of all tokens, queries of each text's first, and what these tokens were before, in `first`.
void GroupPass::queries_of_first(const Layer& l, const LinearInput& in, float* queries) const {
  const auto hidden = weights_.hidden, panels = l.part / kernels::panel_width();
  product(in, l.qkv, tokens_, {panels, 3 * panels}, Activation::none, space_.qkv.data(), 3 * l.part);
  member_.wait();
  const auto first = inner_input(l.qkv);
  const auto texts = share(texts_);
  for (auto s = texts.first; s < texts.last; ++s) {
    const auto t = text_begin(s);
    std::copy_n(in.values + t * in.stride, l.qkv.words, first.values + s * first.stride);
    first.scale[s] = in.scale[t];
    std::copy_n(space_.x.data() + t * hidden, hidden, space_.first.data() + s * hidden);
  }
  join(texts_);
  product(first, l.qkv, texts_, {0, panels}, Activation::none, queries, l.part);
}

void GroupPass::attention(const Layer& l, bool first_only, const float* query) const {
  const auto items = share(texts_ * l.heads);
  for (auto item = items.first; item < items.last; ++item) {
    attend(l, item / l.heads, item % l.heads, first_only, query);
  }
}

/// One head of one text.
void GroupPass::attend(const Layer& l, int64_t text, int64_t head, bool first_only, const float* query) const {
  const auto size = weights_.head_size, ld = 3 * l.part, width = l.heads * size;
  const auto begin = text_begin(text), tokens = text_begin(text + 1) - begin;
  const auto keys = batch_.keys[static_cast<size_t>(group_.first + text)];
  const bool equal = keys == Batch::Keys::equal;
  const int64_t skipped = keys == Batch::Keys::but_first ? 1 : 0;
  const float* base = space_.qkv.data() + begin * ld + head * size;
  kernels::Int16Head task;
  task.tokens = tokens - skipped;
  task.queries = first_only ? 1 : tokens;
  task.size = size;
  task.query = first_only ? query + text * l.part + head * size : base;
  task.key = base + skipped * ld + l.part;
  task.value = base + skipped * ld + 2 * l.part;
  task.ld = ld;
  task.scale = equal ? 0.0f : weights_.score_scale;
  kernels::Int16Positions positions;
  if (weights_.position_rows() > 0 && !equal) {
    positions = weights_.positions_of(l, head);
    task.positions = &positions;
  }
  if (l.position_bias.defined() && !equal) {
    task.bias = l.position_bias.as<float>() + head * (2 * weights_.max_length - 1) + weights_.max_length - 1;
  }
  if (task.positions != nullptr || task.bias != nullptr) {
    const int64_t* places = batch_.places.data() + token_ + begin;
    if (places[tokens - 1] - places[0] == tokens - 1) {
      if (task.bias != nullptr) task.bias += skipped;
      if (task.positions != nullptr) positions.row += skipped;
    } else {
      task.query_place = places;
      task.key_place = places + skipped;
    }
  }
  task.context = space_.context.data() + (first_only ? text : begin) * width + head * size;
  task.ld_context = width;
  int16_attention(task, space_.scratch.data() + member_.index * space_.scratch_words);
}

void GroupPass::feed_forward_by_columns(const Layer& l, int64_t rows, const LinearWeight* next) const {
  const auto units = l.intermediate.out;
  const auto inner = inner_input(l.output);
  product(input(l.intermediate), l.intermediate, rows, weights_.function, space_.wide.data(), units);
  member_.wait();
  prepare(space_.wide.data(), rows, inner, units);
  member_.wait();
  product(inner, l.output, rows, Activation::none, space_.sum.data(), weights_.hidden);
  member_.wait();
  norm(l.output_norm, space_.sum.data(), space_.middle.data(), share(rows), space_.x.data(), next);
  member_.wait();
}

/// A few of this member's rows at a time, whose units stay in the cache.
void GroupPass::feed_forward_by_rows(const Layer& l, int64_t rows, const LinearWeight* next) const {
  const auto hidden = weights_.hidden, units = l.intermediate.out;
  const auto middle = input(l.intermediate), inner = inner_input(l.output).from(member_.index * inner_rows);
  float* wide = space_.wide.data() + member_.index * inner_rows * units;
  const auto [first, last] = share(rows);
  const auto parts = (last - first + inner_rows - 1) / inner_rows;
  for (int64_t i = 0; i < parts; ++i) {
    const auto begin = first + i * (last - first) / parts, end = first + (i + 1) * (last - first) / parts;
    const auto count = end - begin;
    multiply(middle.from(begin), l.intermediate, {0, count}, {0, l.intermediate.panels}, weights_.function, wide,
             units);
    prepare_rows(wide, units, units, 0, count, inner);
    multiply(inner, l.output, {0, count}, {0, l.output.panels}, Activation::none, space_.sum.data() + begin * hidden,
             hidden);
    norm(l.output_norm, space_.sum.data(), space_.middle.data(), {begin, end}, space_.x.data(), next);
  }
}

void GroupPass::write_all_tokens(float* out, int64_t width) const {
  const float* rows = space_.x.data();
  if (weights_.reads_all_tokens()) {
    member_.wait();  // its rows are narrower than those that another member may still read in `middle`
    const auto& dense = *weights_.dense;
    product(input(dense), dense, tokens_, weights_.head_function, space_.middle.data(), width);
    join(tokens_);
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
  join(texts_);
  const auto pooled = inner_input(classifier);
  prepare(space_.middle.data(), texts_, pooled, hidden);
  join(texts_);
  product(pooled, classifier, texts_, Activation::none, out + group_.first * classes, classes);
}

}  // namespace compression::runtime
