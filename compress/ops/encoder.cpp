#include "compress/ops/encoder.h"

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "compress/ops/bfloat16_choice.h"  // bfloat16_choice

namespace compression::ops {
namespace {

using at::Tensor;
using Tensors = c10::Dict<std::string, Tensor>;

constexpr int64_t format_version = 1;
constexpr int64_t most_layers = 1024, widest_head = 65'536;
constexpr int64_t most_position_values = int64_t{1} << 25;  // of a layer; DeBERTa's largest has 2^20

// Rows that keep a thread busy on a weight that it reads from the second-level cache: a group of texts; a part of the
// intermediate layer.
constexpr int64_t group_tokens = 128;
constexpr int64_t inner_rows = 48;

// With fewer rows a thread, threads share a weight's columns instead: each reads its own part of the weights only.
constexpr int64_t rows_to_share = 24;

/// Arrays in `state`, checked.
class Reader {
 public:
  explicit Reader(const EncoderState& state) : state_(state) {}

  double number(const std::string& name) const {
    TORCH_CHECK(state_.numbers.contains(name), "compress.Encoder: the number ", name, " is missing");
    return state_.numbers.at(name);
  }
  double real(const std::string& name, double least, double most) const {
    const double found = number(name);
    TORCH_CHECK(found >= least && found <= most, "compress.Encoder: ", name, ": found ", found,
                ", expected a number from ", least, " to ", most);
    return found;
  }
  int64_t integer(const std::string& name, int64_t least, int64_t most) const {
    const double found = number(name);
    TORCH_CHECK(found >= static_cast<double>(least) && found <= static_cast<double>(most) && std::floor(found) == found,
                "compress.Encoder: ", name, ": found ", found, ", expected an integer from ", least, " to ", most);
    return static_cast<int64_t>(found);
  }

  bool has(const std::string& name) const { return state_.tensors.contains(name); }

  Tensor tensor(const std::string& name, at::IntArrayRef sizes) const {
    TORCH_CHECK(has(name), "compress.Encoder: the tensor ", name, " is missing");
    const auto found = state_.tensors.at(name);
    TORCH_CHECK(found.defined() && found.layout() == at::kStrided && found.device().is_cpu(),
                "compress.Encoder: ", name, ": found no dense tensor on the CPU");
    TORCH_CHECK(found.sizes() == sizes, "compress.Encoder: ", name, ": found ", found.sizes(), ", expected ", sizes);
    // LibTorch takes what a file says of a tensor's place in its storage as it is.
    const auto bytes = static_cast<uint64_t>(found.storage_offset()) * found.element_size() + found.nbytes();
    TORCH_CHECK(found.is_contiguous() && found.storage_offset() >= 0 && bytes <= found.storage().nbytes(),
                "compress.Encoder: ", name, ": found a tensor that is not contiguous in its storage of ",
                found.storage().nbytes(), " bytes");
    return found;
  }
  Tensor floats(const std::string& name, at::IntArrayRef sizes) const {
    const auto found = tensor(name, sizes);
    TORCH_CHECK(found.scalar_type() == at::kFloat, "compress.Encoder: ", name, ": found ", found.scalar_type(),
                ", expected Float");
    return found;
  }
  at::IntArrayRef matrix(const std::string& name) const {
    const bool is_matrix = has(name) && state_.tensors.at(name).defined() && state_.tensors.at(name).dim() == 2;
    TORCH_CHECK(is_matrix, "compress.Encoder: the matrix ", name, " is missing");
    return state_.tensors.at(name).sizes();
  }
  int64_t rows(const std::string& name, int64_t least = 0) const {
    const auto found = matrix(name)[0];
    TORCH_CHECK(found >= least, "compress.Encoder: ", name, ": found ", found, " rows, expected ", least, " or more");
    return found;
  }

 private:
  const EncoderState& state_;
};

Stored stored_as(at::ScalarType type) {
  switch (type) {
    case at::kChar:
      return Stored::int8;
    case at::kBFloat16:
      return Stored::bfloat16;
    case at::kHalf:
      return Stored::float16;
    default:
      return Stored::float32;
  }
}

at::ScalarType type_of(Stored stored) {
  switch (stored) {
    case Stored::int8:
      return at::kChar;
    case Stored::bfloat16:
      return at::kBFloat16;
    case Stored::float16:
      return at::kHalf;
    case Stored::float32:
      break;
  }
  return at::kFloat;
}

/// What a weight of so many inputs is multiplied as here: itself, or wider.
Number number_for(Stored stored, int64_t in) {
  switch (stored) {
    case Stored::int8:
      return Number::int8;
    case Stored::bfloat16:
      return bfloat16_choice(in).number;
    default:
      return Number::float32;
  }
}

/// The tensors of one linear layer.
struct Plain {
  Tensor weight, scale, bias;  // scale: of int8
  float input_scale = 0.0f;    // of int8; 0: measured for each row

