#pragma once
// What a model is made of. families/model_config.h reads it from a config.json.

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/base/activation.h"     // Activation
#include "compress/base/weight_format.h"  // WeightFormat
#include "compress/spec/block.h"          // BlockSpec, NormSpec
#include "compress/spec/sparsity.h"       // SparsityPattern
#include "compress/spec/task.h"           // TaskType

namespace compression {

/// How the inputs of int8 linear layers are quantized. At run time: one scale for the whole tensor or one a token; or
/// with one scale a layer that was found before, from calibration texts.
enum class ActivationScheme { per_tensor, per_token, static_per_tensor };
/// Those of run time: a recipe asks for static ones by its scheme.
constexpr std::array<std::pair<ActivationScheme, std::string_view>, 2> enum_names(ActivationScheme) {
  return {{{ActivationScheme::per_tensor, "per_tensor"}, {ActivationScheme::per_token, "per_token"}}};
}

/// What becomes the first block's input: words, positions and segments, summed and normalised. The defaults are BERT's.
struct InputSpec {
  int64_t embedding_size = 0;  // columns of the tables; 0: hidden_size
  bool projection = false;     // a linear layer makes hidden_size of them
  bool positions = true;       // a table of absolute positions
  /// A token's position is pad_token_id + n for the n-th that is not padding, and pad_token_id for padding.
  bool positions_after_padding = false;
  int64_t first_position = 0;  // else: the row of a text's first token
  bool scaled = false;         // words are multiplied by the square root of their width
  bool norm = true;
  /// Tokens of mask 0 have embeddings of 0 and see all others alike (DeBERTa). Only a text's first token has a use for
  /// that, for it is read whatever its mask is.
  bool masks_queries = false;

  bool operator==(const InputSpec&) const = default;
};

/// The table of what attention knows of distances, which all blocks share: Positions::bias and disentangled.
struct RelativeSpec {
  int64_t rows = 0;
  int64_t heads = 0;    // bias, alibi: columns of the table, or slopes: the heads before any was pruned
  int64_t range = 0;    // disentangled: distances that logarithmic buckets cover
  int64_t buckets = 0;  // disentangled: 0: a row for each distance
  bool content_to_position = false, position_to_content = false;
  bool own_projections = false;  // else keys and queries of positions are made as those of the content
  bool norm = false;             // the table goes through a LayerNorm

  /// That are added up in the scores: content with content, and what of positions there is.
  int64_t terms() const { return 1 + (content_to_position ? 1 : 0) + (position_to_content ? 1 : 0); }

  bool operator==(const RelativeSpec&) const = default;
};

/// Where heads differ from BERT's: for one label a text, and for masked language modelling.
struct HeadOptions {
  Activation activation = Activation::tanh;   // after the dense layer
  std::optional<double> first_dropout = 0.0;  // before the dense layer; absent: as before the classifier
  bool dense_bias = true;
  bool norm = false;  // behind the activation; token heads have dense layer and norm then too
  bool mean = false;  // for one label a text: the tokens' mean, in place of the first
  std::optional<Activation> mlm_activation = {};  // of masked language modelling; absent: hidden_act

  bool operator==(const HeadOptions&) const = default;
};

/// What makes logits of the next word of the last stack's states: its own matrix, or that of the words it reads.
enum class LanguageHead { none, tied, own };

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

/// A network and its head: the one description from which its modules, its packed form, its TorchScript, its weights
/// (weights.h) and its cost (cost.h) are made. The defaults are BERT's.
struct ModelConfig {
  std::string model_type = "bert";
  int64_t vocab_size = 30522;
  int64_t max_position_embeddings = 512;
  int64_t type_vocab_size = 2;
  int64_t pad_token_id = 0;
  int64_t hidden_size = 768;
  InputSpec input = {};
  NormSpec norm = {};  // of the input, of the stack's end and of the head
  RelativeSpec relative = {};
  std::vector<BlockSpec> layers = std::vector<BlockSpec>(12);
  /// Layers of the same number have the same weights (ALBERT); numbers are in the order of their first use. Empty: each
  /// layer has its own.
  std::vector<int64_t> shared_layers = {};
  bool final_norm = false;  // behind the last block of each stack
  /// Blocks of a second stack, which attend to what the first gives (BlockSpec::cross). Its input is as the first's,
  /// with tables and norm of its own, but for the words: both read one table. Empty: there is one stack.
  std::vector<BlockSpec> decoder = {};
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  std::optional<double> classifier_dropout = {};  // hidden_dropout_prob if absent
  double initializer_range = 0.02;

  LanguageHead language_head = LanguageHead::none;  // of a decoder, whose task is none of those below
  double logit_cap = 0.0;                           // not 0: its logits are logit_cap tanh(logit / logit_cap)
  TaskType task = headless_task;                    // of the head
  std::vector<std::string> labels = {};  // names of the classes or tags, by id; empty for tasks that have none
  HeadOptions head = {};
  EmbeddingOptions embedding = {};  // not of config.json: model_files/sentence_modules.h

  WeightFormat linear_format = WeightFormat::float32;
  /// Names in the checkpoint of linear layers that stay float32 beside int8 ones.
  std::vector<std::string> unquantized = {};
  WeightFormat embedding_format = WeightFormat::float32;
  ActivationScheme activations = ActivationScheme::per_token;  // of int8 linear layers

  /// The pattern that the zeros of the blocks' matrices are in; training holds them. Absent: the matrices are dense.
  std::optional<SparsityPattern> sparsity = {};

  nlohmann::json source = nullptr;  // config.json as it was read: keys that we do not use are written back

  int64_t embedding_size() const { return input.embedding_size == 0 ? hidden_size : input.embedding_size; }

  /// What all layers' attention knows of distances.
  Positions positions() const { return layers.empty() ? Positions::none : layers.front().attention.positions; }
  int64_t attention_head_size() const { return layers.empty() ? 0 : layers.front().attention.head_size; }
  Activation hidden_act() const { return layers.empty() ? Activation::gelu : layers.front().mlp.activation; }

  /// Tokens of the longest text.
  int64_t max_length() const {
    return max_position_embeddings - (input.positions_after_padding ? pad_token_id + 1 : input.first_position);
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

/// `config` of these of its layers alone, in their order. Throws UnsupportedError as layer_groups().
ModelConfig with_layers(const ModelConfig& config, const std::vector<int64_t>& layers);

/// The sizes of the largest of each kind among the blocks, in the first block otherwise.
BlockSpec largest_block(const ModelConfig& config);

}  // namespace compression
