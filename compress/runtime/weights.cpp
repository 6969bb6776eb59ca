#include "compress/runtime/weights.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "compress/kernels/float_mode.h"    // OrdinaryFloats
#include "compress/kernels/threads.h"       // OneThread, divide_up
#include "compress/runtime/plain_linear.h"  // read_linear, packed

namespace compression::runtime {

using kernels::LinearWeight;

namespace {

constexpr int64_t format_version = 1;
constexpr int64_t most_layers = 1024, widest_head = 65'536;
constexpr int64_t most_position_values = int64_t{1} << 25;  // of a layer; DeBERTa's largest has 2^20

class WeightsReader {
 public:
  explicit WeightsReader(EncoderState& state) : reader_(state) { weights_.numbers = state.numbers; }

  Weights read() {
    numbers();
    embeddings();
    relative_positions();
    const auto count = reader_.integer("layers", 1, most_layers);
    for (int64_t i = 0; i < count; ++i) {
      const auto name = "layer." + std::to_string(i);
      const auto own = reader_.integer(name + ".weights", 0, i);
      weights_.layers.push_back(own < i ? weights_.layers[static_cast<size_t>(own)] : layer(name));
    }
    weights_.final_norm = norm_or_none("final_norm", weights_.hidden);
    head();
    strides();
    return std::move(weights_);
  }

 private:
  void numbers() {
    const auto version = reader_.integer("format", 0, 1 << 20);
    if (version != format_version) {
      refuse("the file's format is {}, this library reads format {}", version, format_version);
    }
    weights_.head_size = reader_.integer("head_size", 1, widest_head);
    weights_.max_length = reader_.integer("max_length", 1, kernels::attention_limit);
    weights_.padding_position = reader_.integer("padding_position", -1, int64_t{1} << 40);
    weights_.masks_queries = reader_.flag("masks_queries");
    weights_.function = activation("function");
    weights_.score_scale = static_cast<float>(reader_.real("score_scale", -1e6, 1e6));
    weights_.content_to_position = reader_.flag("content_to_position");
    weights_.position_to_content = reader_.flag("position_to_content");
  }

  Activation activation(const std::string& name) const {
    constexpr auto last = static_cast<int64_t>(enum_names(Activation()).size()) - 1;
    return static_cast<Activation>(reader_.integer(name, 0, last));
  }

  StoredMatrix table(const std::string& name, int64_t width) const {
    return read_matrix(reader_, name, reader_.rows(name, 1), width, MatrixOf::table);
  }
  StoredMatrix table_or_none(const std::string& name, int64_t width) const {
    return reader_.has_matrix(name) ? table(name, width) : StoredMatrix();
  }

  NormWeight norm(const std::string& name, int64_t width) const {
    const auto of_all = [&](const std::string& number) {
      return reader_.has_number(name + "." + number) ? name + "." + number : number;
    };
    const bool biased = reader_.has(name + ".bias");
    return {.gamma = reader_.floats(name + ".weight", {width}),
            .beta = biased ? reader_.floats(name + ".bias", {width}) : new_tensor(DType::float32, {width}).first,
            .has_bias = biased,
            .rms = reader_.flag(of_all("rms_norm")),
            .eps = static_cast<float>(reader_.real(of_all("eps"), 0, 1))};
  }
  NormWeight norm_or_none(const std::string& name, int64_t width) const {
    return reader_.has(name + ".weight") ? norm(name, width) : NormWeight();
  }

  LinearWeight linear(const std::string& name, int64_t out, int64_t in) {
    auto result = packed(read_linear(reader_, name, out, in));
    reader_.drop(name);
    return result;
  }

  void embeddings() {
    auto& w = weights_;
    w.embedding_size = reader_.matrix_size("embeddings.word").columns;
    if (w.embedding_size < 1) refuse("embeddings.word: found no columns");
    w.word = table("embeddings.word", w.embedding_size);
    w.position = table_or_none("embeddings.position", w.embedding_size);
    w.token_type = table_or_none("embeddings.token_type", w.embedding_size);
    w.embedding_norm = norm_or_none("embeddings.norm", w.embedding_size);
    w.hidden = w.embedding_size;
    if (reader_.has_matrix("embeddings.projection")) {
      w.hidden = reader_.rows("embeddings.projection", 1);
      w.projection = linear("embeddings.projection", w.hidden, w.embedding_size);
    }
  }

