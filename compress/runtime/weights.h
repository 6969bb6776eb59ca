#pragma once
// An encoder's weights as they are multiplied: made of its state, and the state made of them again.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/base/activation.h"         // Activation
#include "compress/kernels/buffer.h"          // Buffer
#include "compress/kernels/head_attention.h"  // HeadPositions
#include "compress/kernels/linear.h"          // LinearWeight, Norm
#include "compress/runtime/encoder_state.h"   // EncoderState
#include "compress/storage/storage.h"         // StoredMatrix

namespace compression::runtime {

struct NormWeight {
  HostTensor gamma, beta;
  bool has_bias = true;  // else `beta` is 0
  bool rms = false;
  float eps = 0.0f;

  bool present() const { return gamma.defined(); }
};

struct Layer {
  int64_t heads = 0, kv_heads = 0;
  int64_t part = 0,
          kv_part = 0;  // columns in `qkv`, whole panels: of the queries; of the keys and of the values behind
  bool gated = false;   // gates are the second half of the columns of `intermediate`, whole panels
  bool pre_norm = false;
  kernels::AttentionNumber attention = kernels::AttentionNumber::float32;
  int64_t before = 0, after = 0;  // as AttentionHead has them
  int64_t rotary = -1;            // its base, of Weights::rotary_bases; -1: none
  kernels::LinearWeight qkv, attention_output, intermediate, output;
  NormWeight attention_norm, output_norm, query_norm, key_norm;
  HostTensor position_bias;
  /// The table's rows as keys and as queries, a head after the other (pack_head_rows), and the projections of their
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
  StoredMatrix word, position, token_type;  // rows of embeddings, as they are in the state; the last may be absent
  NormWeight embedding_norm, relative_norm, final_norm, head_norm;
  HostTensor relative_table, relative_rows, relative_input;  // may be undefined; the last: the table, normalised
  bool content_to_position = false, position_to_content = false;
  std::optional<kernels::LinearWeight> projection, dense, classifier;
  std::vector<std::shared_ptr<const Layer>> layers;
  std::vector<double> rotary_bases;
  bool masks_queries = false, head_mean = false;
  int64_t embedding_size = 0, hidden = 0, head_size = 0, max_length = 0, padding_position = -1;
  int64_t reach = kernels::AttentionHead::everywhere;  // how far behind itself a token attends in every layer
  float score_scale = 1.0f;
  Activation function = Activation::gelu, head_function = Activation::tanh;
  int64_t stride = 0, inner_stride = 0;  // words of a row of any product's input; of the inner products'
  // Over layers: columns of `intermediate`, `qkv`, queries in whole panels, attention's output.
  int64_t widest = 0, widest_qkv = 0, widest_part = 0, widest_heads = 0;

  bool reads_all_tokens() const { return dense && !classifier; }
  int64_t position_rows() const { return relative_input.defined() ? relative_input.size(0) : 0; }
  kernels::HeadPositions positions_of(const Layer& layer, int64_t head) const;
};

/// Of one that is not there: that which changes nothing.
kernels::Norm norm_of(const NormWeight& norm, int64_t width);

/// Throws CheckpointError that names what is missing or does not fit.
Weights read_weights(EncoderState state);

/// The inverse.
EncoderState state_of(const Weights& weights);

}  // namespace compression::runtime