  void widen() {
    weight = weight.to(at::kFloat);
    if (scale.defined()) weight = weight * scale.unsqueeze(1);
    scale = Tensor();
    input_scale = 0.0f;
  }
};

void check_type(const std::string& name, at::ScalarType type) {
  TORCH_CHECK(type == at::kChar || type == at::kBFloat16 || type == at::kHalf || type == at::kFloat,
              "compress.Encoder: ", name, ".weight: found ", type, ", expected Char, BFloat16, Half or Float");
}

Plain read_linear(const Reader& reader, const std::string& name, int64_t out, int64_t in) {
  Plain plain{reader.tensor(name + ".weight", {out, in}), {}, reader.floats(name + ".bias", {out})};
  const auto type = plain.weight.scalar_type();
  check_type(name, type);
  if (type == at::kChar) {
    plain.scale = reader.floats(name + ".weight_scale", {out});
    if (reader.has(name + ".input_scale")) {
      plain.input_scale = reader.floats(name + ".input_scale", {1}).item<float>();
      TORCH_CHECK(std::isfinite(plain.input_scale) && plain.input_scale > 0.0f, "compress.Encoder: ", name,
                  ".input_scale: found ", plain.input_scale, ", expected a finite number above 0");
    }
  }
  return plain;
}

void pack(const Plain& plain, LinearWeight& result) {
  const auto stored = stored_as(plain.weight.scalar_type());
  const auto number = number_for(stored, plain.weight.size(1));
  const auto weight = number == Number::float32 ? plain.weight.to(at::kFloat) : plain.weight;
  pack_linear(number, weight.data_ptr(), plain.scale.defined() ? plain.scale.data_ptr<float>() : nullptr,
              plain.bias.data_ptr<float>(), weight.size(0), weight.size(1), result);
  result.stored = stored;
  result.input_scale = plain.input_scale;
}

Plain unpack(const LinearWeight& weight) {
  const auto type = type_of(weight.stored);
  Plain plain{at::empty({weight.out, weight.in}, weight.number == Number::float32 ? at::kFloat : type),
              {},
              at::empty({weight.out}, at::kFloat),
              weight.input_scale};
  unpack_linear(weight, plain.weight.data_ptr());
  plain.weight = plain.weight.to(type);
  std::copy_n(weight.bias.data(), weight.out, plain.bias.data_ptr<float>());
  if (weight.number == Number::int8) {
    plain.scale = at::empty({weight.out}, at::kFloat);
    std::copy_n(weight.scale.data(), weight.out, plain.scale.data_ptr<float>());
  }
  return plain;
}

void write_linear(Tensors& tensors, const std::string& name, const Plain& plain) {
  tensors.insert(name + ".weight", plain.weight.contiguous());
  tensors.insert(name + ".bias", plain.bias.contiguous());
  if (plain.scale.defined()) tensors.insert(name + ".weight_scale", plain.scale.contiguous());
  if (plain.input_scale > 0.0f) tensors.insert(name + ".input_scale", at::full({1}, plain.input_scale, at::kFloat));
}

int64_t whole_panels(int64_t columns) {
  const auto width = panel_width();
  return (columns + width - 1) / width * width;
}

}  // namespace

/// A padded batch without its padding.
struct Encoder::Batch {
  /// What attention takes of a text for keys: all its tokens; all but the first, which is there to be computed alone;
  /// or, where the mask is 0 throughout, all columns with equal probability, as a softmax of equal scores has it.
  enum class Keys : uint8_t { all, but_first, equal };

  std::vector<int64_t> ids, positions, types, places;  // [tokens]; place: row * length + column
  std::vector<bool> present;                           // [tokens]: what the mask says
  std::vector<int64_t> begin = {0};                    // [texts + 1]
  std::vector<Keys> keys;                              // [texts]

