#pragma once
// What a model is made of, as config.json says it; with a shape per layer.

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace compression {

struct LayerShape {
  int64_t num_attention_heads = 12;
  int64_t intermediate_size = 3072;
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

/// How the inputs of int8 linear layers are quantized, at run time: one scale for the whole tensor or one a token.
enum class ActivationScheme { per_tensor, per_token };
constexpr std::array<std::pair<ActivationScheme, std::string_view>, 2> enum_names(ActivationScheme) {
  return {{{ActivationScheme::per_tensor, "per_tensor"}, {ActivationScheme::per_token, "per_token"}}};
}

struct ModelConfig {
  std::string model_type = "bert";
  int64_t vocab_size = 30522;
  int64_t hidden_size = 768;
  int64_t attention_head_size = 64;
  std::vector<LayerShape> layers = std::vector<LayerShape>(12);
  std::string hidden_act = "gelu";  // gelu | gelu_new | gelu_pytorch_tanh | relu
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  std::optional<double> classifier_dropout = {};  // hidden_dropout_prob if absent
  int64_t max_position_embeddings = 512;
  int64_t type_vocab_size = 2;
  double layer_norm_eps = 1e-12;
  double initializer_range = 0.02;
  int64_t pad_token_id = 0;
  std::vector<std::string> labels = {};  // names of the classes, by id; empty for a model without a head

  WeightFormat linear_format = WeightFormat::float32;
  WeightFormat embedding_format = WeightFormat::float32;
  ActivationScheme activations = ActivationScheme::per_token;  // of int8 linear layers

  nlohmann::json source = nullptr;  // config.json as it was read: keys that we do not use are written back

  bool operator==(const ModelConfig&) const = default;
};

/// Reads a config.json. `file` is named in messages. Accepts the usual Hugging Face fields and "compress"
/// (docs/artifact.md). A classifier without id2label has the labels LABEL_0 and LABEL_1: transformers does not write
/// its defaults. Throws CheckpointError (missing or ill-typed field, sizes that do not fit), UnsupportedError (another
/// model type, activation, position embedding, problem type or quantization).
ModelConfig read_model_config(const nlohmann::json& json, const std::string& file);

/// The inverse. The usual heads and intermediate size stay those of config.source; where a layer differs from them,
/// "compress" holds the shapes. It also names 16-bit weights and the format of the embeddings; int8 linear layers make
/// a quantization_config in the compressed-tensors convention. `activations` is kept for int8 only.
nlohmann::json write_model_config(const ModelConfig& config);

}  // namespace compression
