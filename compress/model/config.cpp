#include "compress/model/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <set>

#include "compress/checkpoint/json_file.h"   // excerpt
#include "compress/checkpoint/name_table.h"  // require_supported_model_type
#include "compress/workflow/error.h"         // CheckpointError, UnsupportedError
#include "compress/workflow/fields.h"        // enum_name

namespace compression {
namespace {

using nlohmann::json;

// No encoder comes near these; a hostile config must not make us allocate what the machine does not have.
constexpr int64_t most_layers = 1024;
constexpr int64_t widest = 65536;  // hidden size, heads times their size
constexpr int64_t most_rows = int64_t{1} << 31;
constexpr int64_t most_labels = int64_t{1} << 20;
constexpr int64_t most_parameters = int64_t{1} << 34;

constexpr int64_t format_version = 1;
constexpr std::string_view head_architecture = "ForSequenceClassification";

/// Reads the members of one object of the file; null counts as absent. Messages name file and key path.
class Fields {
 public:
  Fields(const json& object, std::string file, std::string prefix = "")
      : object_(object), file_(std::move(file)), prefix_(std::move(prefix)) {
    if (!object.is_object()) {
      throw CheckpointError(fmt::format("{}{}: found {}, expected an object", file_,
                                        prefix_.empty() ? "" : ": " + prefix_.substr(0, prefix_.size() - 1),
                                        excerpt(object)));
    }
  }

