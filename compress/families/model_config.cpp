#include "compress/families/model_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <ranges>
#include <set>

#include "compress/base/error.h"      // CheckpointError, UnsupportedError
#include "compress/base/fields.h"     // enum_name
#include "compress/base/json_file.h"  // excerpt
#include "compress/base/limits.h"
#include "compress/base/number.h"             // number_of
#include "compress/families/config_fields.h"  // ConfigFields, FamilyFields
#include "compress/families/families.h"       // Family
#include "compress/families/name_table.h"     // checkpoint_names
#include "compress/spec/weights.h"            // number_count
#include "compress/storage/storage.h"         // storages

namespace compression {
namespace {

using nlohmann::json;

constexpr int64_t format_version = 1;

void refuse_unsupported_features(const ConfigFields& fields) {
  if (const auto type = fields.text_or("absolute", "position_embedding_type"); type != "absolute") {
    fields.fail_unsupported("position_embedding_type", excerpt(type), "absolute");
  }
  for (const char* key : {"is_decoder", "add_cross_attention"}) {
    if (fields.flag_or(false, key)) fields.fail_unsupported(key, "true", "false");
  }
}

/// The names of "architectures": a list, or a text.
std::vector<std::string> class_names(const json& config) {
  std::vector<std::string> names;
  const auto found = config.is_object() ? config.find("architectures") : config.end();
  if (found == config.end()) return names;
  for (const auto& name : found->is_array() ? *found : json::array({*found})) {
    if (name.is_string()) names.push_back(name);
  }
  return names;
}

bool is_class(const ConfigFields& fields, HeadKind head) {
  const auto suffix = first_task(head).class_suffix;
  return std::ranges::any_of(class_names(fields.value()),
                             [&](const std::string& name) { return name.ends_with(suffix); });
}

/// A class of "architectures" whose head is not for the next word; or nothing.
std::string other_head(const json& config) {
  for (const auto& name : class_names(config)) {
    const bool is_of_words = name.ends_with("ForCausalLM") || name.ends_with("ForConditionalGeneration");
    if (name.find("For") != std::string::npos && !is_of_words) return name;
  }
  return "";
}

/// "BertForSequenceClassification" tells the family where model_type is missing, as before transformers 3.
std::string model_type_of(const ConfigFields& fields) {
  if (fields.find("model_type")) return fields.text("model_type");
  for (const auto& name : class_names(fields.value())) {
    for (const auto& family : families()) {
      const auto rest = name.starts_with(family.class_prefix) ? name.substr(family.class_prefix.size()) : "";
      if (rest == "Model" || rest.starts_with("For")) return std::string(family.model_type);
    }
  }
  return fields.text("model_type");
}

std::vector<std::string> default_labels(int64_t count) {
  std::vector<std::string> labels;
  for (int64_t id = 0; id < count; ++id) labels.push_back(fmt::format("LABEL_{}", id));
  return labels;
}

/// id2label. Other values than texts have their JSON for a name, and null has none.
std::map<int64_t, std::string> read_label_names(const ConfigFields& fields) {
  std::map<int64_t, std::string> names;
  if (!fields.find("id2label")) return names;
  const auto object = fields.object("id2label");
  for (const auto& [key, name] : object.value().items()) {
    const auto id = whole_number_in(key);
    if (!id || *id < 0 || *id >= limits::labels) {
      fields.fail("id2label", "the id " + excerpt(json(key)), fmt::format("ids from 0 to {}", limits::labels - 1));
    }
    if (name.is_structured()) object.fail(key, excerpt(name), "a name");
    names[*id] = name.is_null()     ? fmt::format("LABEL_{}", *id)
                 : name.is_string() ? name.get<std::string>()
                                    : name.dump();
  }
  return names;
}

/// Whether each id from 0 on has a name.
bool are_whole(const std::map<int64_t, std::string>& names) {
  return !names.empty() && names.rbegin()->first == static_cast<int64_t>(names.size()) - 1;
}

std::vector<std::string> labels_of(const std::map<int64_t, std::string>& names, int64_t count) {
  auto labels = default_labels(count);
  for (const auto& [id, name] : names) {
    if (id < count) labels[static_cast<size_t>(id)] = name;
  }
  return labels;
}

/// The task that "problem_type" names, if it is one of transformers'.
std::optional<TaskType> named_problem(const ConfigFields& fields) {
  if (!fields.find("problem_type")) return std::nullopt;
  const auto problem = fields.text("problem_type");
  const auto found = std::ranges::find_if(
      task_traits, [&](const TaskTraits& task) { return !problem.empty() && task.problem_type == problem; });
  return found == task_traits.end() ? std::nullopt : std::optional(found->type);
}

/// What a head with labels for whole texts is for.
TaskType read_problem(const ConfigFields& fields, size_t labels) {
  if (const auto named = named_problem(fields)) return *named;
  const auto kind = labels == 1 ? LabelKind::number : LabelKind::class_name;  // as transformers does
  return std::ranges::find(task_traits, kind, &TaskTraits::labels)->type;
}

/// The task and its labels, as far as the file tells.
TaskHead read_head(const ConfigFields& fields) {
  for (const auto head : {HeadKind::spans, HeadKind::words}) {
    if (is_class(fields, head)) return {.task = first_task(head).type};
  }
  const bool of_tokens = is_class(fields, HeadKind::tokens);
  const auto names = read_label_names(fields);
  auto count = static_cast<int64_t>(names.size());
  if (!are_whole(names)) count = fields.integer_or(count, "num_labels", 1, limits::labels);
  if (count == 0 && (of_tokens || is_class(fields, HeadKind::text))) count = 2;
  if (count == 0) return {.task = headless_task};
  auto labels = labels_of(names, count);
  const auto task = of_tokens ? first_task(HeadKind::tokens).type : read_problem(fields, labels.size());
  return {.labels = std::move(labels), .task = task};
}

/// What of the head's fields contradicts itself, and what holds.
void note_contradictions(const ConfigFields& fields, std::vector<std::string>& notes) {
  const auto names = read_label_names(fields);
  const json* count = fields.find("num_labels");
  const auto add = [&](std::string_view key, const std::string& text) { notes.push_back(std::string(key) + text); };
  if (!names.empty() && !are_whole(names)) {
    add("id2label", fmt::format(": found names for the ids {}, expected 0 to {}: a class without a name is LABEL_i",
                                fmt::join(names | std::views::keys | std::views::take(8), ", "), names.size() - 1));
  } else if (count && !names.empty() && whole_number(*count) != static_cast<int64_t>(names.size())) {
    add("num_labels", fmt::format(": found {}, but id2label has {} names, which hold", excerpt(*count), names.size()));
  }
  if (const json* ids = fields.find("label2id"); ids && ids->is_object() && !names.empty()) {
    for (const auto& [name, id] : ids->items()) {
      const auto number = whole_number(id);
      const auto found = number ? names.find(*number) : names.end();
      if (!number || (found != names.end() && found->second == name)) continue;
      add("label2id", fmt::format(": found {} for {}, unlike id2label, which holds", *number, excerpt(json(name))));
      break;
    }
  }
  if (const json* problem = fields.find("problem_type"); problem && !named_problem(fields)) {
    add("problem_type", fmt::format(": found {}, which is left out: it is none of transformers'", excerpt(*problem)));
  }
}

/// A block with the sizes that the usual fields give; not those of "compress". Where hidden_size is not a multiple of
/// the heads, the size of a head has to be given there.
BlockSpec read_usual_block(const FamilyFields& fields, int64_t hidden_size, bool head_size_is_given) {
  auto block = fields.family().defaults.layers.front();
  auto& heads = block.attention.heads;
  heads = fields.integer("num_attention_heads", heads, 1, limits::width);
  block.mlp.units = fields.integer("intermediate_size", block.mlp.units, 1, limits::rows);
  block.attention.head_size = hidden_size / heads;
  if (fields.family().names("attention_head_size") && fields.is_given("attention_head_size")) {
    block.attention.head_size = fields.integer("attention_head_size", 0, 1, limits::width);
  } else if (hidden_size % heads != 0 && !head_size_is_given) {
    fields.all().fail(fields.key("num_attention_heads"), std::to_string(heads),
                      fmt::format("a divisor of {}, {}", fields.key("hidden_size"), hidden_size));
  }
  return block;
}

/// supports(storage): whether the kind may stand there.
template <class Supports>
WeightFormat read_format(const ConfigFields& compress, const std::string& key, Supports&& supports) {
  if (!compress.find(key)) return WeightFormat::float32;
  const auto name = compress.text(key);
  std::vector<std::string_view> names;
  for (const auto* storage : storages()) {
    if (!supports(*storage)) continue;
    names.push_back(storage->name());
    if (storage->name() == name) return storage->format();
  }
  compress.fail_unsupported(key, excerpt(name), fmt::format("{}", fmt::join(names, ", ")));
}

std::optional<SparsityPattern> read_pattern(const ConfigFields& compress) {
  if (!compress.find("sparsity_pattern")) return std::nullopt;
  const auto name = compress.text("sparsity_pattern");
  std::vector<std::string_view> names;
  for (const auto& [pattern, pattern_name] : enum_names(SparsityPattern())) {
    if (pattern == SparsityPattern::automatic) continue;
    names.push_back(pattern_name);
    if (pattern_name == name) return pattern;
  }
  compress.fail_unsupported("sparsity_pattern", excerpt(name), fmt::format("{}", fmt::join(names, ", ")));
}

/// Which columns of the shared table of position biases the heads of a pruned layer read.
void read_position_heads(const ConfigFields& layer, int64_t columns, AttentionSpec& attention) {
  const auto count = attention.heads;
  if (!layer.find("position_heads") && (count == columns || count == 0)) return;
  const auto& heads = layer.array("position_heads");
  const auto expected = fmt::format("{} numbers from 0 to {}, one a head", count, columns - 1);
  for (const auto& head : heads) {
    if (!head.is_number_integer() || head < 0 || head >= columns) layer.fail("position_heads", excerpt(head), expected);
    attention.position_heads.push_back(head.get<int64_t>());
  }
  if (static_cast<int64_t>(heads.size()) != count) {
    layer.fail("position_heads", fmt::format("{} heads", heads.size()), expected);
  }
}

/// What transformers 4 wrote for a model whose heads it had pruned: {"layer": [heads that are gone]}.
void read_pruned_heads(const FamilyFields& family_fields, ModelConfig& config) {
  const auto& fields = family_fields.all();
  const json* pruned = fields.find("pruned_heads");
  if (!pruned || pruned->empty()) return;
  if (!config.shared_layers.empty()) {
    fields.fail_unsupported("pruned_heads", excerpt(*pruned), "none, where layers share their weights");
  }
  const auto by_layer = fields.object("pruned_heads");
  for (const auto& [key, heads] : by_layer.value().items()) {
    const auto layer = whole_number_in(key);
    if (!layer || *layer < 0 || *layer >= static_cast<int64_t>(config.layers.size())) {
      fields.fail("pruned_heads", "layer " + excerpt(json(key)), fmt::format("0 to {}", config.layers.size() - 1));
    }
    auto& attention = config.layers[static_cast<size_t>(*layer)].attention;
    const auto all = attention.heads;
    std::set<int64_t> gone;
    for (const auto& head : by_layer.array(key)) {
      const auto number = whole_number(head);
      if (!number || *number < 0 || *number >= all) {
        by_layer.fail(key, excerpt(head), fmt::format("heads from 0 to {}", all - 1));
      }
      gone.insert(*number);
    }
    attention.heads -= static_cast<int64_t>(gone.size());
    if (!has_columns(attention.positions)) continue;
    for (int64_t head = 0; head < all; ++head) {
      if (!gone.empty() && !gone.contains(head)) attention.position_heads.push_back(head);
    }
  }
}

void read_layers(const ConfigFields& compress, ModelConfig& config) {
  const size_t count = compress.array("layers").size();
  if (count != config.layers.size()) {
    compress.fail(
        "layers", fmt::format("an array of {}", count),
        fmt::format("{}, as {} says", config.layers.size(), find_family(config.model_type).key("num_hidden_layers")));
  }
  for (size_t i = 0; i < count; ++i) {
    const auto layer = compress.element("layers", i);
    auto& attention = config.layers[i].attention;
    const bool has_bias = has_columns(attention.positions);
    std::set<std::string> keys{"num_attention_heads", "intermediate_size"};
    if (has_bias) keys.insert("position_heads");
    layer.allow_only(keys);
    attention.heads = layer.integer("num_attention_heads", 0, limits::width);
    config.layers[i].mlp.units = layer.integer("intermediate_size", 0, limits::rows);
    if (has_bias) read_position_heads(layer, config.relative.heads, attention);
    if (const auto first = config.first_use(i); config.layers[first] != config.layers[i]) {
      compress.fail("layers", fmt::format("other sizes for layer {} than for layer {}", i, first),
                    "the same: they share their weights");
    }
  }
}

void read_compress(const ConfigFields& compress, ModelConfig& config) {
  if (const auto found = compress.integer("format", 0, limits::rows); found != format_version) {
    compress.fail_unsupported("format", std::to_string(found), std::to_string(format_version));
  }
  compress.allow_only(
      {"format", "attention_head_size", "layers", "weight_format", "embedding_format", "sparsity_pattern"});
  const auto head_size = compress.integer_or(config.attention_head_size(), "attention_head_size", 1, limits::width);
  for (auto& layer : config.layers) layer.attention.head_size = head_size;
  if (compress.find("layers")) read_layers(compress, config);
  config.linear_format =
      read_format(compress, "weight_format", [](const Storage& storage) { return !storage.quantizes_inputs(); });
  config.embedding_format = read_format(compress, "embedding_format", [](const Storage&) { return true; });
  config.sparsity = read_pattern(compress);
}

/// What the family calls the last layer of the head, which is never quantized (Model::linears): none or one name.
json last_layer(const ModelConfig& config) {
  const auto head = traits_of(config.task).head;
  if (head == HeadKind::embedding) return json::array();
  auto name = checkpoint_names(config)(head == HeadKind::words ? "head.decoder." : "head.classifier.");
  name.pop_back();
  return json::array({name});
}

/// The head's last layer must be named where there is one; other linear layers may be.
std::vector<std::string> read_unquantized(const ConfigFields& quantization, const ModelConfig& config) {
  const auto head = last_layer(config);
  std::vector<std::string> names;
  size_t found = 0;
  for (const auto& name : quantization.find("ignore") ? quantization.array("ignore") : json::array()) {
    if (!name.is_string()) quantization.fail("ignore", excerpt(name), "names of linear layers");
    if (!head.empty() && name == head.front()) {
      ++found;
    } else {
      names.push_back(name);
    }
  }
  if (found != head.size()) {
    quantization.fail_unsupported("ignore", excerpt(json(names)), "a list with " + head.front().get<std::string>());
  }
  return names;
}

void read_quantization(const ConfigFields& quantization, ModelConfig& config) {
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

  if (!group.find("input_activations")) group.fail_unsupported("input_activations", "none", "8 bits");
  const auto inputs = group.object("input_activations");
  inputs.require("num_bits", 8);
  inputs.require("type", "int");
  const json dynamic = inputs.required("dynamic", "true or false");
  if (!dynamic.is_boolean()) inputs.fail_unsupported("dynamic", excerpt(dynamic), "true, false");
  const auto strategy = inputs.text("strategy");
  if (strategy != "tensor" && !(strategy == "token" && dynamic == true)) {
    inputs.fail_unsupported("strategy", excerpt(strategy), dynamic == true ? "token, tensor" : "tensor");
  }
  if (dynamic == false) inputs.require("symmetric", true);
  config.activations = dynamic == false      ? ActivationScheme::static_per_tensor
                       : strategy == "token" ? ActivationScheme::per_token
                                             : ActivationScheme::per_tensor;

  config.unquantized = read_unquantized(quantization, config);
  if (config.linear_format != WeightFormat::float32) {
    quantization.fail("quant_method",
                      fmt::format("int8, but compress.weight_format is {}", storage_of(config.linear_format).name()),
                      "one of the two");
  }
  config.linear_format = WeightFormat::int8;
}

void check_sizes(const ModelConfig& config, const std::string& file) {
  for (const auto& layer : config.layers) {
    if (layer.attention.width() > limits::width) {
      throw CheckpointError(fmt::format("{}: found {} heads of size {}, expected at most {} features in all", file,
                                        layer.attention.heads, layer.attention.head_size, limits::width));
    }
    if (layer.attention.positions == Positions::rotary && layer.attention.head_size % 2 != 0) {
      throw CheckpointError(
          fmt::format("{}: found heads of size {}, expected an even size, which rotary positions turn in halves", file,
                      layer.attention.head_size));
    }
  }
  if (config.pad_token_id >= config.vocab_size) {
    throw CheckpointError(fmt::format("{}: pad_token_id: found {}, expected less than vocab_size, {}", file,
                                      config.pad_token_id, config.vocab_size));
  }
  if (config.max_length() < 1) {
    throw CheckpointError(fmt::format("{}: max_position_embeddings: found {}, expected more than pad_token_id, {}, + 1",
                                      file, config.max_position_embeddings, config.pad_token_id));
  }
  const auto numbers = number_count(config);
  if (numbers > static_cast<double>(limits::parameters)) {
    throw CheckpointError(fmt::format("{}: found sizes that make {:.3g} parameters, expected at most {}", file, numbers,
                                      limits::parameters));
  }
}

struct UsualSizes {
  int64_t heads, units, head_size;
};

/// The usual fields keep the sizes of the model that this one was cut from, as long as it is of the same width.
UsualSizes usual_sizes(const ModelConfig& config) {
  const auto& family = find_family(config.model_type);
  const auto key = [&](std::string_view own) { return std::string(family.key(own)); };
  // Of layers that differ, the largest: a program that reads the usual fields alone may not find 0 there.
  const auto largest = largest_block(config);
  UsualSizes usual{.heads = std::max<int64_t>(largest.attention.heads, 1),
                   .units = std::max<int64_t>(largest.mlp.units, 1),
                   .head_size = 0};
  const json source = config.source.is_object() ? config.source : json::object();
  if (whole_number(source.value(key("hidden_size"), json())) == config.hidden_size) {
    for (const auto& [own, size] :
         {std::pair("num_attention_heads", &usual.heads), std::pair("intermediate_size", &usual.units)}) {
      if (const auto kept = whole_number(source.value(key(own), json())); kept && *kept > 0) *size = *kept;
    }
  }
  if (config.relative.heads > 0) usual.heads = config.relative.heads;
  if (config.hidden_size % usual.heads == 0) usual.head_size = config.hidden_size / usual.heads;
  if (family.names("attention_head_size")) usual.head_size = config.attention_head_size();
  return usual;
}

json compress_fields(const ModelConfig& config, const UsualSizes& usual) {
  json fields = json::object();
  const bool usual_layers = std::ranges::all_of(config.layers, [&](const BlockSpec& layer) {
    return layer.attention.heads == usual.heads && layer.mlp.units == usual.units &&
           layer.attention.position_heads.empty();
  });
  if (!usual_layers || config.attention_head_size() != usual.head_size) {
    fields["attention_head_size"] = config.attention_head_size();
    fields["layers"] = json::array();
    for (const auto& layer : config.layers) {
      json shape{{"num_attention_heads", layer.attention.heads}, {"intermediate_size", layer.mlp.units}};
      if (const auto& heads = layer.attention.position_heads; !heads.empty()) shape["position_heads"] = heads;
      fields["layers"].push_back(std::move(shape));
    }
  }
  const auto &linear = storage_of(config.linear_format), &embedding = storage_of(config.embedding_format);
  if (linear.format() != WeightFormat::float32 && !linear.quantizes_inputs()) fields["weight_format"] = linear.name();
  if (embedding.format() != WeightFormat::float32) fields["embedding_format"] = embedding.name();
  if (config.sparsity) fields["sparsity_pattern"] = enum_name(*config.sparsity);
  if (!fields.empty()) fields["format"] = format_version;
  return fields;
}

json quantization_fields(const ModelConfig& config) {
  json ignored = config.unquantized;
  for (const auto& name : last_layer(config)) ignored.push_back(name);
  const bool per_token = config.activations == ActivationScheme::per_token;
  const json weights{
      {"num_bits", 8}, {"type", "int"}, {"symmetric", true}, {"strategy", "channel"}, {"dynamic", false}};
  const json inputs{{"num_bits", 8},
                    {"type", "int"},
                    {"symmetric", true},
                    {"strategy", per_token ? "token" : "tensor"},
                    {"dynamic", config.activations != ActivationScheme::static_per_tensor}};
  const json group{{"targets", json::array({"Linear"})}, {"weights", weights}, {"input_activations", inputs}};
  return {{"quant_method", "compressed-tensors"},
          {"format", "int-quantized"},
          {"quantization_status", "compressed"},
          {"config_groups", {{"group_0", group}}},
          {"ignore", ignored}};
}

void write_head(json& out, const Family& family, const ModelConfig& config) {
  for (const char* key : {"id2label", "label2id", "num_labels", "_num_labels"}) out.erase(key);
  const bool had_problem_type = out.erase("problem_type") > 0;
  const auto& task = traits_of(config.task);
  out["architectures"] = json::array({fmt::format("{}{}", family.class_prefix, task.class_suffix)});
  const bool is_usual = task.type == first_task(task.head).type;
  if (!task.problem_type.empty() && (had_problem_type || !is_usual)) out["problem_type"] = task.problem_type;
  const auto& labels = config.labels;
  for (size_t id = 0; id < labels.size(); ++id) {
    out["id2label"][std::to_string(id)] = labels[id];
    out["label2id"][labels[id]] = id;
  }
}

/// What most of the tensors are; "dtype" is the name of transformers 5, "torch_dtype" of those before it.
void write_dtype(json& out, WeightFormat linear_format) {
  constexpr std::array<std::pair<DType, std::string_view>, 2> narrow{
      {{DType::float16, "float16"}, {DType::bfloat16, "bfloat16"}}};
  const auto parts = storage_of(linear_format).parts(1, 1);
  const auto* found = std::ranges::find(narrow, parts.front().dtype, &decltype(narrow)::value_type::first);
  const bool is_narrow = parts.size() == 1 && found != narrow.end();  // a number a weight
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (is_narrow || out.contains(key)) out[key] = is_narrow ? found->second : "float32";
  }
}

}  // namespace