  int64_t tokens() const { return begin.back(); }
  int64_t texts() const { return static_cast<int64_t>(begin.size()) - 1; }
};

/// Texts that go through the layers together.
struct Encoder::Group {
  int64_t first, last;
};

/// Buffers of one group.
struct Encoder::Space {
  Buffer<float> x, middle, sum, qkv, context, wide, first;
  Buffer<uint32_t> input, inner_input;  // of products
  Buffer<float> input_scale, inner_scale;
  Buffer<uint32_t> scratch;   // of attention
  int64_t scratch_words = 0;  // a member's
};

void Encoder::Table::add(int64_t row, float* to) const {
  const auto width = weight.size(1);
  const auto* values = static_cast<const char*>(weight.data_ptr()) + row * width * weight.element_size();
  const float by = scale.defined() ? scale.data_ptr<float>()[row] : 1.0f;
  add_row(stored_as(weight.scalar_type()), values, by, width, to);
}

Encoder::Encoder(const EncoderState& state) : numbers_(state.numbers.copy()) {
  const OrdinaryFloats ordinary;
  const OneThread alone;  // a process that loads a model may fork before it calls it: a team would not be in the child
  const Reader reader(state);
  const auto version = reader.integer("format", 0, 1 << 20);
  TORCH_CHECK(version == format_version, "compress.Encoder: the file's format is ", version,
              ", this library reads format ", format_version);
  head_size_ = reader.integer("head_size", 1, widest_head);
  max_length_ = reader.integer("max_length", 1, int16_attention_limit);
  padding_position_ = reader.integer("padding_position", -1, int64_t{1} << 40);
  masks_queries_ = state.numbers.contains("masks_queries") && reader.integer("masks_queries", 0, 1) == 1;
  function_ = static_cast<Activation>(reader.integer("function", 0, 6));
  score_scale_ = static_cast<float>(reader.real("score_scale", -1e6, 1e6));
  eps_ = static_cast<float>(reader.real("eps", 0, 1));

  const auto table = [&](const std::string& name, int64_t width) {
    Table result;
    result.weight = reader.tensor(name + ".weight", {reader.rows(name + ".weight", 1), width});
    check_type(name, result.weight.scalar_type());
    if (result.weight.scalar_type() == at::kChar) {
      result.scale = reader.floats(name + ".weight_scale", {result.weight.size(0), 1});
    }
    return result;
  };
  const auto norm = [&](const std::string& name, int64_t width) {
    return NormWeight{reader.floats(name + ".weight", {width}), reader.floats(name + ".bias", {width})};
  };
  const auto linear = [&](const std::string& name, int64_t out, int64_t in) {
    auto result = std::make_unique<LinearWeight>();
    pack(read_linear(reader, name, out, in), *result);
    return result;
  };

  embedding_size_ = reader.matrix("embeddings.word.weight")[1];
  TORCH_CHECK(embedding_size_ >= 1, "compress.Encoder: embeddings.word.weight: found no columns");
  word_ = table("embeddings.word", embedding_size_);
  if (reader.has("embeddings.position.weight")) position_ = table("embeddings.position", embedding_size_);
  if (reader.has("embeddings.token_type.weight")) token_type_ = table("embeddings.token_type", embedding_size_);
  embedding_norm_ = norm("embeddings.norm", embedding_size_);
  hidden_ = embedding_size_;
  if (reader.has("embeddings.projection.weight")) {
    hidden_ = reader.rows("embeddings.projection.weight", 1);
    projection_ = linear("embeddings.projection", hidden_, embedding_size_);
  }

  const auto has_term = [&](const char* name) {
    return state.numbers.contains(name) && reader.integer(name, 0, 1) == 1;
  };
  content_to_position_ = has_term("content_to_position");
  position_to_content_ = has_term("position_to_content");
  if (content_to_position_ || position_to_content_) {
    const auto rows = reader.rows("relative.table.weight", 1);
    relative_table_ = relative_input_ = reader.floats("relative.table.weight", {rows, hidden_});
    relative_rows_ = reader.tensor("relative.rows", {2 * max_length_ - 1});
    TORCH_CHECK(relative_rows_.scalar_type() == at::kInt, "compress.Encoder: relative.rows: found ",
                relative_rows_.scalar_type(), ", expected Int");
    const auto* row = relative_rows_.data_ptr<int32_t>();
    const auto* end = row + relative_rows_.numel();
    TORCH_CHECK(row[0] < rows && end[-1] >= 0 && std::is_sorted(row, end, std::greater<>()),
                "compress.Encoder: relative.rows: expected numbers from 0 to ", rows - 1,
                ", none larger than the one before");
    if (reader.has("relative.norm.weight")) {
      relative_norm_ = norm("relative.norm", hidden_);
      relative_input_ = at::empty({rows, hidden_}, at::kFloat);
      norm_rows(norm_of(relative_norm_), relative_table_.data_ptr<float>(), nullptr, 0, rows,
                relative_input_.data_ptr<float>(), nullptr);
    }
  }
  const auto count = reader.integer("layers", 1, most_layers);
  for (int64_t i = 0; i < count; ++i) {
    const auto name = "layer." + std::to_string(i);
    const auto own = reader.integer(name + ".weights", 0, i);
    if (own < i) {
      layers_.push_back(layers_[static_cast<size_t>(own)]);
      continue;
    }
    auto layer = std::make_shared<Layer>();
    const auto width = reader.rows(name + ".query.weight");
    TORCH_CHECK(width % head_size_ == 0, "compress.Encoder: ", name, ".query.weight: found ", width,
                " rows, expected a multiple of ", head_size_);
    layer->heads = width / head_size_;
    layer->part = whole_panels(width);
    std::vector<Plain> parts;
    for (const auto* part : {".query", ".key", ".value"}) {
      parts.push_back(read_linear(reader, name + part, width, hidden_));
    }
    const auto type = [&](size_t p) { return parts[p].weight.scalar_type(); };
    const bool same = type(0) == type(1) && type(1) == type(2);
    const bool scaled = same && parts[0].scale.defined();
    if (!same) {
      for (auto& part : parts) part.widen();
    }
    for (const auto& part : parts) {
      TORCH_CHECK(part.input_scale == parts[0].input_scale, "compress.Encoder: ", name,
                  ": query, key and value read one input, but have the input scales ", parts[0].input_scale, ", ",
                  parts[1].input_scale, " and ", parts[2].input_scale, "; expected the same");
    }
    Plain joined{at::zeros({3 * layer->part, hidden_}, parts[0].weight.scalar_type()),
                 scaled ? at::ones({3 * layer->part}, at::kFloat) : Tensor(), at::zeros({3 * layer->part}, at::kFloat),
                 parts[0].input_scale};
    for (int64_t p = 0; p < 3; ++p) {
      const auto& part = parts[static_cast<size_t>(p)];
      const auto place = [&](const Tensor& all) { return all.slice(0, p * layer->part, p * layer->part + width); };
      place(joined.weight).copy_(part.weight);
      place(joined.bias).copy_(part.bias);
      if (scaled) place(joined.scale).copy_(part.scale);
    }
    pack(joined, layer->qkv);
    const auto inner = reader.rows(name + ".intermediate.weight");
    pack(read_linear(reader, name + ".attention_output", hidden_, width), layer->attention_output);
    pack(read_linear(reader, name + ".intermediate", inner, hidden_), layer->intermediate);
    pack(read_linear(reader, name + ".output", hidden_, inner), layer->output);
    layer->attention_norm = norm(name + ".attention_norm", hidden_);
    layer->output_norm = norm(name + ".output_norm", hidden_);
    const auto rows = [&](bool asked, const char* part, int64_t column, Layer::Rows& result) {
      if (!asked || layer->heads == 0) return;
      if (reader.has(name + part + ".weight")) {
        result.own = linear(name + part, width, hidden_);
        make_rows(*result.own, 0, *layer, result);
      } else {
        make_rows(layer->qkv, column, *layer, result);
      }
    };
    rows(content_to_position_, ".position_key", layer->part, layer->position_key);
    rows(position_to_content_, ".position_query", 0, layer->position_query);
    if (reader.has(name + ".position_bias")) {
      layer->position_bias = reader.floats(name + ".position_bias", {layer->heads, 2 * max_length_ - 1});
    }
    widest_ = std::max(widest_, inner);
    widest_part_ = std::max(widest_part_, layer->part);
    widest_heads_ = std::max(widest_heads_, width);
    layers_.push_back(layer);
  }
  if (reader.has("head.dense.weight")) {
    head_function_ = static_cast<Activation>(reader.integer("head.function", 0, 6));
    const bool of_first = reader.has("head.classifier.weight");
    dense_ = linear("head.dense", of_first ? hidden_ : embedding_size_, hidden_);
    if (of_first) classifier_ = linear("head.classifier", reader.rows("head.classifier.weight", 1), hidden_);
  }
  for (const auto& layer : layers_) {
    stride_ = std::max({stride_, layer->qkv.words, layer->attention_output.words, layer->intermediate.words});
    inner_stride_ = std::max({inner_stride_, layer->output.words, layer->qkv.words});
  }
  for (const auto* weight : {projection_.get(), dense_.get()}) {
    if (weight != nullptr) stride_ = std::max(stride_, weight->words);
  }
  if (classifier_) inner_stride_ = std::max(inner_stride_, classifier_->words);
}

Encoder::~Encoder() = default;

/// The table's rows by the columns of a projection that begin at `column`.
void Encoder::make_rows(const LinearWeight& projection, int64_t column, const Layer& layer, Layer::Rows& rows) const {
  const auto count = relative_input_.size(0), width = layer.heads * head_size_;
  TORCH_CHECK(count * width <= most_position_values, "compress.Encoder: relative.table.weight: found ", count,
              " rows, expected at most ", most_position_values / width, " where heads have ", width, " columns");
  const auto all = at::empty({count, projection.out}, at::kFloat);
  multiply_rows(relative_input_.data_ptr<float>(), count, projection, projection.input_scale, all.data_ptr<float>());
  const auto words = int16_rows_words(count, head_size_);
  rows.words.resize(layer.heads * words);
  for (int64_t h = 0; h < layer.heads; ++h) {
    const float* from = all.data_ptr<float>() + column + h * head_size_;
    rows.step.push_back(pack_int16_rows(from, count, head_size_, projection.out, rows.words.data() + h * words));
  }
}

EncoderState Encoder::state() const {
  const OneThread alone;
  EncoderState state;
  state.numbers = numbers_.copy();
  auto& tensors = state.tensors;
  const auto table = [&](const std::string& name, const Table& value) {
    if (!value.present()) return;
    tensors.insert(name + ".weight", value.weight);
    if (value.scale.defined()) tensors.insert(name + ".weight_scale", value.scale);
  };
  const auto norm = [&](const std::string& name, const NormWeight& value) {
    tensors.insert(name + ".weight", value.gamma);
    tensors.insert(name + ".bias", value.beta);
  };
  table("embeddings.word", word_);
  table("embeddings.position", position_);
  table("embeddings.token_type", token_type_);
  norm("embeddings.norm", embedding_norm_);
  if (projection_) write_linear(tensors, "embeddings.projection", unpack(*projection_));
  if (relative_table_.defined()) {
    tensors.insert("relative.table.weight", relative_table_);
    tensors.insert("relative.rows", relative_rows_);
    if (relative_norm_.gamma.defined()) norm("relative.norm", relative_norm_);
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (std::find(layers_.begin(), layers_.begin() + static_cast<int64_t>(i), layers_[i]) !=
        layers_.begin() + static_cast<int64_t>(i)) {
      continue;
    }
    const auto name = "layer." + std::to_string(i);
    const auto& layer = *layers_[i];
    const auto joined = unpack(layer.qkv);
    for (int64_t p = 0; p < 3; ++p) {
      const auto place = [&](const Tensor& all) {
        return all.defined() ? all.slice(0, p * layer.part, p * layer.part + layer.heads * head_size_) : all;
      };
      const std::array<const char*, 3> parts = {".query", ".key", ".value"};
      write_linear(tensors, name + parts[static_cast<size_t>(p)],
                   {place(joined.weight), place(joined.scale), place(joined.bias), joined.input_scale});
    }
    write_linear(tensors, name + ".attention_output", unpack(layer.attention_output));
    write_linear(tensors, name + ".intermediate", unpack(layer.intermediate));
    write_linear(tensors, name + ".output", unpack(layer.output));
    norm(name + ".attention_norm", layer.attention_norm);
    norm(name + ".output_norm", layer.output_norm);
    if (layer.position_bias.defined()) tensors.insert(name + ".position_bias", layer.position_bias);
    if (layer.position_key.own) write_linear(tensors, name + ".position_key", unpack(*layer.position_key.own));
    if (layer.position_query.own) write_linear(tensors, name + ".position_query", unpack(*layer.position_query.own));
  }
  if (dense_) {
    write_linear(tensors, "head.dense", unpack(*dense_));
    if (classifier_) write_linear(tensors, "head.classifier", unpack(*classifier_));
  }
  return state;
}

Int16Positions Encoder::positions_of(const Layer& layer, int64_t head) const {
  Int16Positions positions{.row = relative_rows_.data_ptr<int32_t>() + max_length_ - 1, .rows = position_rows()};
  const auto words = int16_rows_words(positions.rows, head_size_);
  const auto at = static_cast<size_t>(head);
  if (content_to_position_) {
    positions.key = layer.position_key.words.data() + head * words;
    positions.key_step = layer.position_key.step[at];
  }
  if (position_to_content_) {
    positions.query = layer.position_query.words.data() + head * words;
    positions.query_step = layer.position_query.step[at];
  }
  return positions;
}

Norm Encoder::norm_of(const NormWeight& norm) const {
  return {norm.gamma.size(0), eps_, norm.gamma.data_ptr<float>(), norm.beta.data_ptr<float>()};
}

/// One group's way through the layers, as one member of a team goes it.
class Encoder::Pass {
 public:
  Pass(const Encoder& encoder, const Batch& batch, Group group, Space& space, const Member& member)
      : encoder_(encoder),
        batch_(batch),
        group_(group),
        space_(space),
        member_(member),
        token_(batch.begin[static_cast<size_t>(group.first)]),
        tokens_(batch.begin[static_cast<size_t>(group.last)] - token_),
        texts_(group.last - group.first) {}