  const json* find(const std::string& key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  const json& required(const std::string& key, std::string_view expected) const {
    if (const json* value = find(key)) return *value;
    fail(key, "nothing", expected);
  }

  int64_t integer(const std::string& key, int64_t least, int64_t most) const {
    const auto expected = fmt::format("a whole number from {} to {}", least, most);
    const json& value = required(key, expected);
    const bool fits = value.is_number_integer() &&
                      !(value.is_number_unsigned() && value.get<uint64_t>() > std::numeric_limits<int64_t>::max()) &&
                      value.get<int64_t>() >= least && value.get<int64_t>() <= most;
    if (!fits) fail(key, excerpt(value), expected);
    return value.get<int64_t>();
  }
  int64_t integer_or(int64_t fallback, const std::string& key, int64_t least, int64_t most) const {
    return find(key) ? integer(key, least, most) : fallback;
  }

  double real_or(double fallback, const std::string& key, double least, double most) const {
    const json* value = find(key);
    if (!value) return fallback;
    if (!value->is_number() || value->get<double>() < least || value->get<double>() > most) {
      fail(key, excerpt(*value), fmt::format("a number from {} to {}", least, most));
    }
    return value->get<double>();
  }

  std::string text(const std::string& key) const {
    const json& value = required(key, "a string");
    if (!value.is_string()) fail(key, excerpt(value), "a string");
    return value.get<std::string>();
  }
  std::string text_or(const std::string& fallback, const std::string& key) const {
    return find(key) ? text(key) : fallback;
  }

  bool flag_or(bool fallback, const std::string& key) const {
    const json* value = find(key);
    if (value && !value->is_boolean()) fail(key, excerpt(*value), "true or false");
    return value ? value->get<bool>() : fallback;
  }

  const json& array(const std::string& key) const {
    const json& value = required(key, "an array");
    if (!value.is_array()) fail(key, excerpt(value), "an array");
    return value;
  }

  Fields object(const std::string& key) const { return {required(key, "an object"), file_, prefix_ + key + "."}; }
  Fields element(const std::string& key, size_t index) const {
    return {array(key)[index], file_, fmt::format("{}{}[{}].", prefix_, key, index)};
  }

  /// The program supports this value only.
  void require(const std::string& key, const json& supported) const {
    const json& value = required(key, supported.dump());
    if (value != supported) fail_unsupported(key, excerpt(value), supported.dump());
  }

  void allow_only(const std::set<std::string>& keys) const {
    for (const auto& [key, value] : object_.items()) {
      if (!keys.contains(key)) fail(excerpt(json(key)), excerpt(value), fmt::format("only {}", fmt::join(keys, ", ")));
    }
  }

  [[noreturn]] void fail(std::string_view key, std::string_view found, std::string_view expected) const {
    throw CheckpointError(fmt::format("{}: found {}, expected {}", where(key), found, expected));
  }
  [[noreturn]] void fail_unsupported(std::string_view key, std::string_view found, std::string_view supported) const {
    throw UnsupportedError(fmt::format("{}: found {}, supported: {}", where(key), found, supported));
  }

  std::string where(std::string_view key) const { return fmt::format("{}: {}{}", file_, prefix_, key); }

  const json& value() const { return object_; }

 private:
  const json& object_;
  std::string file_, prefix_;
};

void refuse_unsupported_features(const Fields& fields) {
  if (const auto type = fields.text_or("absolute", "position_embedding_type"); type != "absolute") {
    fields.fail_unsupported("position_embedding_type", excerpt(type), "absolute");
  }
  for (const char* key : {"is_decoder", "add_cross_attention"}) {
    if (fields.flag_or(false, key)) fields.fail_unsupported(key, "true", "false");
  }
  if (const json* heads = fields.find("pruned_heads"); heads && !heads->empty()) {
    fields.fail_unsupported("pruned_heads", excerpt(*heads),
                            "none; shapes of pruned layers are read from compress.layers");
  }
}

std::string read_activation(const Fields& fields) {
  static const std::vector<std::string> supported{"gelu", "gelu_new", "gelu_pytorch_tanh", "relu"};
  const auto name = fields.text_or("gelu", "hidden_act");
  if (std::ranges::find(supported, name) == supported.end()) {
    fields.fail_unsupported("hidden_act", excerpt(name), fmt::format("{}", fmt::join(supported, ", ")));
  }
  return name;
}

bool has_head(const Fields& fields) {
  const json* names = fields.find("architectures");
  return names && names->is_array() && std::ranges::any_of(*names, [](const json& name) {
           return name.is_string() && name.get_ref<const std::string&>().ends_with(head_architecture);
         });
}

std::vector<std::string> default_labels(int64_t count) {
  std::vector<std::string> labels;
  for (int64_t id = 0; id < count; ++id) labels.push_back(fmt::format("LABEL_{}", id));
  return labels;
}

std::vector<std::string> read_label_names(const Fields& fields) {
  const auto names = fields.object("id2label");
  std::vector<std::string> labels;
  const size_t count = names.value().size();
  for (size_t id = 0; id < count; ++id) {
    const auto key = std::to_string(id);
    if (!names.find(key)) fields.fail("id2label", "no id " + key, fmt::format("the ids 0 to {}", count - 1));
    labels.push_back(names.text(key));
  }
  if (const std::set<std::string> distinct(labels.begin(), labels.end()); distinct.size() != count) {
    fields.fail("id2label", fmt::format("{} names for {} ids", distinct.size(), count), "a name of its own for each");
  }
  return labels;
}

void check_label_ids(const Fields& fields, const std::vector<std::string>& labels) {
  if (!fields.find("label2id")) return;
  const auto ids = fields.object("label2id");
  if (ids.value().size() != labels.size()) {
    fields.fail("label2id", fmt::format("{} labels", ids.value().size()),
                fmt::format("{}, as in id2label", labels.size()));
  }
  for (size_t id = 0; id < labels.size(); ++id) {
    if (const json* value = ids.find(labels[id]); !value || *value != id) {
      fields.fail("label2id", fmt::format("{} for {}", value ? excerpt(*value) : "nothing", excerpt(labels[id])),
                  fmt::format("{}, as in id2label", id));
    }
  }
}

std::vector<std::string> read_labels(const Fields& fields) {
  const auto problem = fields.text_or("", "problem_type");
  if (!problem.empty() && problem != "single_label_classification") {
    fields.fail_unsupported("problem_type", excerpt(problem), "single_label_classification");
  }
  const int64_t count = fields.integer_or(0, "num_labels", 1, most_labels);
  std::vector<std::string> labels;
  if (fields.find("id2label")) {
    labels = read_label_names(fields);
    check_label_ids(fields, labels);
    if (count > 0 && count != static_cast<int64_t>(labels.size())) {
      fields.fail("num_labels", std::to_string(count), fmt::format("{}, as in id2label", labels.size()));
    }
  } else if (count > 0 || has_head(fields)) {
    labels = default_labels(count > 0 ? count : 2);
  }
  if (labels.size() == 1 && problem.empty()) {
    fields.fail_unsupported("id2label", "one label, which means regression", "classification");
  }
  return labels;
}

struct UsualShape {
  int64_t attention_head_size = 0;  // 0: hidden_size is not a multiple of the heads
  LayerShape layer;
};

/// What the usual fields say of heads; not what "compress" says.
UsualShape read_usual_shape(const Fields& fields, int64_t hidden_size, bool head_size_is_given) {
  UsualShape usual;
  usual.layer.num_attention_heads = fields.integer("num_attention_heads", 1, widest);
  usual.layer.intermediate_size = fields.integer("intermediate_size", 1, most_rows);
  usual.attention_head_size = hidden_size / usual.layer.num_attention_heads;
  if (hidden_size % usual.layer.num_attention_heads != 0 && !head_size_is_given) {
    fields.fail("num_attention_heads", std::to_string(usual.layer.num_attention_heads),
                fmt::format("a divisor of hidden_size, {}", hidden_size));
  }
  return usual;
}

WeightFormat read_format(const Fields& compress, const std::string& key,
                         std::initializer_list<WeightFormat> supported) {
  if (!compress.find(key)) return WeightFormat::float32;
  const auto name = compress.text(key);
  std::vector<std::string_view> names;
  for (const auto format : supported) {
    names.push_back(enum_name(format));
    if (names.back() == name) return format;
  }
  compress.fail_unsupported(key, excerpt(name), fmt::format("{}", fmt::join(names, ", ")));
}

void read_layers(const Fields& compress, ModelConfig& config) {
  const size_t count = compress.array("layers").size();
  if (count != config.layers.size()) {
    compress.fail("layers", fmt::format("an array of {}", count),
                  fmt::format("{}, as num_hidden_layers says", config.layers.size()));
  }
  for (size_t i = 0; i < count; ++i) {
    const auto layer = compress.element("layers", i);
    layer.allow_only({"num_attention_heads", "intermediate_size"});
    config.layers[i].num_attention_heads = layer.integer("num_attention_heads", 1, widest);
    config.layers[i].intermediate_size = layer.integer("intermediate_size", 1, most_rows);
  }
}

void read_compress(const Fields& compress, ModelConfig& config) {
  if (const auto found = compress.integer("format", 0, most_rows); found != format_version) {
    compress.fail_unsupported("format", std::to_string(found), std::to_string(format_version));
  }
  compress.allow_only({"format", "attention_head_size", "layers", "weight_format", "embedding_format"});
  config.attention_head_size = compress.integer_or(config.attention_head_size, "attention_head_size", 1, widest);
  if (compress.find("layers")) read_layers(compress, config);
  using enum WeightFormat;
  config.linear_format = read_format(compress, "weight_format", {float32, float16, bfloat16});
  config.embedding_format = read_format(compress, "embedding_format", {float32, float16, bfloat16, int8});
}

/// The head is never quantized (Model::linears), and must be named where there is one.
void check_ignored_modules(const Fields& quantization, bool with_head) {
  const bool given = quantization.find("ignore") != nullptr;
  const json names = given ? quantization.array("ignore") : json::array();
  const json head = json::array({"classifier"});
  if (names == head || (names.empty() && !with_head)) return;
  quantization.fail_unsupported("ignore", excerpt(names), head.dump());
}

void read_quantization(const Fields& quantization, ModelConfig& config) {
  quantization.require("quant_method", "compressed-tensors");
  quantization.require("format", "int-quantized");
  if (quantization.find("quantization_status")) quantization.require("quantization_status", "compressed");
  const auto groups = quantization.object("config_groups");
  if (const size_t count = groups.value().size(); count != 1) {
    quantization.fail_unsupported("config_groups", fmt::format("{} groups", count), "one");
  }
  const auto group = groups.object(groups.value().begin().key());
  group.require("targets", json::array({"Linear"}));
  if (group.find("output_activations")) group.fail_unsupported("output_activations", "some", "none");

  const auto weights = group.object("weights");
  weights.require("num_bits", 8);
  weights.require("type", "int");
  weights.require("symmetric", true);
  weights.require("strategy", "channel");
  if (weights.find("dynamic")) weights.require("dynamic", false);

  if (!group.find("input_activations")) group.fail_unsupported("input_activations", "none", "8 bits, dynamic");
  const auto inputs = group.object("input_activations");
  inputs.require("num_bits", 8);
  inputs.require("type", "int");
  inputs.require("dynamic", true);
  const auto strategy = inputs.text("strategy");
  if (strategy != "token" && strategy != "tensor")
    inputs.fail_unsupported("strategy", excerpt(strategy), "token, tensor");
  config.activations = strategy == "token" ? ActivationScheme::per_token : ActivationScheme::per_tensor;

  check_ignored_modules(quantization, !config.labels.empty());
  if (config.linear_format != WeightFormat::float32) {
    quantization.fail("quant_method",
                      fmt::format("int8, but compress.weight_format is {}", enum_name(config.linear_format)),
                      "one of the two");
  }
  config.linear_format = WeightFormat::int8;
}

/// Parameters of the embeddings, the layers and the head, without what is small.
double parameter_count(const ModelConfig& config) {
  const auto hidden = static_cast<double>(config.hidden_size);
  double rows = static_cast<double>(config.vocab_size) + static_cast<double>(config.max_position_embeddings) +
                static_cast<double>(config.type_vocab_size) + static_cast<double>(config.labels.size()) + hidden;
  for (const auto& layer : config.layers) {
    rows += 4.0 * static_cast<double>(layer.num_attention_heads) * static_cast<double>(config.attention_head_size);
    rows += 2.0 * static_cast<double>(layer.intermediate_size);
  }
  return rows * hidden;
}

void check_sizes(const ModelConfig& config, const std::string& file) {
  for (const auto& layer : config.layers) {
    if (layer.num_attention_heads * config.attention_head_size > widest) {
      throw CheckpointError(fmt::format("{}: found {} heads of size {}, expected at most {} features in all", file,
                                        layer.num_attention_heads, config.attention_head_size, widest));
    }
  }
  if (parameter_count(config) > static_cast<double>(most_parameters)) {
    throw CheckpointError(fmt::format("{}: found sizes that make {:.3g} parameters, expected at most {}", file,
                                      parameter_count(config), most_parameters));
  }
}

/// The usual fields keep the shape of the model that this one was cut from, as long as it is of the same width.
UsualShape usual_shape(const ModelConfig& config) {
  UsualShape usual;
  if (!config.layers.empty()) usual.layer = config.layers.front();
  const json source = config.source.is_object() ? config.source : json::object();
  if (source.value("hidden_size", json()) == config.hidden_size) {
    for (const auto& [key, size] : {std::pair("num_attention_heads", &usual.layer.num_attention_heads),
                                    std::pair("intermediate_size", &usual.layer.intermediate_size)}) {
      if (const json kept = source.value(key, json()); kept.is_number_integer() && kept > 0)
        *size = kept.get<int64_t>();
    }
  }
  if (config.hidden_size % usual.layer.num_attention_heads == 0) {
    usual.attention_head_size = config.hidden_size / usual.layer.num_attention_heads;
  }
  return usual;
}

json compress_fields(const ModelConfig& config, const UsualShape& usual) {
  json fields = json::object();
  const bool usual_layers = std::ranges::all_of(config.layers, [&](const auto& layer) { return layer == usual.layer; });
  if (!usual_layers || config.attention_head_size != usual.attention_head_size) {
    fields["attention_head_size"] = config.attention_head_size;
    fields["layers"] = json::array();
    for (const auto& layer : config.layers) {
      fields["layers"].push_back(
          {{"num_attention_heads", layer.num_attention_heads}, {"intermediate_size", layer.intermediate_size}});
    }
  }
  if (config.linear_format == WeightFormat::float16 || config.linear_format == WeightFormat::bfloat16) {
    fields["weight_format"] = enum_name(config.linear_format);
  }
  if (config.embedding_format != WeightFormat::float32) fields["embedding_format"] = enum_name(config.embedding_format);
  if (!fields.empty()) fields["format"] = format_version;
  return fields;
}

json quantization_fields(const ModelConfig& config) {
  const bool per_token = config.activations == ActivationScheme::per_token;
  const json weights{
      {"num_bits", 8}, {"type", "int"}, {"symmetric", true}, {"strategy", "channel"}, {"dynamic", false}};
  const json inputs{{"num_bits", 8},
                    {"type", "int"},
                    {"symmetric", true},
                    {"strategy", per_token ? "token" : "tensor"},
                    {"dynamic", true}};
  const json group{{"targets", json::array({"Linear"})}, {"weights", weights}, {"input_activations", inputs}};
  return {{"quant_method", "compressed-tensors"},
          {"format", "int-quantized"},
          {"quantization_status", "compressed"},
          {"config_groups", {{"group_0", group}}},
          {"ignore", config.labels.empty() ? json::array() : json::array({"classifier"})}};
}

void write_labels(json& out, const std::vector<std::string>& labels) {
  for (const char* key : {"id2label", "label2id", "num_labels", "_num_labels"}) out.erase(key);
  out["architectures"] = json::array({labels.empty() ? "BertModel" : "BertForSequenceClassification"});
  for (size_t id = 0; id < labels.size(); ++id) {
    out["id2label"][std::to_string(id)] = labels[id];
    out["label2id"][labels[id]] = id;
  }
}

/// What most of the tensors are; "dtype" is the name of transformers 5, "torch_dtype" of those before it.
void write_dtype(json& out, WeightFormat linear_format) {
  const bool is_16bit = linear_format == WeightFormat::float16 || linear_format == WeightFormat::bfloat16;
  const char* name = !is_16bit ? "float32" : linear_format == WeightFormat::float16 ? "float16" : "bfloat16";
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (is_16bit || out.contains(key)) out[key] = name;
  }
}

}  // namespace

ModelConfig read_model_config(const nlohmann::json& json, const std::string& file) {
  const Fields fields(json, file);
  ModelConfig config;
  config.model_type = fields.text("model_type");
  require_supported_model_type(config.model_type, fields.where("model_type"));
  refuse_unsupported_features(fields);

  const bool has_compress = fields.find("compress") != nullptr;
  const bool head_size_is_given = has_compress && fields.object("compress").find("attention_head_size") != nullptr;
  config.vocab_size = fields.integer("vocab_size", 1, most_rows);
  config.hidden_size = fields.integer("hidden_size", 1, widest);
  const auto usual = read_usual_shape(fields, config.hidden_size, head_size_is_given);
  config.attention_head_size = usual.attention_head_size;
  config.layers.assign(static_cast<size_t>(fields.integer("num_hidden_layers", 1, most_layers)), usual.layer);

  config.hidden_act = read_activation(fields);
  config.hidden_dropout_prob = fields.real_or(config.hidden_dropout_prob, "hidden_dropout_prob", 0, 1);
  config.attention_probs_dropout_prob =
      fields.real_or(config.attention_probs_dropout_prob, "attention_probs_dropout_prob", 0, 1);
  if (fields.find("classifier_dropout")) config.classifier_dropout = fields.real_or(0, "classifier_dropout", 0, 1);
  config.max_position_embeddings =
      fields.integer_or(config.max_position_embeddings, "max_position_embeddings", 1, most_rows);
  config.type_vocab_size = fields.integer_or(config.type_vocab_size, "type_vocab_size", 1, most_rows);
  config.layer_norm_eps = fields.real_or(config.layer_norm_eps, "layer_norm_eps", 0, 1);
  config.initializer_range = fields.real_or(config.initializer_range, "initializer_range", 0, 1e6);
  config.pad_token_id = fields.integer_or(config.pad_token_id, "pad_token_id", 0, config.vocab_size - 1);
  config.labels = read_labels(fields);

  if (has_compress) read_compress(fields.object("compress"), config);
  if (fields.find("quantization_config")) read_quantization(fields.object("quantization_config"), config);
  check_sizes(config, file);
  config.source = json;
  return config;
}

nlohmann::json write_model_config(const ModelConfig& config) {
  const auto usual = usual_shape(config);
  json out = config.source.is_object() ? config.source : json::object();
  out["model_type"] = config.model_type;
  out["vocab_size"] = config.vocab_size;
  out["hidden_size"] = config.hidden_size;
  out["num_hidden_layers"] = config.layers.size();
  out["num_attention_heads"] = usual.layer.num_attention_heads;
  out["intermediate_size"] = usual.layer.intermediate_size;
  out["hidden_act"] = config.hidden_act;
  out["hidden_dropout_prob"] = config.hidden_dropout_prob;
  out["attention_probs_dropout_prob"] = config.attention_probs_dropout_prob;
  if (config.classifier_dropout) {
    out["classifier_dropout"] = *config.classifier_dropout;
  } else if (out.contains("classifier_dropout")) {
    out["classifier_dropout"] = nullptr;
  }
  out["max_position_embeddings"] = config.max_position_embeddings;
  out["type_vocab_size"] = config.type_vocab_size;
  out["layer_norm_eps"] = config.layer_norm_eps;
  out["initializer_range"] = config.initializer_range;
  out["pad_token_id"] = config.pad_token_id;
  write_labels(out, config.labels);
  write_dtype(out, config.linear_format);

  out.erase("compress");
  if (auto fields = compress_fields(config, usual); !fields.empty()) out["compress"] = std::move(fields);
  out.erase("quantization_config");
  if (config.linear_format == WeightFormat::int8) out["quantization_config"] = quantization_fields(config);
  return out;
}

}  // namespace compression
