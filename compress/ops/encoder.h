#pragma once
// A transformer encoder with its head in one object, for inference on a CPU: weights packed for the machine, padding
// left out, buffers kept from call to call. What a model.pt of the fused runtime holds (docs/artifact.md).

#include <torch/types.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "compress/ops/int16_attention.h"  // Int16Head
#include "compress/ops/linear.h"           // LinearWeight, Norm
#include "compress/ops/team.h"             // Member

namespace compression::ops {

/// All that an Encoder is made of, by name. `numbers`:
///   format           1
///   layers           how many; layer.N.weights is the layer whose weights N has: itself, or an earlier one
///   head_size        columns of a head
///   score_scale      what attention scores are multiplied by
///   eps              of LayerNorm
///   max_length       tokens of the longest text
///   padding_position -1, or the id of padding, which positions count from
///   masks_queries    may be absent; 1: a text whose first token has the mask 0 is refused, since that token would not
///                    attend as the others do
///   content_to_position, position_to_content  may be absent; 1: scores have that term of relative.table (DeBERTa)
///   function         an Activation: after the intermediate layer; head.function: after the head's dense layer
/// `tensors`, those of linear layers being NAME.weight (int8, bfloat16, float16 or float32 [out, in]), NAME.bias and,
/// of int8, NAME.weight_scale (float32 [out]) and, where activations have a scale that is known before,
/// NAME.input_scale (float32 [1], the same for the three that read one input); of tables NAME.weight and, of int8,
/// NAME.weight_scale [rows, 1]:
///   embeddings.word, .position, .token_type (the last two may be absent), embeddings.norm; embeddings.projection, if
///   the layers are wider; layer.N.query, .key, .value, .attention_output, .attention_norm, .intermediate, .output,
///   .output_norm; layer.N.position_bias (float32 [heads, 2 max_length - 1], may be absent): what is added to the score
///   of a query and a key at max_length - 1 + key - query; relative.table (float32 [rows, hidden]), relative.rows
///   (int32 [2 max_length - 1], never ascending): the table's row of a query and a key, at that place, and
///   relative.norm, if rows are normalised; layer.N.position_key, .position_query, where rows have projections of their
///   own and not those of keys and queries; head.dense and head.classifier, of a head that reads first tokens;
///   head.dense alone ([the embeddings' width, hidden]), of one that reads all of them.
struct EncoderState {
  c10::Dict<std::string, at::Tensor> tensors;
  c10::Dict<std::string, double> numbers;
};

class Encoder {
 public:
  /// Throws c10::Error that names what is missing or does not fit.
  explicit Encoder(const EncoderState& state);
  ~Encoder();

  /// The inverse.
  EncoderState state() const;

  /// [batch, sequence] each: ids and types are integers, of the mask what is not 0 counts. A token whose mask is 0 is
  /// no key for the others, wherever it is, and others keep their places: so it is left out, except a text's first,
  /// whose output is what is asked for. Where the mask is 0 throughout, all columns count alike. float32 [batch,
  /// classes]; without a head [batch, hidden], the last layer's output for the first tokens. Any number of threads may
  /// call it. What the process has set (default dtype, autocast, gradients, rounding) changes nothing.
  at::Tensor forward(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                     const at::Tensor& token_type_ids) const;

  /// float32 [batch, sequence, hidden], the last layer's output, or [batch, sequence, width] where the head is a dense
  /// layer alone: what comes behind its function. Zero where the mask is.
  at::Tensor last_hidden_state(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                               const at::Tensor& token_type_ids) const;

 private:
  struct Table {
    at::Tensor weight, scale;
    bool present() const { return weight.defined(); }
    void add(int64_t row, float* to) const;  // to[i] += weight[row][i]
  };
  struct NormWeight {
    at::Tensor gamma, beta;
  };
  struct Layer {
    int64_t heads = 0, part = 0;  // part: columns of the queries in `qkv`, whole panels; keys and values follow
    LinearWeight qkv, attention_output, intermediate, output;
    NormWeight attention_norm, output_norm;
    at::Tensor position_bias;
    /// The table's rows as keys and as queries, a head after the other (pack_int16_rows), and the projections of their
    /// own that made them.
    struct Rows {
      std::unique_ptr<LinearWeight> own;
      Buffer<uint32_t> words;
      std::vector<float> step;  // [heads]
    };
    Rows position_key, position_query;
  };
  struct Batch;
  struct Group;
  struct Space;
  class Pass;

  at::Tensor run(const at::Tensor& input_ids, const at::Tensor& attention_mask, const at::Tensor& token_type_ids,
                 bool all_tokens) const;
  std::unique_ptr<Space> take_space() const;
  Norm norm_of(const NormWeight& norm) const;
  void make_rows(const LinearWeight& projection, int64_t column, const Layer& layer, Layer::Rows& rows) const;
  bool reads_all_tokens() const { return dense_ && !classifier_; }
  int64_t position_rows() const { return relative_input_.defined() ? relative_input_.size(0) : 0; }
  Int16Positions positions_of(const Layer& layer, int64_t head) const;

  c10::Dict<std::string, double> numbers_;
  Table word_, position_, token_type_;
  NormWeight embedding_norm_, relative_norm_;
  at::Tensor relative_table_, relative_rows_, relative_input_;  // may be undefined; the last: the table, normalised
  bool content_to_position_ = false, position_to_content_ = false;
  std::unique_ptr<LinearWeight> projection_, dense_, classifier_;  // may be null
  std::vector<std::shared_ptr<const Layer>> layers_;
  bool masks_queries_ = false;
  int64_t embedding_size_ = 0, hidden_ = 0, head_size_ = 0, max_length_ = 0, padding_position_ = -1;
  float eps_ = 0.0f, score_scale_ = 1.0f;
  Activation function_ = Activation::gelu, head_function_ = Activation::tanh;
  int64_t stride_ = 0, inner_stride_ = 0;  // words of a row of any product's input; of the inner products'
  int64_t widest_ = 0, widest_part_ = 0, widest_heads_ = 0;  // over layers: intermediate, part, heads * head_size

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Space>> spaces_;  // not in use
};

}  // namespace compression::ops
