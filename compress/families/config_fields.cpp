#include "compress/families/config_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "compress/base/error.h"      // CheckpointError, UnsupportedError
#include "compress/base/fields.h"     // enum_name
#include "compress/base/json_file.h"  // excerpt
#include "compress/base/limits.h"     // width
#include "compress/base/number.h"     // number_of

namespace compression {
namespace {

using nlohmann::json;

/// Text without spaces around it as a number, all of it.
template <class T>
std::optional<T> parsed(std::string_view text) {
  constexpr std::string_view spaces = " \t\n\r";
  text.remove_prefix(std::min(text.find_first_not_of(spaces), text.size()));
  return number_of<T>(text.substr(0, text.find_last_not_of(spaces) + 1));
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

/// transformers' names of the encoders' activations: those in use, then older ones.
struct ActivationName {
  std::string_view name;
  Activation activation;
};
constexpr std::array<ActivationName, 9> activation_names{{{"gelu", Activation::gelu},
                                                          {"gelu_new", Activation::gelu_tanh},
                                                          {"gelu_pytorch_tanh", Activation::gelu_tanh},
                                                          {"relu", Activation::relu},
                                                          {"silu", Activation::silu},
                                                          {"gelu_python", Activation::gelu},
                                                          {"gelu_python_tanh", Activation::gelu_tanh},
                                                          {"gelu_fast", Activation::gelu_tanh},
                                                          {"gelu_accurate", Activation::gelu_tanh}}};
constexpr std::string_view global_type = "full_attention", local_type = "sliding_attention";  // of layer_types
constexpr size_t usual_activations = 5;  // of them: those that messages name

std::optional<Activation> activation_of(std::string_view name) {
  const auto found = std::ranges::find(activation_names, name, &ActivationName::name);
  return found == activation_names.end() ? std::nullopt : std::optional(found->activation);
}

}  // namespace

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

std::optional<int64_t> whole_number_in(std::string_view text) {
  return parsed<int64_t>(text);
}

ConfigFields::ConfigFields(const json& object, std::string file, std::string prefix)
    : object_(object), file_(std::move(file)), prefix_(std::move(prefix)) {
  if (!object.is_object()) {
    throw CheckpointError(fmt::format("{}{}: found {}, expected an object", file_,
                                      prefix_.empty() ? "" : ": " + prefix_.substr(0, prefix_.size() - 1),
                                      excerpt(object)));
  }
}

const json* ConfigFields::find(const std::string& key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const json& ConfigFields::required(const std::string& key, std::string_view expected) const {
  if (const json* value = find(key)) return *value;
  fail(key, "nothing", expected);
}

int64_t ConfigFields::integer(const std::string& key, int64_t least, int64_t most) const {
  const auto expected = fmt::format("a whole number from {} to {}", least, most);
  const json& value = required(key, expected);
  const auto number = whole_number(value);
  if (!number || *number < least || *number > most) fail(key, excerpt(value), expected);
  return *number;
}
int64_t ConfigFields::integer_or(int64_t fallback, const std::string& key, int64_t least, int64_t most) const {
  return find(key) ? integer(key, least, most) : fallback;
}

double ConfigFields::real_or(double fallback, const std::string& key, double least, double most) const {
  const json* value = find(key);
  if (!value) return fallback;
  const auto number = real_number(*value);
  if (!number || !(*number >= least && *number <= most)) {
    fail(key, excerpt(*value), fmt::format("a number from {} to {}", least, most));
  }
  return *number;
}

std::string ConfigFields::text(const std::string& key) const {
  const json& value = required(key, "a string");
  if (!value.is_string()) fail(key, excerpt(value), "a string");
  return value.get<std::string>();
}
std::string ConfigFields::text_or(const std::string& fallback, const std::string& key) const {
  return find(key) ? text(key) : fallback;
}

bool ConfigFields::flag_or(bool fallback, const std::string& key) const {
  const json* value = find(key);
  if (!value) return fallback;
  const auto flag = truth(*value);
  if (!flag) fail(key, excerpt(*value), "true or false");
  return *flag;
}

const json& ConfigFields::array(const std::string& key) const {
  const json& value = required(key, "an array");
  if (!value.is_array()) fail(key, excerpt(value), "an array");
  return value;
}

ConfigFields ConfigFields::object(const std::string& key) const {
  return {required(key, "an object"), file_, prefix_ + key + "."};
}
ConfigFields ConfigFields::element(const std::string& key, size_t index) const {
  return {array(key)[index], file_, fmt::format("{}{}[{}].", prefix_, key, index)};
}

void ConfigFields::require(const std::string& key, const json& supported) const {
  const json& value = required(key, supported.dump());
  if (value != supported) fail_unsupported(key, excerpt(value), supported.dump());
}

void ConfigFields::require_if_given(const std::string& key, const json& supported) const {
  if (find(key)) require(key, supported);
}

void ConfigFields::allow_only(const std::set<std::string>& keys) const {
  for (const auto& [key, value] : object_.items()) {
    if (!keys.contains(key)) fail(excerpt(json(key)), excerpt(value), fmt::format("only {}", fmt::join(keys, ", ")));
  }
}

void ConfigFields::fail(std::string_view key, std::string_view found, std::string_view expected) const {
  throw CheckpointError(fmt::format("{}: found {}, expected {}", where(key), found, expected));
}
void ConfigFields::fail_unsupported(std::string_view key, std::string_view found, std::string_view supported) const {
  throw UnsupportedError(fmt::format("{}: found {}, supported: {}", where(key), found, supported));
}

std::string ConfigFields::where(std::string_view key) const {
  return fmt::format("{}: {}{}", file_, prefix_, key);
}

int64_t FamilyFields::integer(const std::string& own, int64_t fallback, int64_t least, int64_t most) const {
  const auto name = key(own);
  return name.empty() ? fallback : fields_.integer_or(fallback, name, least, most);
}
double FamilyFields::real(const std::string& own, double fallback, double least, double most) const {
  const auto name = key(own);
  return name.empty() ? fallback : fields_.real_or(fallback, name, least, most);
}
bool FamilyFields::is_given(const std::string& own) const {
  return !key(own).empty() && fields_.find(key(own)) != nullptr;
}
Activation FamilyFields::activation(const std::string& own, Activation fallback, std::optional<Activation> more) const {
  if (!is_given(own)) return fallback;
  const auto name = fields_.text(key(own));
  if (more && name == enum_name(*more)) return *more;
  if (const auto found = activation_of(name)) return *found;
  std::vector<std::string_view> known;
  if (more) known.push_back(enum_name(*more));
  for (size_t i = 0; i < usual_activations; ++i) known.push_back(activation_names[i].name);
  fields_.fail_unsupported(key(own), excerpt(name), fmt::format("{}", fmt::join(known, ", ")));
}

std::string activation_name(const json& source, const std::string& key, Activation activation) {
  const auto given = source.find(key);
  if (given != source.end() && given->is_string() && activation_of(given->get<std::string>()) == activation)
    return *given;
  const auto found = std::ranges::find(activation_names, activation, &ActivationName::activation);
  return std::string(found == activation_names.end() ? enum_name(activation) : found->name);
}

void read_embedding_size(const FamilyFields& fields, ModelConfig& config) {
  auto& input = config.input;
  input.embedding_size = fields.integer("embedding_size", input.embedding_size, 1, limits::width);
  input.projection |= input.embedding_size != config.hidden_size;
}

void write_embedding_size(const ModelConfig& config, json& out) {
  out["embedding_size"] = config.embedding_size();
}

double read_rotary_base(const ConfigFields& fields, const std::string& old_key, double fallback,
                        const std::string& type) {
  if (fields.find("rope_scaling")) fields.fail_unsupported("rope_scaling", "some", "none");
  const auto base = fields.real_or(fallback, old_key, 1.0, 1e12);
  if (!fields.find("rope_parameters")) return base;
  const auto all = fields.object("rope_parameters");
  if (!type.empty() && !all.find(type)) return base;
  const auto own = type.empty() ? all : all.object(type);
  own.require_if_given("rope_type", "default");
  return own.real_or(base, "rope_theta", 1.0, 1e12);
}

void write_rotary_base(double base, json& out) {
  out.erase("rope_theta");
  out["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", base}};
}

int64_t read_group(const ConfigFields& fields, int64_t heads, int64_t fallback) {
  const auto kv_heads = fields.integer_or(fallback, "num_key_value_heads", 1, heads);
  if (heads % kv_heads == 0) return heads / kv_heads;
  fields.fail("num_key_value_heads", std::to_string(kv_heads),
              fmt::format("a divisor of num_attention_heads, {}", heads));
}

std::vector<bool> read_local_layers(const ConfigFields& fields, size_t layers,
                                    const std::function<bool(size_t)>& otherwise) {
  std::vector<bool> local;
  if (!fields.find("layer_types")) {
    for (size_t i = 0; i < layers; ++i) local.push_back(otherwise(i));
    return local;
  }
  for (const auto& type : fields.array("layer_types")) {
    if (type != global_type && type != local_type) {
      fields.fail_unsupported("layer_types", excerpt(type), fmt::format("{}, {}", global_type, local_type));
    }
    local.push_back(type == local_type);
  }
  if (local.size() != layers) {
    fields.fail("layer_types", fmt::format("{} layers", local.size()),
                fmt::format("{}, as num_hidden_layers says", layers));
  }
  return local;
}

void write_local_layers(const ModelConfig& config, json& out) {
  out["layer_types"] = json::array();
  for (const auto& block : config.layers) {
    out["layer_types"].push_back(block.attention.window > 0 ? local_type : global_type);
  }
}

RotaryBases read_rotary_bases(const ConfigFields& fields, const std::string& old_local, const std::string& old_global,
                              RotaryBases fallback) {
  return {.local = read_rotary_base(fields, old_local, fallback.local, std::string(local_type)),
          .global = read_rotary_base(fields, old_global, fallback.global, std::string(global_type))};
}

void write_rotary_bases(const ModelConfig& config, json& out) {
  auto& bases = out["rope_parameters"] = json::object();
  for (const auto& block : config.layers) {
    const auto& attention = block.attention;
    bases[std::string(attention.window > 0 ? local_type : global_type)] = {{"rope_type", "default"},
                                                                           {"rope_theta", attention.rotary_base}};
  }
}

void read_language_head(const ConfigFields& fields, bool tied, ModelConfig& config) {
  config.language_head = fields.flag_or(tied, "tie_word_embeddings") ? LanguageHead::tied : LanguageHead::own;
  config.task = headless_task;
  config.labels.clear();
}

void write_language_head(const ModelConfig& config, json& out) {
  if (config.language_head == LanguageHead::none) return;
  out["tie_word_embeddings"] = config.language_head == LanguageHead::tied;
}

}  // namespace compression