  /// Room for a group of so many tokens and texts, the longest of `longest` tokens, worked on by `members`.
  static void reserve(const Encoder& e, int64_t tokens, int64_t texts, int64_t longest, int64_t members, Space& space) {
    const auto rows = std::max(tokens, texts), hidden = std::max(e.hidden_, e.embedding_size_);
    const auto inner = std::max(members * inner_rows, std::min(rows, members * rows_to_share));
    space.x.resize(rows * hidden);
    space.middle.resize(rows * hidden);
    space.sum.resize(rows * hidden);
    space.first.resize(texts * (e.hidden_ + e.widest_part_));
    space.qkv.resize(rows * 3 * e.widest_part_);
    space.context.resize(rows * e.widest_heads_);
    space.wide.resize(inner * e.widest_);
    space.input.resize(rows * e.stride_);
    space.input_scale.resize(rows);
    space.inner_input.resize(std::max(inner, texts) * e.inner_stride_);
    space.inner_scale.resize(std::max(inner, texts));
    space.scratch_words = int16_attention_scratch(longest, e.head_size_, e.position_rows());
    space.scratch.resize(members * space.scratch_words);
  }

  /// `out`: [texts, classes] of the batch, or [batch * sequence, width].
  void run(bool all_tokens, float* out, int64_t width) {
    embed();
    const auto layers = encoder_.layers_.size();
    for (size_t i = 0; i < layers; ++i) {
      const auto* next = i + 1 < layers ? &encoder_.layers_[i + 1]->qkv : encoder_.dense_.get();
      layer(*encoder_.layers_[i], !all_tokens && i + 1 == layers, next);
    }
    if (all_tokens) {
      const float* rows = space_.x.data();
      if (encoder_.reads_all_tokens()) {
        member_.wait();  // its rows are narrower than those that another member may still read in `middle`
        product(input(*encoder_.dense_), *encoder_.dense_, tokens_, encoder_.head_function_, space_.middle.data(),
                width);
        join(tokens_);
        rows = space_.middle.data();
      }
      copy_rows(rows, tokens_, width, [&](int64_t r) {
        const auto t = static_cast<size_t>(token_ + r);
        return batch_.present[t] ? out + batch_.places[t] * width : nullptr;
      });
    } else if (encoder_.classifier_) {
      head(out, width);
    } else {
      copy_rows(space_.x.data(), texts_, width, [&](int64_t r) { return out + (group_.first + r) * width; });
    }
    member_.wait();  // before another group takes the buffers
  }