std::optional<TaskType> named_task(const ModelConfig& config) {
  const auto& prefix = find_family(config.model_type).class_prefix;
  for (const auto& name : class_names(config.source)) {
    for (const auto& task : task_traits) {
      const bool is_named = task.head == HeadKind::embedding ? name == fmt::format("{}{}", prefix, task.class_suffix)
                                                             : name.ends_with(task.class_suffix);
      if (is_named) return task.type;
    }
  }
  return std::nullopt;
}

std::string foreign_head(const ModelConfig& config) {
  return find_family(config.model_type).is_decoder() ? other_head(config.source) : "";
}

bool is_of_bare_class(const ModelConfig& config) {
  return std::ranges::any_of(class_names(config.source), [](const std::string& name) {
    return name.ends_with("Model") && !name.ends_with("LMHeadModel");
  });
}

TaskHead head_of_classes(const ModelConfig& config, TaskType task, int64_t classes) {
  if (!traits_of(task).has_label_rows()) return {.task = task};
  const json none = json::object();
  const ConfigFields fields(config.source.is_object() ? config.source : none, "config.json");
  auto labels = labels_of(read_label_names(fields), classes);
  const bool of_tokens = traits_of(task).head == HeadKind::tokens;
  const auto problem = of_tokens ? task : read_problem(fields, labels.size());
  return {.labels = std::move(labels), .task = problem};
}