  void relative_positions() {
    auto& w = weights_;
    if (!w.content_to_position && !w.position_to_content) return;
    const auto rows = reader_.rows("relative.table", 1);
    w.relative_table = w.relative_input = reader_.floats("relative.table.weight", {rows, w.hidden});
    w.relative_rows = reader_.of_type("relative.rows", {2 * w.max_length - 1}, DType::int32);
    const auto* row = w.relative_rows.as<int32_t>();
    const auto* end = row + w.relative_rows.count();
    if (!(row[0] < rows && end[-1] >= 0 && std::is_sorted(row, end, std::greater<>()))) {
      refuse("relative.rows: expected numbers from 0 to {}, none larger than the one before", rows - 1);
    }
    if (!reader_.has("relative.norm.weight")) return;
    w.relative_norm = norm("relative.norm", w.hidden);
    auto [normed, memory] = new_tensor(DType::float32, {rows, w.hidden});
    kernels::norm_rows(norm_of(w.relative_norm, w.hidden), w.relative_table.as<float>(), nullptr, 0, rows,
                       reinterpret_cast<float*>(memory), nullptr);
    w.relative_input = std::move(normed);
  }

  std::shared_ptr<const Layer> layer(const std::string& name) {
    auto& w = weights_;
    auto layer = std::make_shared<Layer>();
    const auto width = reader_.rows(name + ".query"), kv_width = reader_.rows(name + ".key");
    if (width % w.head_size != 0) {
      refuse("{}.query: found {} rows, expected a multiple of {}", name, width, w.head_size);
    }
    const bool alike = w.content_to_position || w.position_to_content;  // what heads of positions are
    if (kv_width % w.head_size != 0 || (kv_width == 0) != (width == 0) || (width > 0 && width % kv_width != 0) ||
        (alike && kv_width != width)) {
      refuse("{}.key: found {} rows, expected heads of {}, each for as many of the queries' {} rows", name, kv_width,
             w.head_size, width);
    }
    const auto panel = kernels::panel_width();
    layer->heads = width / w.head_size;
    layer->kv_heads = kv_width / w.head_size;
    layer->part = kernels::divide_up(width, panel) * panel;
    layer->kv_part = kernels::divide_up(kv_width, panel) * panel;
    const auto joined_parts = [&](const char* what, const std::vector<std::pair<const char*, int64_t>>& parts) {
      std::vector<PlainLinear> linears;
      for (const auto& [part, rows] : parts) {
        linears.push_back(read_linear(reader_, name + part, rows, w.hidden));
        reader_.drop(name + part);
      }
      return packed(joined(name + what, std::move(linears), panel));
    };
    layer->qkv = joined_parts(": query, key and value", {{".query", width}, {".key", kv_width}, {".value", kv_width}});
    // As exact as the products that queries, keys and values are of.
    layer->attention = layer->qkv.number == kernels::Number::float32 ? kernels::AttentionNumber::float32
                                                                     : kernels::AttentionNumber::int16;
    const auto inner = reader_.rows(name + ".intermediate");
    layer->attention_output = linear(name + ".attention_output", w.hidden, width);
    layer->gated = reader_.has_matrix(name + ".gate");
    layer->intermediate = layer->gated
                              ? joined_parts(": intermediate and gate", {{".intermediate", inner}, {".gate", inner}})
                              : linear(name + ".intermediate", inner, w.hidden);
    layer->output = linear(name + ".output", w.hidden, inner);
    layer->pre_norm = reader_.flag(name + ".pre_norm");
    layer->attention_norm =
        layer->pre_norm ? norm_or_none(name + ".attention_norm", w.hidden) : norm(name + ".attention_norm", w.hidden);
    layer->output_norm = norm(name + ".output_norm", w.hidden);
    if (reader_.has(name + ".query_norm.weight")) {
      layer->query_norm = norm(name + ".query_norm", w.head_size);
      layer->key_norm = norm(name + ".key_norm", w.head_size);
    }
    attention_reach(name, *layer);
    rotary(name, *layer);
    if (w.content_to_position) position_rows(name + ".position_key", layer->part, *layer, layer->position_key);
    if (w.position_to_content) position_rows(name + ".position_query", 0, *layer, layer->position_query);
    if (reader_.has(name + ".position_bias")) {
      layer->position_bias = reader_.floats(name + ".position_bias", {layer->heads, 2 * w.max_length - 1});
    }
    w.widest = std::max(w.widest, layer->intermediate.out);
    w.widest_qkv = std::max(w.widest_qkv, layer->qkv.out);
    w.widest_part = std::max(w.widest_part, layer->part);
    w.widest_heads = std::max(w.widest_heads, width);
    return layer;
  }