 private:
  /// Whether members share the columns of a product of so many rows, and not its rows.
  bool by_columns(int64_t rows) const { return member_.size > 1 && rows < rows_to_share * member_.size; }

  /// After what another member reads next where columns are shared.
  void join(int64_t rows) const {
    if (by_columns(rows)) member_.wait();
  }

  /// This member's part of a product; `y` is that of all rows.
  void product(const LinearInput& x, const LinearWeight& weight, int64_t rows, Range panels, Activation function,
               float* y, int64_t ld) const {
    if (by_columns(rows)) {
      const auto [first, last] = member_.share(panels.last - panels.first);
      multiply(x, weight, {0, rows}, {panels.first + first, panels.first + last}, function, y, ld);
    } else {
      const auto [first, last] = member_.share(rows);
      multiply(x, weight, {first, last}, panels, function, y, ld);
    }
  }
  void product(const LinearInput& x, const LinearWeight& weight, int64_t rows, Activation function, float* y,
               int64_t ld) const {
    product(x, weight, rows, {0, weight.panels}, function, y, ld);
  }

  LinearInput input(const LinearWeight& weight) const {
    return {weight.number, encoder_.stride_, space_.input.data(), space_.input_scale.data(), weight.input_scale};
  }
  LinearInput inner_input(const LinearWeight& weight) const {
    return {weight.number, encoder_.inner_stride_, space_.inner_input.data(), space_.inner_scale.data(),
            weight.input_scale};
  }

