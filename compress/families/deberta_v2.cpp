#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "compress/base/json_file.h"          // excerpt
#include "compress/base/limits.h"             // rows
#include "compress/families/config_fields.h"  // FamilyFields
#include "compress/families/family.h"         // Family

namespace compression {
namespace {

/// transformers' config class has some of these keys as arguments that it does not list.
void read_disentangled(const FamilyFields& family_fields, ModelConfig& config) {
  const auto& fields = family_fields.all();
  auto& relative = config.relative;
  config.input.positions = fields.flag_or(true, "position_biased_input");
  for (const auto& [key, supported] :
       {std::pair("embedding_size", config.hidden_size), std::pair("pooler_hidden_size", config.hidden_size),
        std::pair("attention_head_size", config.attention_head_size()), std::pair("conv_kernel_size", int64_t{0})}) {
    fields.require_if_given(key, supported);
  }
  config.head.first_dropout = fields.real_or(0.0, "pooler_dropout", 0, 1);
  config.head.activation = family_fields.activation("pooler_hidden_act", config.head.activation, Activation::tanh);

  std::vector<std::string> kinds;
  if (const nlohmann::json* types = fields.find("pos_att_type"); types && types->is_array()) {
    for (const auto& type : *types) kinds.push_back(type.is_string() ? type.get<std::string>() : type.dump());
  } else if (types) {
    std::string text = fields.text("pos_att_type");
    for (size_t end = 0; !text.empty(); text.erase(0, end == std::string::npos ? end : end + 1)) {
      end = text.find('|');
      kinds.push_back(text.substr(0, end));
    }
  }
  for (const auto& kind : kinds) {
    if (kind != "c2p" && kind != "p2c") fields.fail_unsupported("pos_att_type", excerpt(kind), "c2p, p2c");
    (kind == "c2p" ? relative.content_to_position : relative.position_to_content) = true;
  }
  if (!fields.flag_or(false, "relative_attention")) {
    if (!kinds.empty()) fields.fail_unsupported("relative_attention", "false, with pos_att_type", "true with it");
    return;
  }
  for (auto& layer : config.layers) layer.attention.positions = Positions::disentangled;
  relative.own_projections = !fields.flag_or(false, "share_att_key") && !kinds.empty();
  const auto norm = fields.text_or("none", "norm_rel_ebd");
  if (norm != "none" && norm != "layer_norm") {
    fields.fail_unsupported("norm_rel_ebd", excerpt(norm), "none, layer_norm");
  }
  relative.norm = norm == "layer_norm";
  relative.range = fields.integer_or(-1, "max_relative_positions", -1, limits::rows);
  if (relative.range < 1) relative.range = config.max_position_embeddings;
  relative.buckets = std::max<int64_t>(fields.integer_or(0, "position_buckets", -1, limits::rows), 0);
  // The buckets beyond the middle divide the logarithms of the distances from there to the range.
  if (relative.buckets == 1 || (relative.buckets > 0 && relative.range - 1 <= relative.buckets / 2)) {
    fields.fail_unsupported("position_buckets", std::to_string(relative.buckets),
                            fmt::format("from 2 to less than twice the range of positions, {}", relative.range));
  }
  relative.rows = 2 * (relative.buckets > 0 ? relative.buckets : relative.range);
}

/// The inverse. Keys that say the same in another way stay as the source has them.
void write_disentangled(const ModelConfig& config, nlohmann::json& out) {
  for (const auto* key : {"embedding_size", "pooler_hidden_size"}) {
    if (out.contains(key)) out[key] = config.hidden_size;
  }
  if (out.contains("attention_head_size")) out.erase("attention_head_size");  // hidden_size / heads, or of compress
  const auto put = [&](const char* key, const nlohmann::json& value, const nlohmann::json& default_value) {
    if (out.contains(key) || value != default_value) out[key] = value;
  };
  const auto& relative = config.relative;
  const bool disentangled = config.positions() == Positions::disentangled;
  put("position_biased_input", config.input.positions, true);
  put("pooler_dropout", config.head.first_dropout.value_or(0.0), 0.0);
  put("pooler_hidden_act", activation_name(out, "pooler_hidden_act", config.head.activation),
      activation_name(nlohmann::json::object(), "pooler_hidden_act", Activation::gelu));
  put("relative_attention", disentangled, false);
  if (!disentangled || out.contains("pos_att_type")) return;
  out["pos_att_type"] = nlohmann::json::array();
  if (relative.content_to_position) out["pos_att_type"].push_back("c2p");
  if (relative.position_to_content) out["pos_att_type"].push_back("p2c");
  put("share_att_key", !relative.own_projections, false);
  put("norm_rel_ebd", relative.norm ? "layer_norm" : "none", "none");
  put("max_relative_positions", relative.range, -1);
  put("position_buckets", relative.buckets, 0);
}

}  // namespace

/// Disentangled attention: content and relative position attend to each other.
Family deberta_v2() {
  return {.model_type = "deberta-v2",
          .class_prefix = "DebertaV2",
          .base = "deberta",
          .defaults = {.model_type = "deberta-v2",
                       .vocab_size = 128100,
                       .type_vocab_size = 0,
                       .hidden_size = 1536,
                       .input = {.masks_queries = true},
                       .norm = {.eps = 1e-7},
                       .layers = blocks_of(24, 24, 6144),
                       .head = {.activation = Activation::gelu}},
          .keys = {{"classifier_dropout", "cls_dropout"}},
          .read = read_disentangled,
          .write = write_disentangled,
          .layer_modules = {{"attention.self.query", "attention.self.query_proj"},
                            {"attention.self.key", "attention.self.key_proj"},
                            {"attention.self.value", "attention.self.value_proj"},
                            {"attention.self.position_key", "attention.self.pos_key_proj"},
                            {"attention.self.position_query", "attention.self.pos_query_proj"}},
          .modules = {{"bert.encoder.relative.table", "deberta.encoder.rel_embeddings"},
                      {"bert.encoder.relative.LayerNorm", "deberta.encoder.LayerNorm"}},
          .sequence_head = {{"head.dense", "pooler.dense"}, {"head.classifier", "classifier"}},
          .mlm_head = {{"head", "cls.predictions"},
                       {"head.dense", "cls.predictions.transform.dense"},
                       {"head.LayerNorm", "cls.predictions.transform.LayerNorm"},
                       {"head.decoder", "cls.predictions.decoder"}},
          .not_ours = {"deberta.embeddings.position_embeddings.", "cls.", "lm_predictions.", "mask_predictions."},
          .tokenizers = {{"DebertaV2",
                          TokenizerRules::unigram_spaces,
                          {"[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "[CLS]", "[SEP]"},
                          "deberta-v2",
                          "spm.model"}}};
}

}  // namespace compression
