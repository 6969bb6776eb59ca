#include "compress/families/model_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <ranges>
#include <set>

#include "compress/base/error.h"      // CheckpointError, UnsupportedError
#include "compress/base/fields.h"     // enum_name
#include "compress/base/json_file.h"  // excerpt
#include "compress/base/limits.h"
#include "compress/base/number.h"          // number_of
#include "compress/families/families.h"    // Family
#include "compress/families/name_table.h"  // checkpoint_names

namespace compression {
namespace {

using nlohmann::json;

constexpr int64_t format_version = 1;

/// Text without spaces around it as a number, all of it.
template <class T>
std::optional<T> parsed(std::string_view text) {
  constexpr std::string_view spaces = " \t\n\r";
  text.remove_prefix(std::min(text.find_first_not_of(spaces), text.size()));
  return number_of<T>(text.substr(0, text.find_last_not_of(spaces) + 1));
}

/// 12, and as some programs write it: 12.0, "12".
std::optional<int64_t> whole_number(const json& value) {
  if (value.is_string()) return parsed<int64_t>(value.get_ref<const std::string&>());
  if (value.is_number_float()) {
    const auto number = value.get<double>();
    const bool fits = std::floor(number) == number && std::abs(number) < 0x1p53;
    return fits ? std::optional(static_cast<int64_t>(number)) : std::nullopt;
  }
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > std::numeric_limits<int64_t>::max()) return std::nullopt;
  return value.get<int64_t>();
}

/// 1e-12, and as YAML's readers give it: "1e-12".
std::optional<double> real_number(const json& value) {
  if (value.is_string()) return parsed<double>(value.get_ref<const std::string&>());
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

/// true, and as some programs write it: 1, "true".
std::optional<bool> truth(const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value == 1 || value == "true" || value == "True") return true;
  if (value == 0 || value == "false" || value == "False") return false;
  return std::nullopt;
}

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
    const auto number = whole_number(value);
    if (!number || *number < least || *number > most) fail(key, excerpt(value), expected);
    return *number;
  }
  int64_t integer_or(int64_t fallback, const std::string& key, int64_t least, int64_t most) const {
    return find(key) ? integer(key, least, most) : fallback;
  }

  double real_or(double fallback, const std::string& key, double least, double most) const {
    const json* value = find(key);
    if (!value) return fallback;
    const auto number = real_number(*value);
    if (!number || !(*number >= least && *number <= most)) {
      fail(key, excerpt(*value), fmt::format("a number from {} to {}", least, most));
    }
    return *number;
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
    if (!value) return fallback;
    const auto flag = truth(*value);
    if (!flag) fail(key, excerpt(*value), "true or false");
    return *flag;
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

/// transformers' names of the encoders' activations: those in use, then older ones.
struct ActivationName {
  std::string_view name;
  Activation activation;
};
constexpr std::array<ActivationName, 8> activation_names{{{"gelu", Activation::gelu},
                                                          {"gelu_new", Activation::gelu_tanh},
                                                          {"gelu_pytorch_tanh", Activation::gelu_tanh},
                                                          {"relu", Activation::relu},
                                                          {"gelu_python", Activation::gelu},
                                                          {"gelu_python_tanh", Activation::gelu_tanh},
                                                          {"gelu_fast", Activation::gelu_tanh},
                                                          {"gelu_accurate", Activation::gelu_tanh}}};
constexpr size_t usual_activations = 4;  // of them: those that messages name

std::optional<Activation> activation_of(std::string_view name) {
  const auto found = std::ranges::find(activation_names, name, &ActivationName::name);
  return found == activation_names.end() ? std::nullopt : std::optional(found->activation);
}

/// The name that `source` has for it under the key, else ours.
std::string activation_name(const json& source, const std::string& key, Activation activation) {
  const auto given = source.find(key);
  if (given != source.end() && given->is_string() && activation_of(given->get<std::string>()) == activation)
    return *given;
  const auto found = std::ranges::find(activation_names, activation, &ActivationName::activation);
  return std::string(found == activation_names.end() ? enum_name(activation) : found->name);
}

void refuse_unsupported_features(const Fields& fields) {
  if (const auto type = fields.text_or("absolute", "position_embedding_type"); type != "absolute") {
    fields.fail_unsupported("position_embedding_type", excerpt(type), "absolute");
  }
  for (const char* key : {"is_decoder", "add_cross_attention"}) {
    if (fields.flag_or(false, key)) fields.fail_unsupported(key, "true", "false");
  }
}

/// The fields of a family, by our names for them. One that the family does not have is its default.
class FamilyFields {
 public:
  FamilyFields(const Fields& fields, const Family& family) : fields_(fields), family_(family) {}

  int64_t integer(const std::string& own, int64_t fallback, int64_t least, int64_t most) const {
    const auto name = key(own);
    return name.empty() ? fallback : fields_.integer_or(fallback, name, least, most);
  }
  double real(const std::string& own, double fallback, double least, double most) const {
    const auto name = key(own);
    return name.empty() ? fallback : fields_.real_or(fallback, name, least, most);
  }
  bool is_given(const std::string& own) const { return !key(own).empty() && fields_.find(key(own)) != nullptr; }
  /// `more`: one that can stand here besides those of the encoder.
  Activation activation(const std::string& own, Activation fallback,
                        std::optional<Activation> more = std::nullopt) const {
    if (!is_given(own)) return fallback;
    const auto name = fields_.text(key(own));
    if (more && name == enum_name(*more)) return *more;
    if (const auto found = activation_of(name)) return *found;
    std::vector<std::string_view> known;
    if (more) known.push_back(enum_name(*more));
    for (size_t i = 0; i < usual_activations; ++i) known.push_back(activation_names[i].name);
    fields_.fail_unsupported(key(own), excerpt(name), fmt::format("{}", fmt::join(known, ", ")));
  }

  std::string key(const std::string& own) const { return std::string(family_.key(own)); }
  const Family& family() const { return family_; }
  const Fields& all() const { return fields_; }

 private:
  const Fields& fields_;
  const Family& family_;
};

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

bool is_class(const Fields& fields, HeadKind head) {
  const auto suffix = first_task(head).class_suffix;
  return std::ranges::any_of(class_names(fields.value()),
                             [&](const std::string& name) { return name.ends_with(suffix); });
}

/// "BertForSequenceClassification" tells the family where model_type is missing, as before transformers 3.
std::string model_type_of(const Fields& fields) {
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
std::map<int64_t, std::string> read_label_names(const Fields& fields) {
  std::map<int64_t, std::string> names;
  if (!fields.find("id2label")) return names;
  const auto object = fields.object("id2label");
  for (const auto& [key, name] : object.value().items()) {
    const auto id = parsed<int64_t>(key);
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
std::optional<TaskType> named_problem(const Fields& fields) {
  if (!fields.find("problem_type")) return std::nullopt;
  const auto problem = fields.text("problem_type");
  const auto found = std::ranges::find_if(
      task_traits, [&](const TaskTraits& task) { return !problem.empty() && task.problem_type == problem; });
  return found == task_traits.end() ? std::nullopt : std::optional(found->type);
}

/// What a head with labels for whole texts is for.
TaskType read_problem(const Fields& fields, size_t labels) {
  if (const auto named = named_problem(fields)) return *named;
  const auto kind = labels == 1 ? LabelKind::number : LabelKind::class_name;  // as transformers does
  return std::ranges::find(task_traits, kind, &TaskTraits::labels)->type;
}

/// The task and its labels, as far as the file tells.
TaskHead read_head(const Fields& fields) {
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
void note_contradictions(const Fields& fields, std::vector<std::string>& notes) {
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

struct UsualShape {
  int64_t attention_head_size = 0;  // 0: hidden_size is not a multiple of the heads
  LayerShape layer;
};

/// What the usual fields say of heads; not what "compress" says.
UsualShape read_usual_shape(const FamilyFields& fields, int64_t hidden_size, bool head_size_is_given) {
  UsualShape usual;
  const auto& fallback = fields.family().defaults.layers.front();
  usual.layer.num_attention_heads =
      fields.integer("num_attention_heads", fallback.num_attention_heads, 1, limits::width);
  usual.layer.intermediate_size = fields.integer("intermediate_size", fallback.intermediate_size, 1, limits::rows);
  usual.attention_head_size = hidden_size / usual.layer.num_attention_heads;
  if (hidden_size % usual.layer.num_attention_heads != 0 && !head_size_is_given) {
    fields.all().fail(fields.key("num_attention_heads"), std::to_string(usual.layer.num_attention_heads),
                      fmt::format("a divisor of {}, {}", fields.key("hidden_size"), hidden_size));
  }
  return usual;
}

/// ALBERT's num_hidden_groups and inner_group_num; num_hidden_layers is how often a group is gone through.
std::vector<int64_t> read_shared_layers(const FamilyFields& fields, int64_t repeats) {
  const LayerGroups groups{.repeats = repeats,
                           .groups = fields.integer("num_hidden_groups", 1, 1, repeats),
                           .inner = fields.integer("inner_group_num", 1, 1, limits::layers / repeats)};
  return shared_layers(groups);
}

/// DeBERTa's. Its config class has some of these keys as arguments that it does not list.
void read_disentangled(const FamilyFields& family_fields, ModelConfig& config) {
  const auto& fields = family_fields.all();
  auto& encoder = config.encoder;
  encoder.position_embeddings = fields.flag_or(true, "position_biased_input");
  for (const auto& [key, supported] :
       {std::pair("embedding_size", config.hidden_size), std::pair("pooler_hidden_size", config.hidden_size),
        std::pair("attention_head_size", config.attention_head_size), std::pair("conv_kernel_size", int64_t{0})}) {
    if (fields.find(key)) fields.require(key, supported);
  }
  config.head.first_dropout = fields.real_or(0.0, "pooler_dropout", 0, 1);
  config.head.activation = family_fields.activation("pooler_hidden_act", config.head.activation, Activation::tanh);

  std::vector<std::string> kinds;
  if (const json* types = fields.find("pos_att_type"); types && types->is_array()) {
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
    (kind == "c2p" ? encoder.content_to_position : encoder.position_to_content) = true;
  }
  if (!fields.flag_or(false, "relative_attention")) {
    if (!kinds.empty()) fields.fail_unsupported("relative_attention", "false, with pos_att_type", "true with it");
    return;
  }
  encoder.relative = RelativeAttention::disentangled;
  encoder.own_position_projections = !fields.flag_or(false, "share_att_key") && !kinds.empty();
  const auto norm = fields.text_or("none", "norm_rel_ebd");
  if (norm != "none" && norm != "layer_norm") {
    fields.fail_unsupported("norm_rel_ebd", excerpt(norm), "none, layer_norm");
  }
  encoder.relative_norm = norm == "layer_norm";
  encoder.relative_range = fields.integer_or(-1, "max_relative_positions", -1, limits::rows);
  if (encoder.relative_range < 1) encoder.relative_range = config.max_position_embeddings;
  encoder.relative_buckets = std::max<int64_t>(fields.integer_or(0, "position_buckets", -1, limits::rows), 0);
  // The buckets beyond the middle divide the logarithms of the distances from there to the range.
  if (encoder.relative_buckets == 1 ||
      (encoder.relative_buckets > 0 && encoder.relative_range - 1 <= encoder.relative_buckets / 2)) {
    fields.fail_unsupported(
        "position_buckets", std::to_string(encoder.relative_buckets),
        fmt::format("from 2 to less than twice the range of positions, {}", encoder.relative_range));
  }
  encoder.relative_rows = 2 * (encoder.relative_buckets > 0 ? encoder.relative_buckets : encoder.relative_range);
}

void read_encoder_options(const FamilyFields& fields, const UsualShape& usual, ModelConfig& config) {
  auto& encoder = config.encoder;
  const auto& family = fields.family();
  if (family.has("embedding_size")) {
    encoder.embedding_size = fields.integer("embedding_size", encoder.embedding_size, 1, limits::width);
    encoder.embedding_projection |= encoder.embedding_size != config.hidden_size;
  }
  if (family.has("num_hidden_groups")) {
    encoder.shared_layers = read_shared_layers(fields, static_cast<int64_t>(config.layers.size()));
    config.layers.resize(encoder.shared_layers.size(), usual.layer);
  }
  if (family.has("relative_attention_num_buckets")) {
    encoder.relative_rows =
        fields.integer("relative_attention_num_buckets", encoder.relative_rows, encoder.relative_rows, limits::rows);
    encoder.bias_heads = usual.layer.num_attention_heads;
    if (config.pad_token_id != family.defaults.pad_token_id) {
      fields.all().fail_unsupported("pad_token_id", std::to_string(config.pad_token_id),
                                    std::to_string(family.defaults.pad_token_id));
    }
  }
  if (family.has("relative_attention")) read_disentangled(fields, config);
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

/// Which columns of the shared table of position biases the heads of a pruned layer read.
void read_position_heads(const Fields& layer, int64_t columns, LayerShape& shape) {
  const auto count = shape.num_attention_heads;
  if (!layer.find("position_heads") && (count == columns || count == 0)) return;
  const auto& heads = layer.array("position_heads");
  const auto expected = fmt::format("{} numbers from 0 to {}, one a head", count, columns - 1);
  for (const auto& head : heads) {
    if (!head.is_number_integer() || head < 0 || head >= columns) layer.fail("position_heads", excerpt(head), expected);
    shape.position_heads.push_back(head.get<int64_t>());
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
  if (!config.encoder.shared_layers.empty()) {
    fields.fail_unsupported("pruned_heads", excerpt(*pruned), "none, where layers share their weights");
  }
  const auto by_layer = fields.object("pruned_heads");
  for (const auto& [key, heads] : by_layer.value().items()) {
    const auto layer = parsed<size_t>(key);
    if (!layer || *layer >= config.layers.size()) {
      fields.fail("pruned_heads", "layer " + excerpt(json(key)), fmt::format("0 to {}", config.layers.size() - 1));
    }
    auto& shape = config.layers[*layer];
    const auto all = shape.num_attention_heads;
    std::set<int64_t> gone;
    for (const auto& head : by_layer.array(key)) {
      const auto number = whole_number(head);
      if (!number || *number < 0 || *number >= all) {
        by_layer.fail(key, excerpt(head), fmt::format("heads from 0 to {}", all - 1));
      }
      gone.insert(*number);
    }
    shape.num_attention_heads -= static_cast<int64_t>(gone.size());
    if (config.encoder.relative != RelativeAttention::bias) continue;
    for (int64_t head = 0; head < all; ++head) {
      if (!gone.empty() && !gone.contains(head)) shape.position_heads.push_back(head);
    }
  }
}

void read_layers(const Fields& compress, ModelConfig& config) {
  const size_t count = compress.array("layers").size();
  if (count != config.layers.size()) {
    compress.fail(
        "layers", fmt::format("an array of {}", count),
        fmt::format("{}, as {} says", config.layers.size(), find_family(config.model_type).key("num_hidden_layers")));
  }
  for (size_t i = 0; i < count; ++i) {
    const auto layer = compress.element("layers", i);
    const bool has_bias = config.encoder.relative == RelativeAttention::bias;
    std::set<std::string> keys{"num_attention_heads", "intermediate_size"};
    if (has_bias) keys.insert("position_heads");
    layer.allow_only(keys);
    auto& shape = config.layers[i];
    shape.num_attention_heads = layer.integer("num_attention_heads", 0, limits::width);
    shape.intermediate_size = layer.integer("intermediate_size", 0, limits::rows);
    if (has_bias) read_position_heads(layer, config.encoder.bias_heads, shape);
    if (const auto first = config.first_use(i); config.layers[first] != shape) {
      compress.fail("layers", fmt::format("other sizes for layer {} than for layer {}", i, first),
                    "the same: they share their weights");
    }
  }
}

void read_compress(const Fields& compress, ModelConfig& config) {
  if (const auto found = compress.integer("format", 0, limits::rows); found != format_version) {
    compress.fail_unsupported("format", std::to_string(found), std::to_string(format_version));
  }
  compress.allow_only({"format", "attention_head_size", "layers", "weight_format", "embedding_format"});
  config.attention_head_size = compress.integer_or(config.attention_head_size, "attention_head_size", 1, limits::width);
  if (compress.find("layers")) read_layers(compress, config);
  using enum WeightFormat;
  config.linear_format = read_format(compress, "weight_format", {float32, float16, bfloat16});
  config.embedding_format = read_format(compress, "embedding_format", {float32, float16, bfloat16, int8});
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
std::vector<std::string> read_unquantized(const Fields& quantization, const ModelConfig& config) {
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
                      fmt::format("int8, but compress.weight_format is {}", enum_name(config.linear_format)),
                      "one of the two");
  }
  config.linear_format = WeightFormat::int8;
}

void check_sizes(const ModelConfig& config, const std::string& file) {
  for (const auto& layer : config.layers) {
    if (layer.num_attention_heads * config.attention_head_size > limits::width) {
      throw CheckpointError(fmt::format("{}: found {} heads of size {}, expected at most {} features in all", file,
                                        layer.num_attention_heads, config.attention_head_size, limits::width));
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
  if (weight_count(config) > static_cast<double>(limits::parameters)) {
    throw CheckpointError(fmt::format("{}: found sizes that make {:.3g} parameters, expected at most {}", file,
                                      weight_count(config), limits::parameters));
  }
}

/// The usual fields keep the shape of the model that this one was cut from, as long as it is of the same width.
UsualShape usual_shape(const ModelConfig& config) {
  UsualShape usual;
  const auto& family = find_family(config.model_type);
  const auto key = [&](std::string_view own) { return std::string(family.key(own)); };
  if (!config.layers.empty()) usual.layer = config.layers.front();
  usual.layer.position_heads.clear();
  const json source = config.source.is_object() ? config.source : json::object();
  // Of layers that differ, the largest: a program that reads the usual fields alone may not find 0 there.
  for (const auto& layer : config.layers) {
    usual.layer.num_attention_heads =
        std::max({usual.layer.num_attention_heads, layer.num_attention_heads, int64_t{1}});
    usual.layer.intermediate_size = std::max({usual.layer.intermediate_size, layer.intermediate_size, int64_t{1}});
  }
  if (whole_number(source.value(key("hidden_size"), json())) == config.hidden_size) {
    for (const auto& [own, size] : {std::pair("num_attention_heads", &usual.layer.num_attention_heads),
                                    std::pair("intermediate_size", &usual.layer.intermediate_size)}) {
      if (const auto kept = whole_number(source.value(key(own), json())); kept && *kept > 0) *size = *kept;
    }
  }
  if (config.encoder.bias_heads > 0) usual.layer.num_attention_heads = config.encoder.bias_heads;
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
      json shape{{"num_attention_heads", layer.num_attention_heads}, {"intermediate_size", layer.intermediate_size}};
      if (!layer.position_heads.empty()) shape["position_heads"] = layer.position_heads;
      fields["layers"].push_back(std::move(shape));
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

/// The inverse of read_encoder_options(). Keys that say the same in another way stay as the source has them.
void write_encoder_options(json& out, const Family& family, const LayerGroups& groups, const ModelConfig& config) {
  const auto& encoder = config.encoder;
  const auto put = [&](const char* key, const json& value, const json& default_value) {
    if (out.contains(key) || value != default_value) out[key] = value;
  };
  if (family.has("embedding_size")) out["embedding_size"] = config.embedding_size();
  if (family.has("num_hidden_groups")) {
    out["num_hidden_groups"] = groups.groups;
    out["inner_group_num"] = groups.inner;
  }
  if (family.has("relative_attention_num_buckets")) out["relative_attention_num_buckets"] = encoder.relative_rows;
  if (!family.has("relative_attention")) return;
  const bool relative = encoder.relative == RelativeAttention::disentangled;
  put("position_biased_input", encoder.position_embeddings, true);
  put("pooler_dropout", config.head.first_dropout.value_or(0.0), 0.0);
  put("pooler_hidden_act", activation_name(out, "pooler_hidden_act", config.head.activation),
      activation_name(json::object(), "pooler_hidden_act", family.defaults.head.activation));
  put("relative_attention", relative, false);
  if (!relative || out.contains("pos_att_type")) return;
  out["pos_att_type"] = json::array();
  if (encoder.content_to_position) out["pos_att_type"].push_back("c2p");
  if (encoder.position_to_content) out["pos_att_type"].push_back("p2c");
  put("share_att_key", !encoder.own_position_projections, false);
  put("norm_rel_ebd", encoder.relative_norm ? "layer_norm" : "none", "none");
  put("max_relative_positions", encoder.relative_range, -1);
  put("position_buckets", encoder.relative_buckets, 0);
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

TaskHead head_of_classes(const ModelConfig& config, TaskType task, int64_t classes) {
  if (!traits_of(task).has_label_rows()) return {.task = task};
  const json none = json::object();
  const Fields fields(config.source.is_object() ? config.source : none, "config.json");
  auto labels = labels_of(read_label_names(fields), classes);
  const bool of_tokens = traits_of(task).head == HeadKind::tokens;
  const auto problem = of_tokens ? task : read_problem(fields, labels.size());
  return {.labels = std::move(labels), .task = problem};
}

bool has_label_names(const ModelConfig& config) {
  return config.source.is_object() && are_whole(read_label_names(Fields(config.source, "config.json")));
}

ModelConfig read_model_config(const nlohmann::json& json, const std::string& file, std::vector<std::string>* notes) {
  const Fields all(json, file);
  const auto model_type = model_type_of(all);
  const auto& family = find_family(model_type, all.where("model_type"));
  refuse_unsupported_features(all);
  const FamilyFields fields(all, family);
  auto config = family.defaults;

  const bool has_compress = all.find("compress") != nullptr;
  const bool head_size_is_given = has_compress && all.object("compress").find("attention_head_size") != nullptr;
  config.vocab_size = fields.integer("vocab_size", config.vocab_size, 1, limits::rows);
  config.hidden_size = fields.integer("hidden_size", config.hidden_size, 1, limits::width);
  const auto usual = read_usual_shape(fields, config.hidden_size, head_size_is_given);
  config.attention_head_size = usual.attention_head_size;
  const auto layer_count = static_cast<int64_t>(config.layers.size());
  config.layers.assign(static_cast<size_t>(fields.integer("num_hidden_layers", layer_count, 1, limits::layers)),
                       usual.layer);

  config.hidden_act = fields.activation("hidden_act", config.hidden_act);
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
  config.layer_norm_eps = fields.real("layer_norm_eps", config.layer_norm_eps, 0, 1);
  config.initializer_range = fields.real("initializer_range", config.initializer_range, 0, 1e6);
  config.pad_token_id = fields.integer("pad_token_id", config.pad_token_id, 0, config.vocab_size - 1);
  auto head = read_head(all);
  config.task = head.task;
  config.labels = std::move(head.labels);
  read_encoder_options(fields, usual, config);
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
  const auto usual = usual_shape(config);
  const auto groups = layer_groups(config);
  json out = config.source.is_object() ? config.source : json::object();
  const auto put = [&](std::string_view own, json value) {
    if (const auto key = family.key(own); !key.empty()) out[std::string(key)] = std::move(value);
  };
  out["model_type"] = config.model_type;
  if (const auto pruned = out.find("pruned_heads"); pruned != out.end() && !pruned->empty()) out.erase(pruned);
  put("vocab_size", config.vocab_size);
  put("hidden_size", config.hidden_size);
  put("num_hidden_layers", groups.repeats);
  put("num_attention_heads", usual.layer.num_attention_heads);
  put("intermediate_size", usual.layer.intermediate_size);
  put("hidden_act", activation_name(out, std::string(family.key("hidden_act")), config.hidden_act));
  put("hidden_dropout_prob", config.hidden_dropout_prob);
  put("attention_probs_dropout_prob", config.attention_probs_dropout_prob);
  if (config.classifier_dropout) {
    put("classifier_dropout", *config.classifier_dropout);
  } else if (out.contains(std::string(family.key("classifier_dropout")))) {
    put("classifier_dropout", nullptr);
  }
  put("max_position_embeddings", config.max_position_embeddings);
  put("type_vocab_size", config.type_vocab_size);
  put("layer_norm_eps", config.layer_norm_eps);
  put("initializer_range", config.initializer_range);
  put("pad_token_id", config.pad_token_id);
  write_encoder_options(out, family, groups, config);
  write_head(out, family, config);
  write_dtype(out, config.linear_format);

  out.erase("compress");
  if (auto fields = compress_fields(config, usual); !fields.empty()) out["compress"] = std::move(fields);
  out.erase("quantization_config");
  if (config.linear_format == WeightFormat::int8) out["quantization_config"] = quantization_fields(config);
  return out;
}

}  // namespace compression