  void prepare(const float* x, int64_t rows, const LinearInput& to, int64_t columns) const {
    const auto [first, last] = member_.share(rows);
    prepare_rows(x, columns, columns, first, last, to);
  }

  void norm(const NormWeight& weight, const float* x, const float* residual, int64_t first, int64_t last, float* y,
            const LinearWeight* next) const {
    if (next == nullptr) return norm_rows(encoder_.norm_of(weight), x, residual, first, last, y, nullptr);
    const auto to = input(*next);
    norm_rows(encoder_.norm_of(weight), x, residual, first, last, y, &to);
  }

  /// Rows whose place is null stay behind.
  template <class Place>
  void copy_rows(const float* from, int64_t rows, int64_t width, Place&& place) const {
    const auto [first, last] = member_.share(rows);
    for (auto r = first; r < last; ++r) {
      if (float* to = place(r)) std::copy_n(from + r * width, width, to);
    }
  }

  void embed() const {
    const auto& e = encoder_;
    const auto width = e.embedding_size_;
    const auto [first, last] = member_.share(tokens_);
    float* sum = e.projection_ ? space_.sum.data() : space_.x.data();
    for (auto r = first; r < last; ++r) {
      const auto t = static_cast<size_t>(token_ + r);
      float* row = sum + r * width;
      std::fill_n(row, width, 0.0f);
      e.word_.add(batch_.ids[t], row);
      if (e.token_type_.present()) e.token_type_.add(batch_.types[t], row);
      if (e.position_.present()) e.position_.add(batch_.positions[t], row);
    }
    const auto& next = e.projection_ ? *e.projection_ : e.layers_.front()->qkv;
    norm(e.embedding_norm_, sum, nullptr, first, last, sum, &next);
    join(tokens_);
    if (!e.projection_) return;
    product(input(next), next, tokens_, Activation::none, space_.x.data(), e.hidden_);
    join(tokens_);
    prepare(space_.x.data(), tokens_, input(e.layers_.front()->qkv), e.hidden_);
    join(tokens_);
  }

  void layer(const Layer& l, bool first_only, const LinearWeight* next) const {
    const auto hidden = encoder_.hidden_, ld = 3 * l.part, panels = l.part / panel_width();
    const auto rows = first_only ? texts_ : tokens_;
    float* qkv = space_.qkv.data();
    const auto in = input(l.qkv);
    const float* residual = space_.x.data();
    const float* query = qkv;
    if (first_only) {  // keys and values of all tokens, queries of each text's first
      product(in, l.qkv, tokens_, {panels, 3 * panels}, Activation::none, qkv, ld);
      member_.wait();
      const auto first = inner_input(l.qkv);
      const auto [begin, end] = member_.share(texts_);
      for (auto s = begin; s < end; ++s) {
        const auto t = text_begin(s);
        std::copy_n(in.values + t * in.stride, l.qkv.words, first.values + s * first.stride);
        first.scale[s] = in.scale[t];
        std::copy_n(space_.x.data() + t * hidden, hidden, space_.first.data() + s * hidden);
      }
      residual = space_.first.data();
      float* queries = space_.first.data() + texts_ * hidden;
      join(texts_);
      product(first, l.qkv, texts_, {0, panels}, Activation::none, queries, l.part);
      query = queries;
    } else {
      product(in, l.qkv, tokens_, Activation::none, qkv, ld);
    }
    member_.wait();
    attention(l, first_only, query);
    member_.wait();

    const auto width = l.heads * encoder_.head_size_;
    const auto context = input(l.attention_output);
    prepare(space_.context.data(), rows, context, width);
    join(rows);
    product(context, l.attention_output, rows, Activation::none, space_.sum.data(), hidden);
    join(rows);
    const auto [first, last] = member_.share(rows);
    norm(l.attention_norm, space_.sum.data(), residual, first, last, space_.middle.data(), &l.intermediate);
    join(rows);

    const auto middle = input(l.intermediate);
    const auto units = l.intermediate.out;
    if (by_columns(rows)) {
      const auto inner = inner_input(l.output);
      product(middle, l.intermediate, rows, encoder_.function_, space_.wide.data(), units);
      member_.wait();
      prepare(space_.wide.data(), rows, inner, units);
      member_.wait();
      product(inner, l.output, rows, Activation::none, space_.sum.data(), hidden);
      member_.wait();
      norm(l.output_norm, space_.sum.data(), space_.middle.data(), first, last, space_.x.data(), next);
      member_.wait();
      return;
    }
    const auto inner = inner_input(l.output).from(member_.index * inner_rows);
    float* wide = space_.wide.data() + member_.index * inner_rows * units;
    const auto parts = (last - first + inner_rows - 1) / inner_rows;
    for (int64_t i = 0; i < parts; ++i) {
      const auto begin = first + i * (last - first) / parts, end = first + (i + 1) * (last - first) / parts;
      const auto count = end - begin;
      multiply(middle.from(begin), l.intermediate, {0, count}, {0, l.intermediate.panels}, encoder_.function_, wide,
               units);
      prepare_rows(wide, units, units, 0, count, inner);
      multiply(inner, l.output, {0, count}, {0, l.output.panels}, Activation::none, space_.sum.data() + begin * hidden,
               hidden);
      norm(l.output_norm, space_.sum.data(), space_.middle.data(), begin, end, space_.x.data(), next);
    }
  }