bool has_label_names(const ModelConfig& config) {
  return config.source.is_object() && are_whole(read_label_names(ConfigFields(config.source, "config.json")));
}

ModelConfig read_model_config(const nlohmann::json& json, const std::string& file, std::vector<std::string>* notes) {
  const ConfigFields all(json, file);
  const auto model_type = model_type_of(all);
  const auto& family = find_family(model_type, all.where("model_type"));
  refuse_unsupported_features(all);
  const FamilyFields fields(all, family);
  auto config = family.defaults;

  const bool has_compress = all.find("compress") != nullptr;
  const bool head_size_is_given = has_compress && all.object("compress").find("attention_head_size") != nullptr;
  config.vocab_size = fields.integer("vocab_size", config.vocab_size, 1, limits::rows);
  config.hidden_size = fields.integer("hidden_size", config.hidden_size, 1, limits::width);
  auto usual = read_usual_block(fields, config.hidden_size, head_size_is_given);
  usual.mlp.activation = fields.activation("hidden_act", usual.mlp.activation);
  config.norm.eps = fields.real("layer_norm_eps", config.norm.eps, 0, 1);
  usual.norm.eps = config.norm.eps;
  const auto layer_count = static_cast<int64_t>(config.layers.size());
  config.layers.assign(static_cast<size_t>(fields.integer("num_hidden_layers", layer_count, 1, limits::layers)), usual);

  config.hidden_dropout_prob = fields.real("hidden_dropout_prob", config.hidden_dropout_prob, 0, 1);
  config.attention_probs_dropout_prob =
      fields.real("attention_probs_dropout_prob", config.attention_probs_dropout_prob, 0, 1);
  if (fields.is_given("classifier_dropout")) {
    config.classifier_dropout = fields.real("classifier_dropout", 0, 0, 1);
  }
  config.max_position_embeddings =
      fields.integer("max_position_embeddings", config.max_position_embeddings, 1, limits::positions);
  config.type_vocab_size = fields.integer("type_vocab_size", config.type_vocab_size,
                                          std::min<int64_t>(family.defaults.type_vocab_size, 1), limits::rows);
  config.initializer_range = fields.real("initializer_range", config.initializer_range, 0, 1e6);
  config.pad_token_id = fields.integer("pad_token_id", config.pad_token_id, 0, config.vocab_size - 1);
  auto head = read_head(all);
  config.task = head.task;
  config.labels = std::move(head.labels);
  if (family.read != nullptr) family.read(fields, config);
  if (!other_head(json).empty()) config.language_head = LanguageHead::none;
  if (!has_compress || !all.object("compress").find("layers")) read_pruned_heads(fields, config);
  if (notes) note_contradictions(all, *notes);

  if (has_compress) read_compress(all.object("compress"), config);
  if (all.find("quantization_config")) read_quantization(all.object("quantization_config"), config);
  check_sizes(config, file);
  config.source = json;
  return config;
}

