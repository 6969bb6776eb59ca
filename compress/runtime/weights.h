#pragma once
// An encoder's weights as they are multiplied: made of its state, and the state made of them again.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/base/activation.h"          // Activation
#include "compress/kernels/buffer.h"           // Buffer
#include "compress/kernels/int16_attention.h"  // Int16Positions
#include "compress/kernels/linear.h"           // LinearWeight, Norm
#include "compress/runtime/encoder_state.h"    // EncoderState

namespace compression::runtime {

/// Rows of embeddings, as they are in the state.
struct Table {
  HostTensor weight, scale;  // scale: of int8
  kernels::Stored stored = kernels::Stored::float32;

  bool present() const { return weight.defined(); }
  void add(int64_t row, float* to) const;  // to[i] += weight[row][i]
};

struct NormWeight {
  HostTensor gamma, beta;
};

struct Layer {
  int64_t heads = 0, part = 0;  // part: columns of the queries in `qkv`, whole panels; keys and values follow
  kernels::LinearWeight qkv, attention_output, intermediate, output;
  NormWeight attention_norm, output_norm;
  HostTensor position_bias;
  /// The table's rows as keys and as queries, a head after the other (pack_int16_rows), and the projections of their
  /// own that made them.
  struct Rows {
    std::optional<kernels::LinearWeight> own;
    kernels::Buffer<uint32_t> words;
    std::vector<float> step;  // [heads]
  };
  Rows position_key, position_query;
};

struct Weights {
  std::map<std::string, double> numbers;
  Table word, position, token_type;
  NormWeight embedding_norm, relative_norm;
  HostTensor relative_table, relative_rows, relative_input;  // may be undefined; the last: the table, normalised
  bool content_to_position = false, position_to_content = false;
  std::optional<kernels::LinearWeight> projection, dense, classifier;
  std::vector<std::shared_ptr<const Layer>> layers;
  bool masks_queries = false;
  int64_t embedding_size = 0, hidden = 0, head_size = 0, max_length = 0, padding_position = -1;
  float eps = 0.0f, score_scale = 1.0f;
  Activation function = Activation::gelu, head_function = Activation::tanh;
  int64_t stride = 0, inner_stride = 0;  // words of a row of any product's input; of the inner products'
  int64_t widest = 0, widest_part = 0, widest_heads = 0;  // over layers: intermediate, part, heads * head_size

  bool reads_all_tokens() const { return dense && !classifier; }
  int64_t position_rows() const { return relative_input.defined() ? relative_input.size(0) : 0; }
  kernels::Norm norm_of(const NormWeight& norm) const;
  kernels::Int16Positions positions_of(const Layer& layer, int64_t head) const;
};

/// Throws CheckpointError that names what is missing or does not fit.
Weights read_weights(EncoderState state);

/// The inverse.
EncoderState state_of(const Weights& weights);

}  // namespace compression::runtime
