#pragma once
// What a model is made of; with a shape per layer. families/model_config.h reads it from a config.json.

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/base/activation.h"  // Activation
#include "compress/spec/task.h"        // TaskType

namespace compression {

struct LayerShape {
  int64_t num_attention_heads = 12;
  int64_t intermediate_size = 3072;
  std::vector<int64_t> position_heads = {};  // RelativeAttention::bias: each head's column of the table; empty: all
  bool operator==(const LayerShape&) const = default;
};

/// How the weights of linear layers and of embedding tables are stored and used.
enum class WeightFormat { float32, float16, bfloat16, int8 };
constexpr std::array<std::pair<WeightFormat, std::string_view>, 4> enum_names(WeightFormat) {
  return {{{WeightFormat::float32, "fp32"},
           {WeightFormat::float16, "fp16"},
           {WeightFormat::bfloat16, "bf16"},
           {WeightFormat::int8, "int8"}}};
}

/// How the inputs of int8 linear layers are quantized. At run time: one scale for the whole tensor or one a token; or
/// with one scale a layer that was found before, from calibration texts.
enum class ActivationScheme { per_tensor, per_token, static_per_tensor };
/// Those of run time: a recipe asks for static ones by its scheme.
constexpr std::array<std::pair<ActivationScheme, std::string_view>, 2> enum_names(ActivationScheme) {
  return {{{ActivationScheme::per_tensor, "per_tensor"}, {ActivationScheme::per_token, "per_token"}}};
}

/// What attention knows of the distance between two tokens.
enum class RelativeAttention {
  none,
  bias,         // a number a head is added to the scores; all layers share the table (MPNet, arXiv 2004.09297)
  disentangled  // content and relative position attend to each other (DeBERTa, arXiv 2006.03654)
};

/// Where encoders differ from BERT's. The defaults are BERT's.
struct EncoderOptions {
  int64_t embedding_size = 0;         // columns of the embedding tables; 0: hidden_size
  bool embedding_projection = false;  // a linear layer makes hidden_size of them
  bool position_embeddings = true;    // of absolute positions
  /// A token's position is pad_token_id + n for the n-th that is not padding, and pad_token_id for padding.
  bool positions_after_padding = false;
  /// Layers of the same number have the same weights (ALBERT); numbers are in the order of their first use. Empty: each
  /// layer has its own.
  std::vector<int64_t> shared_layers = {};

  RelativeAttention relative = RelativeAttention::none;
  int64_t relative_rows = 0;     // of the table of relative positions
  int64_t bias_heads = 0;        // bias: columns of the table, the heads before any was pruned
  int64_t relative_range = 0;    // disentangled: distances that logarithmic buckets cover
  int64_t relative_buckets = 0;  // disentangled: 0: a row for each distance
  bool content_to_position = false, position_to_content = false;
  bool own_position_projections = false;  // else keys and queries of positions are made as those of the content
  bool relative_norm = false;             // the table goes through a LayerNorm
  /// Tokens of mask 0 have embeddings of 0 and see all others alike (DeBERTa). Only a text's first token has a use for
  /// that, for it is read whatever its mask is.
  bool masks_queries = false;

  bool operator==(const EncoderOptions&) const = default;
};

/// Where heads differ from BERT's: for one label a text, and for masked language modelling.
struct HeadOptions {
  Activation activation = Activation::tanh;       // after the dense layer
  std::optional<double> first_dropout = 0.0;      // before the dense layer; absent: as before the classifier
  std::optional<Activation> mlm_activation = {};  // of masked language modelling; absent: hidden_act

  bool operator==(const HeadOptions&) const = default;
};

/// How the hidden states of a text's tokens become one vector, by the names of sentence-transformers.
enum class Pooling { cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken };
constexpr std::array<std::pair<Pooling, std::string_view>, 6> enum_names(Pooling) {
  return {{{Pooling::cls, "cls"},
           {Pooling::max, "max"},
           {Pooling::mean, "mean"},
           {Pooling::mean_sqrt_len_tokens, "mean_sqrt_len_tokens"},
           {Pooling::weightedmean, "weightedmean"},
           {Pooling::lasttoken, "lasttoken"}}};
}

/// What is done to a pooled vector: a linear layer with an activation, or division by its norm.
struct EmbeddingStep {
  bool dense = false;  // the others are of it alone
  int64_t in = 0, out = 0;
  bool bias = true;
  Activation activation = Activation::none;

  bool operator==(const EmbeddingStep&) const = default;
};

/// A model for embedding, as sentence-transformers' modules behind the encoder say. The default is the mean, divided by
/// its norm.
struct EmbeddingOptions {
  std::vector<Pooling> pooling = {Pooling::mean};  // of several, the vectors follow each other
  std::vector<EmbeddingStep> steps = {EmbeddingStep{}};
  std::string unsupported = {};  // what of the modules we do not have, in words: a model for embedding is refused

  bool operator==(const EmbeddingOptions&) const = default;
};

struct ModelConfig {
  std::string model_type = "bert";
  int64_t vocab_size = 30522;
  int64_t hidden_size = 768;
  int64_t attention_head_size = 64;
  std::vector<LayerShape> layers = std::vector<LayerShape>(12);
  Activation hidden_act = Activation::gelu;
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  std::optional<double> classifier_dropout = {};  // hidden_dropout_prob if absent
  int64_t max_position_embeddings = 512;
  int64_t type_vocab_size = 2;
  double layer_norm_eps = 1e-12;
  double initializer_range = 0.02;
  int64_t pad_token_id = 0;
  TaskType task = headless_task;         // of the head
  std::vector<std::string> labels = {};  // names of the classes or tags, by id; empty for tasks that have none

  EncoderOptions encoder = {};
  HeadOptions head = {};
  EmbeddingOptions embedding = {};  // not of config.json: model_folder/sentence_transformers.h

  WeightFormat linear_format = WeightFormat::float32;
  /// Names in the checkpoint of linear layers that stay float32 beside int8 ones.
  std::vector<std::string> unquantized = {};
  WeightFormat embedding_format = WeightFormat::float32;
  ActivationScheme activations = ActivationScheme::per_token;  // of int8 linear layers

  nlohmann::json source = nullptr;  // config.json as it was read: keys that we do not use are written back

  int64_t embedding_size() const { return encoder.embedding_size == 0 ? hidden_size : encoder.embedding_size; }

  /// Tokens of the longest text.
  int64_t max_length() const {
    return max_position_embeddings - (encoder.positions_after_padding ? pad_token_id + 1 : 0);
  }

  /// Numbers of a text's vector: pooled, and as a model for embedding gives it.
  int64_t pooled_width() const { return static_cast<int64_t>(embedding.pooling.size()) * hidden_size; }
  int64_t embedding_width() const;

  /// The first layer that has the weights of layer `i`: itself, unless they are shared.
  size_t first_use(size_t i) const;

  bool operator==(const ModelConfig&) const = default;
};

/// How ALBERT says which layers share weights: `groups` of `inner` layers each; `repeats` times, a group's layers
/// follow each other, and the repeats are dealt out to the groups evenly.
struct LayerGroups {
  int64_t repeats = 1, groups = 1, inner = 1;
};

/// Throws UnsupportedError if no such groups give the config's shared_layers.
LayerGroups layer_groups(const ModelConfig& config);

/// The inverse: the weights of each layer.
std::vector<int64_t> shared_layers(const LayerGroups& groups);

/// Numbers in the tensors of the embeddings, the layers and the head, without biases and norms.
double weight_count(const ModelConfig& config);

}  // namespace compression