  void attention_reach(const std::string& name, Layer& layer) {
    const auto window =
        reader_.has_number(name + ".window") ? reader_.integer(name + ".window", 0, kernels::attention_limit) : 0;
    layer.before = window == 0 ? kernels::AttentionHead::everywhere : window;
    layer.after = reader_.flag(name + ".causal") ? 0 : layer.before;
    weights_.reach = std::min(weights_.reach, layer.after);
  }

  void rotary(const std::string& name, Layer& layer) {
    if (!reader_.has_number(name + ".rotary_base")) return;
    auto& bases = weights_.rotary_bases;
    const auto base = reader_.real(name + ".rotary_base", 1e-6, 1e12);
    if (weights_.head_size % 2 != 0) refuse("head_size: found {}, expected an even number", weights_.head_size);
    layer.rotary = std::ranges::find(bases, base) - bases.begin();
    if (layer.rotary == std::ssize(bases)) bases.push_back(base);
  }

  /// The table's rows by a projection of their own, or by the columns of the layer's that begin at `column`.
  void position_rows(const std::string& name, int64_t column, const Layer& layer, Layer::Rows& rows) {
    if (layer.heads == 0) return;
    const auto size = weights_.head_size, width = layer.heads * size, count = weights_.position_rows();
    const bool has_own = reader_.has_matrix(name);
    if (has_own) rows.own = linear(name, width, weights_.hidden);
    if (count * width > most_position_values) {
      refuse("relative.table.weight: found {} rows, expected at most {} where heads have {} columns", count,
             most_position_values / width, width);
    }
    const auto& projection = has_own ? *rows.own : layer.qkv;
    kernels::Buffer<float> all(count * projection.out);
    kernels::multiply_rows(weights_.relative_input.as<float>(), count, projection, projection.input_scale, all.data());
    const auto words = kernels::head_rows_words(layer.attention, count, size);
    rows.words.resize(layer.heads * words);
    const float* from = all.data() + (has_own ? 0 : column);
    for (int64_t h = 0; h < layer.heads; ++h) {
      rows.step.push_back(kernels::pack_head_rows(layer.attention, from + h * size, count, size, projection.out,
                                                  rows.words.data() + h * words));
    }
  }

  void head() {
    if (!reader_.has_matrix("head.dense")) return;
    auto& w = weights_;
    w.head_function = activation("head.function");
    const bool of_texts = reader_.has_matrix("head.classifier");
    const bool as_wide = of_texts || reader_.rows("head.dense") == w.hidden;
    w.dense = linear("head.dense", as_wide ? w.hidden : w.embedding_size, w.hidden);
    if (!of_texts) return;
    w.classifier = linear("head.classifier", reader_.rows("head.classifier", 1), w.hidden);
    w.head_norm = norm_or_none("head.norm", w.hidden);
    w.head_mean = reader_.flag("head.mean");
  }

  void strides() {
    auto& w = weights_;
    for (const auto& layer : w.layers) {
      w.stride = std::max({w.stride, layer->qkv.words, layer->attention_output.words, layer->intermediate.words});
      w.inner_stride = std::max({w.inner_stride, layer->output.words, layer->qkv.words});
    }
    for (const auto* weight : {&w.projection, &w.dense}) {
      if (*weight) w.stride = std::max(w.stride, (*weight)->words);
    }
    if (w.classifier) w.inner_stride = std::max(w.inner_stride, w.classifier->words);
  }

  StateReader reader_;
  Weights weights_;
};

}  // namespace

kernels::Norm norm_of(const NormWeight& norm, int64_t width) {
  return {width, norm.eps, norm.gamma.as<float>(), norm.beta.as<float>(), norm.rms};
}

kernels::HeadPositions Weights::positions_of(const Layer& layer, int64_t head) const {
  kernels::HeadPositions positions{.row = relative_rows.as<int32_t>() + max_length - 1, .rows = position_rows()};
  const auto words = kernels::head_rows_words(layer.attention, positions.rows, head_size);
  const auto at = static_cast<size_t>(head);
  if (content_to_position) {
    positions.key = layer.position_key.words.data() + head * words;
    positions.key_step = layer.position_key.step[at];
  }
  if (position_to_content) {
    positions.query = layer.position_query.words.data() + head * words;
    positions.query_step = layer.position_query.step[at];
  }
  return positions;
}

Weights read_weights(EncoderState state) {
  const kernels::OrdinaryFloats ordinary;
  // A process that loads a model may fork before it calls it: a team would not be in the child.
  const kernels::OneThread alone;
  return WeightsReader(state).read();
}

}  // namespace compression::runtime