nlohmann::json write_model_config(const ModelConfig& config) {
  const auto& family = find_family(config.model_type);
  const auto usual = usual_sizes(config);
  json out = config.source.is_object() ? config.source : json::object();
  const auto put = [&](std::string_view own, json value) {
    if (const auto key = family.key(own); !key.empty()) out[std::string(key)] = std::move(value);
  };
  out["model_type"] = config.model_type;
  if (const auto pruned = out.find("pruned_heads"); pruned != out.end() && !pruned->empty()) out.erase(pruned);
  put("vocab_size", config.vocab_size);
  put("hidden_size", config.hidden_size);
  put("num_hidden_layers", layer_groups(config).repeats);
  put("num_attention_heads", usual.heads);
  put("intermediate_size", usual.units);
  put("hidden_act", activation_name(out, std::string(family.key("hidden_act")), config.hidden_act()));
  put("hidden_dropout_prob", config.hidden_dropout_prob);
  put("attention_probs_dropout_prob", config.attention_probs_dropout_prob);
  if (config.classifier_dropout) {
    put("classifier_dropout", *config.classifier_dropout);
  } else if (out.contains(std::string(family.key("classifier_dropout")))) {
    put("classifier_dropout", nullptr);
  }
  put("max_position_embeddings", config.max_position_embeddings);
  put("type_vocab_size", config.type_vocab_size);
  put("layer_norm_eps", config.norm.eps);
  put("initializer_range", config.initializer_range);
  if (config.pad_token_id >= 0) put("pad_token_id", config.pad_token_id);
  if (family.names("attention_head_size")) put("attention_head_size", config.attention_head_size());
  if (family.write != nullptr) family.write(config, out);
  if (config.language_head == LanguageHead::none) write_head(out, family, config);
  write_dtype(out, config.linear_format);

  out.erase("compress");
  if (auto fields = compress_fields(config, usual); !fields.empty()) out["compress"] = std::move(fields);
  out.erase("quantization_config");
  if (storage_of(config.linear_format).quantizes_inputs()) out["quantization_config"] = quantization_fields(config);
  return out;
}

}  // namespace compression
