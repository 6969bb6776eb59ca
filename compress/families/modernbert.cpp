#include <algorithm>
#include <vector>

#include "compress/base/json_file.h"          // excerpt
#include "compress/base/limits.h"             // positions
#include "compress/families/config_fields.h"  // FamilyFields
#include "compress/families/family.h"         // Family

namespace compression {
namespace {

using nlohmann::json;

std::vector<BlockSpec> blocks() {
  auto blocks = blocks_of(22, 12, 1152);
  for (auto& block : blocks) {
    block.attention.positions = Positions::rotary;
    block.attention.bias = block.attention.output_bias = false;
    block.mlp.gated = true;
    block.mlp.bias = false;
    block.norm = {.eps = 1e-5, .bias = false};
    block.place = NormPlace::before;
  }
  return blocks;
}

void read_blocks(const FamilyFields& family_fields, ModelConfig& config) {
  const auto& fields = family_fields.all();
  const auto local = read_local_layers(fields, config.layers.size(), [&](size_t i) {
    return static_cast<int64_t>(i) % fields.integer_or(3, "global_attn_every_n_layers", 1, limits::layers) != 0;
  });
  const auto window = fields.integer_or(128, "local_attention", 2, limits::positions) / 2;
  // Without a base of their own local layers have that of the others: so says null, and not a key that is absent.
  const auto& json = fields.value();
  const bool shares_base = json.contains("local_rope_theta") && json.at("local_rope_theta").is_null();
  auto bases =
      read_rotary_bases(fields, "local_rope_theta", "global_rope_theta", {.local = 10000.0, .global = 160000.0});
  if (shares_base && !fields.find("rope_parameters")) bases.local = bases.global;
  const bool attention_bias = fields.flag_or(false, "attention_bias"), mlp_bias = fields.flag_or(false, "mlp_bias");
  config.norm.bias = fields.flag_or(false, "norm_bias");
  for (size_t i = 0; i < config.layers.size(); ++i) {
    auto& block = config.layers[i];
    block.norm = config.norm;
    block.attention_norm = i > 0;  // the first block reads what the embeddings' norm made
    block.attention.window = local[i] ? window : 0;
    block.attention.rotary_base = local[i] ? bases.local : bases.global;
    block.attention.bias = block.attention.output_bias = attention_bias;
    block.mlp.bias = mlp_bias;
  }
  for (const auto* key : {"decoder_bias", "tie_word_embeddings"}) fields.require_if_given(key, true);
  config.head.dense_bias = fields.flag_or(false, "classifier_bias");
  config.head.activation = family_fields.activation("classifier_activation", config.head.activation);
  config.head.mlm_activation = config.head.activation;
  const auto pooling = fields.text_or("cls", "classifier_pooling");
  if (pooling != "cls" && pooling != "mean")
    fields.fail_unsupported("classifier_pooling", excerpt(pooling), "cls, mean");
  config.head.mean = pooling == "mean";
}

void write_blocks(const ModelConfig& config, json& out) {
  int64_t window = 0;
  for (const auto& block : config.layers) window = std::max(window, block.attention.window);
  const auto& first = config.layers.front();
  out.erase("global_attn_every_n_layers");
  write_local_layers(config, out);
  write_rotary_bases(config, out);
  if (window > 0) out["local_attention"] = 2 * window;
  out["norm_bias"] = config.norm.bias;
  out["attention_bias"] = first.attention.bias;
  out["mlp_bias"] = first.mlp.bias;
  out["classifier_bias"] = config.head.dense_bias;
  out["classifier_activation"] = activation_name(out, "classifier_activation", config.head.activation);
  out["classifier_pooling"] = config.head.mean ? "mean" : "cls";
}

}  // namespace

/// Rotary positions, norms before attention and FFN, gated FFNs, and attention to all tokens in some blocks, to those
/// near by in the others (arXiv 2412.13663).
Family modernbert() {
  const std::vector<OtherName> classifier{
      {"head.dense", "head.dense"}, {"head.LayerNorm", "head.norm"}, {"head.classifier", "classifier"}};
  return {.model_type = "modernbert",
          .class_prefix = "ModernBert",
          .base = "model",
          .defaults = {.model_type = "modernbert",
                       .vocab_size = 50368,
                       .max_position_embeddings = 8192,
                       .type_vocab_size = 0,
                       .pad_token_id = 50283,
                       .input = {.positions = false},
                       .norm = {.eps = 1e-5, .bias = false},
                       .layers = blocks(),
                       .final_norm = true,
                       .hidden_dropout_prob = 0.0,
                       .attention_probs_dropout_prob = 0.0,
                       .classifier_dropout = 0.0,
                       .head = {.activation = Activation::gelu, .dense_bias = false, .norm = true}},
          .keys = {{"hidden_act", "hidden_activation"},
                   {"hidden_dropout_prob", "embedding_dropout"},
                   {"attention_probs_dropout_prob", "attention_dropout"},
                   {"layer_norm_eps", "norm_eps"},
                   {"type_vocab_size", ""}},
          .read = read_blocks,
          .write = write_blocks,
          .layer = "layers.{}",
          .layer_modules = {{"attention.self.query", "attn.Wqkv.query"},
                            {"attention.self.key", "attn.Wqkv.key"},
                            {"attention.self.value", "attn.Wqkv.value"},
                            {"attention.output.dense", "attn.Wo"},
                            {"attention.output.LayerNorm", "attn_norm"},
                            {"intermediate.dense", "mlp.Wi.input"},
                            {"intermediate.gate", "mlp.Wi.gate"},
                            {"output.dense", "mlp.Wo"},
                            {"output.LayerNorm", "mlp_norm"}},
          .joined = {{"attn.Wqkv", {"attn.Wqkv.query", "attn.Wqkv.key", "attn.Wqkv.value"}},
                     {"mlp.Wi", {"mlp.Wi.input", "mlp.Wi.gate"}}},
          .modules = {{"bert.embeddings.word_embeddings", "model.embeddings.tok_embeddings"},
                      {"bert.embeddings.LayerNorm", "model.embeddings.norm"},
                      {"bert.encoder.LayerNorm", "model.final_norm"}},
          .sequence_head = classifier,
          .tokens_head = classifier,
          .spans_head = classifier,
          .mlm_head = {{"head", "decoder"},
                       {"head.dense", "head.dense"},
                       {"head.LayerNorm", "head.norm"},
                       {"head.decoder", "decoder"}}};
}

}  // namespace compression