  int64_t text_begin(int64_t text) const { return batch_.begin[static_cast<size_t>(group_.first + text)] - token_; }

  void attention(const Layer& l, bool first_only, const float* query) const {
    const auto size = encoder_.head_size_, ld = 3 * l.part, width = l.heads * size;
    auto* scratch = space_.scratch.data() + member_.index * space_.scratch_words;
    const auto [first, last] = member_.share(texts_ * l.heads);
    for (auto item = first; item < last; ++item) {
      const auto text = item / l.heads, head = item % l.heads, begin = text_begin(text);
      const auto tokens = text_begin(text + 1) - begin;
      const auto keys = batch_.keys[static_cast<size_t>(group_.first + text)];
      const int64_t skipped = keys == Batch::Keys::but_first ? 1 : 0;
      const float* base = space_.qkv.data() + begin * ld + head * size;
      Int16Head task;
      task.tokens = tokens - skipped;
      task.queries = first_only ? 1 : tokens;
      task.size = size;
      task.query = first_only ? query + text * l.part + head * size : base;
      task.key = base + skipped * ld + l.part;
      task.value = base + skipped * ld + 2 * l.part;
      task.ld = ld;
      task.scale = keys == Batch::Keys::equal ? 0.0f : encoder_.score_scale_;
      Int16Positions positions;
      if (encoder_.position_rows() > 0 && keys != Batch::Keys::equal) {
        positions = encoder_.positions_of(l, head);
        task.positions = &positions;
      }
      if (l.position_bias.defined() && keys != Batch::Keys::equal) {
        task.bias =
            l.position_bias.data_ptr<float>() + head * (2 * encoder_.max_length_ - 1) + encoder_.max_length_ - 1;
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
      int16_attention(task, scratch);
    }
  }

  void head(float* out, int64_t classes) const {
    const auto& dense = *encoder_.dense_;
    const auto& classifier = *encoder_.classifier_;
    const auto hidden = encoder_.hidden_;
    product(input(dense), dense, texts_, encoder_.head_function_, space_.middle.data(), hidden);
    join(texts_);
    const auto pooled = inner_input(classifier);
    prepare(space_.middle.data(), texts_, pooled, hidden);
    join(texts_);
    product(pooled, classifier, texts_, Activation::none, out + group_.first * classes, classes);
  }

  const Encoder& encoder_;
  const Batch& batch_;
  const Group group_;
  Space& space_;
  const Member& member_;
  const int64_t token_, tokens_, texts_;
};

std::unique_ptr<Encoder::Space> Encoder::take_space() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (spaces_.empty()) return std::make_unique<Space>();
  auto space = std::move(spaces_.back());
  spaces_.pop_back();
  return space;
}

Tensor Encoder::run(const Tensor& input_ids, const Tensor& attention_mask, const Tensor& token_type_ids,
                    bool all_tokens) const {
  for (const auto* t : {&input_ids, &attention_mask, &token_type_ids}) {
    const bool fits = t == &attention_mask || at::isIntegralType(t->scalar_type(), /*includeBool=*/false);
    TORCH_CHECK(fits && t->dim() == 2 && t->sizes() == input_ids.sizes() && t->device().is_cpu(),
                "compress.Encoder: input_ids and token_type_ids must be integers and attention_mask numbers, [batch, "
                "sequence] each, on the CPU; found ",
                t->scalar_type(), " ", t->sizes(), " on ", t->device());
  }
  const auto texts = input_ids.size(0), length = input_ids.size(1);
  TORCH_CHECK(length <= max_length_, "compress.Encoder: a text of ", length, " tokens: this model has positions for ",
              max_length_);
  TORCH_CHECK(length > 0 || texts == 0, "compress.Encoder: texts of no tokens");

  Batch batch;
  const auto longs = [](const Tensor& t) { return t.to(at::kLong).contiguous(); };
  const auto ids = longs(input_ids), mask = longs(attention_mask.ne(0)), types = longs(token_type_ids);
  const int64_t *id = ids.data_ptr<int64_t>(), *present = mask.data_ptr<int64_t>(), *type = types.data_ptr<int64_t>();
  const auto row_of = [](const Table& table, int64_t row, const char* what) {
    TORCH_CHECK_INDEX(!table.present() || (row >= 0 && row < table.weight.size(0)), "compress.Encoder: ", what, " ",
                      row, " is out of range: the table has ", table.weight.size(0), " rows");
    return row;
  };
  for (auto* values : {&batch.ids, &batch.positions, &batch.types, &batch.places}) {
    values->reserve(static_cast<size_t>(texts * length));
  }
  for (int64_t r = 0; r < texts; ++r) {
    const int64_t* row = present + r * length;
    const bool none = std::all_of(row, row + length, [](int64_t value) { return value == 0; });
    batch.keys.push_back(none ? Batch::Keys::equal : row[0] == 0 ? Batch::Keys::but_first : Batch::Keys::all);
    TORCH_CHECK(!masks_queries_ || row[0] != 0 || all_tokens,
                "compress.Encoder: attention_mask: found 0 for the first token of text ", r,
                ", which this family's fused runtime does not have; expected 1");
    int64_t counted = padding_position_;  // the last position that was given out
    for (int64_t c = 0; c < length; ++c) {
      const auto at = r * length + c;
      const bool padding = padding_position_ >= 0 && id[at] == padding_position_;
      if (!padding) ++counted;
      if (present[at] == 0 && c > 0 && !none) continue;
      batch.ids.push_back(row_of(word_, id[at], "token id"));
      batch.types.push_back(row_of(token_type_, type[at], "token type"));
      batch.positions.push_back(row_of(position_, padding ? padding_position_ : counted, "position"));
      batch.places.push_back(at);
      batch.present.push_back(present[at] != 0);
    }
    batch.begin.push_back(static_cast<int64_t>(batch.ids.size()));
  }

  const auto* final_layer = all_tokens ? (reads_all_tokens() ? dense_.get() : nullptr) : classifier_.get();
  const auto classes = final_layer != nullptr ? final_layer->out : hidden_;
  auto out = all_tokens ? at::zeros({texts, length, classes}, at::kFloat) : at::empty({texts, classes}, at::kFloat);
  if (texts == 0) return out;
  float* to = out.data_ptr<float>();

  // Groups of texts of about the same number of tokens. Each is one thread's, if that keeps all busy.
  const auto threads = available_threads(), tokens = batch.tokens();
  const auto groups_of = [&](int64_t share) {
    std::vector<Group> groups;
    int64_t first = 0;
    for (int64_t i = 0; i < share && first < texts; ++i) {
      auto last = first + 1;
      const auto end = (i + 1) * tokens / share;
      while (last < texts &&
             (batch.begin[static_cast<size_t>(last)] + batch.begin[static_cast<size_t>(last) + 1]) / 2 < end) {
        ++last;
      }
      if (i + 1 == share) last = texts;
      groups.push_back({first, last});
      first = last;
    }
    return groups;
  };
  const auto size_of = [&](const Group& g) {
    return batch.begin[static_cast<size_t>(g.last)] - batch.begin[static_cast<size_t>(g.first)];
  };
  const auto rounds = (tokens + threads * group_tokens - 1) / (threads * group_tokens);
  auto groups = groups_of(threads * rounds);
  bool together = false;
  if (threads > 1) {
    std::vector<int64_t> load(static_cast<size_t>(threads));
    for (const auto& group : groups) *std::min_element(load.begin(), load.end()) += size_of(group);
    together = *std::max_element(load.begin(), load.end()) * threads * 5 > tokens * 6;
    if (together) groups = groups_of(rounds);
  }
  int64_t most_tokens = 0, most_texts = 0, longest = 0;
  for (size_t i = 0; i + 1 < batch.begin.size(); ++i) longest = std::max(longest, batch.begin[i + 1] - batch.begin[i]);
  for (const auto& group : groups) {
    most_tokens = std::max(most_tokens, size_of(group));
    most_texts = std::max(most_texts, group.last - group.first);
  }
  const auto members = together ? threads : 1;
  std::vector<std::unique_ptr<Space>> spaces;
  for (int64_t i = 0; i < (together ? 1 : threads); ++i) {
    spaces.push_back(take_space());
    Pass::reserve(*this, most_tokens, most_texts, longest, members, *spaces.back());
  }
  std::atomic<size_t> taken{0};
  run_together(threads, [&](const Member& member) {
    if (together) {
      for (const auto& group : groups) Pass(*this, batch, group, *spaces.front(), member).run(all_tokens, to, classes);
      return;
    }
    const Member alone;
    for (auto i = taken++; i < groups.size(); i = taken++) {
      Pass(*this, batch, groups[i], *spaces[static_cast<size_t>(member.index)], alone).run(all_tokens, to, classes);
    }
  });
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto& space : spaces) spaces_.push_back(std::move(space));
  return out;
}

Tensor Encoder::forward(const Tensor& input_ids, const Tensor& attention_mask, const Tensor& token_type_ids) const {
  return run(input_ids, attention_mask, token_type_ids, false);
}

Tensor Encoder::last_hidden_state(const Tensor& input_ids, const Tensor& attention_mask,
                                  const Tensor& token_type_ids) const {
  return run(input_ids, attention_mask, token_type_ids, true);
}

}  // namespace compression::ops
