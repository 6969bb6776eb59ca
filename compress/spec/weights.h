#pragma once
// The weights of a network, from its description: names, shapes, and what each axis counts. Whatever cuts, widens,
// counts or compares weights follows these labels; nothing else knows a weight by its name.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compress/spec/config.h"  // ModelConfig

namespace compression {

/// What an axis of a weight counts. Axes of one label (and, of heads and units, of one block) have the same features in
/// the same order: who cuts one cuts all.
enum class Label {
  vocabulary,
  places,       // rows of the table of absolute positions
  segments,     // rows of the table of token types
  distances,    // rows of the table of relative positions
  all_heads,    // columns of that table, one for each head before any was pruned
  embedding,    // features of the tables
  hidden,       // features of the residual
  heads,        // of a block, head_size features each
  kv_heads,     // the same of keys and values, where heads share them
  cross_heads,  // of its cross-attention
  cross_kv_heads,
  head_size,  // features of one head
  units,      // of a block's FFN
  classes,    // what the head tells apart
  step        // between two layers of a head for embedding
};

struct Axis {
  Label label;
  int64_t size = 0;     // features
  int64_t width = 1;    // features a unit
  int64_t repeats = 1;  // how many times all features follow each other
};

/// What a weight is for in its block, or in the network.
enum class Role {
  words,
  places,
  segments,
  input_norm,
  input_projection,
  relative_table,
  relative_norm,
  query,
  key,
  value,
  position_key,
  position_query,
  query_norm,
  key_norm,
  attention_output,
  attention_norm,
  attention_result_norm,  // NormPlace::both
  cross_query,
  cross_key,
  cross_value,
  cross_output,
  cross_norm,
  cross_result_norm,
  gate,
  up,
  down,
  mlp_norm,
  mlp_result_norm,
  final_norm,
  language_head,
  head_dense,
  head_step,  // of a head for embedding; stays float32, as classifiers do
  head_norm,
  head_bias,
  classifier
};

struct WeightSpec {
  std::string name;  // as our modules have it: "bert.encoder.layer.0.attention.self.query.weight"
  Role role;
  int64_t block = -1;                 // those of the decoder behind those of the first stack; -1: of no block
  bool bias = false;                  // else a matrix, a table, or the factors of a norm
  std::vector<Axis> axes;             // of a matrix: out, in
  std::optional<NormSpec> norm = {};  // that it is a weight of

  bool is_norm() const { return norm.has_value(); }
  bool is_table() const;   // of the input's embeddings
  bool is_linear() const;  // the matrix of a linear layer that quantization changes
  double count() const;    // numbers in it
};

/// Every float32 weight, in the order of computing; those that layers share once.
std::vector<WeightSpec> weights(const ModelConfig& config);

/// The weights of one of its blocks, by their names in it: "attention.self.query.weight".
std::vector<WeightSpec> block_weights(const ModelConfig& config, const BlockSpec& block);

/// A module that weights of one role are: a linear layer, a norm or a table, which may have a bias.
struct ModuleSpec {
  std::string name;  // "attention.self.query"
  Role role;
  std::vector<Axis> axes;
  bool bias = false;
  std::optional<NormSpec> norm = {};
};

/// The modules that the weights are of, in their order. One that is a bias alone is none.
std::vector<ModuleSpec> modules_of(const std::vector<WeightSpec>& weights);

/// Numbers in all of them. A double: sizes that a file gives may make more than an integer holds.
double number_count(const ModelConfig& config);

/// `config` with another hidden size; embedding tables of the same width follow, and the linear layer that reads the
/// pooled vector.
ModelConfig with_hidden_size(ModelConfig config, int64_t hidden_size);

}  // namespace compression
