#pragma once
// The members of a config.json, read one by one, with messages that name file and key.

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "compress/families/family.h"  // Family
#include "compress/spec/config.h"      // ModelConfig

namespace compression {

/// 12, and as some programs write it: 12.0, "12".
std::optional<int64_t> whole_number(const nlohmann::json& value);

/// Text without spaces around it as a whole number, all of it.
std::optional<int64_t> whole_number_in(std::string_view text);

/// Reads the members of one object of the file; null counts as absent. Everything throws CheckpointError, or
/// UnsupportedError, where what is found is not what is expected.
class ConfigFields {
 public:
  ConfigFields(const nlohmann::json& object, std::string file, std::string prefix = "");

  const nlohmann::json* find(const std::string& key) const;
  const nlohmann::json& required(const std::string& key, std::string_view expected) const;

  int64_t integer(const std::string& key, int64_t least, int64_t most) const;
  int64_t integer_or(int64_t fallback, const std::string& key, int64_t least, int64_t most) const;
  double real_or(double fallback, const std::string& key, double least, double most) const;
  std::string text(const std::string& key) const;
  std::string text_or(const std::string& fallback, const std::string& key) const;
  bool flag_or(bool fallback, const std::string& key) const;
  const nlohmann::json& array(const std::string& key) const;
  ConfigFields object(const std::string& key) const;
  ConfigFields element(const std::string& key, size_t index) const;

  /// The program supports this value only.
  void require(const std::string& key, const nlohmann::json& supported) const;
  /// The same of a key that may be absent.
  void require_if_given(const std::string& key, const nlohmann::json& supported) const;
  void allow_only(const std::set<std::string>& keys) const;

  [[noreturn]] void fail(std::string_view key, std::string_view found, std::string_view expected) const;
  [[noreturn]] void fail_unsupported(std::string_view key, std::string_view found, std::string_view supported) const;

  /// "config.json: text_config.hidden_size"
  std::string where(std::string_view key) const;

  const nlohmann::json& value() const { return object_; }

 private:
  const nlohmann::json& object_;
  std::string file_, prefix_;
};

/// The fields of a family, by our names for them. One that the family does not have is its default.
class FamilyFields {
 public:
  FamilyFields(const ConfigFields& fields, const Family& family) : fields_(fields), family_(family) {}

  int64_t integer(const std::string& own, int64_t fallback, int64_t least, int64_t most) const;
  double real(const std::string& own, double fallback, double least, double most) const;
  bool is_given(const std::string& own) const;
  /// `more`: one that can stand here besides those of the encoder.
  Activation activation(const std::string& own, Activation fallback,
                        std::optional<Activation> more = std::nullopt) const;

  std::string key(const std::string& own) const { return std::string(family_.key(own)); }
  const Family& family() const { return family_; }
  const ConfigFields& all() const { return fields_; }

 private:
  const ConfigFields& fields_;
  const Family& family_;
};

/// The name that `source` has for an activation under the key, else transformers'.
std::string activation_name(const nlohmann::json& source, const std::string& key, Activation activation);

/// embedding_size, of families whose tables may be narrower than the blocks, and its inverse.
void read_embedding_size(const FamilyFields& fields, ModelConfig& config);
void write_embedding_size(const ModelConfig& config, nlohmann::json& out);

/// The base of rotary positions: of rope_parameters, of those for `type` where that is given, or `old_key` as before
/// transformers 5. Scaled ones are refused.
double read_rotary_base(const ConfigFields& fields, const std::string& old_key, double fallback,
                        const std::string& type = "");
void write_rotary_base(double base, nlohmann::json& out);

/// Heads that share a key and a value, of `heads` and num_key_value_heads.
int64_t read_group(const ConfigFields& fields, int64_t heads, int64_t fallback);

/// Whether each layer's attention is local: layer_types says so, or where it is absent `otherwise` of a layer's number.
std::vector<bool> read_local_layers(const ConfigFields& fields, size_t layers,
                                    const std::function<bool(size_t)>& otherwise);

/// layer_types, a layer with a window being local.
void write_local_layers(const ModelConfig& config, nlohmann::json& out);

/// The rotary base of local layers, and of the others, by the names that layer_types has for them.
struct RotaryBases {
  double local = 0.0, global = 0.0;
};
RotaryBases read_rotary_bases(const ConfigFields& fields, const std::string& old_local, const std::string& old_global,
                              RotaryBases fallback);
void write_rotary_bases(const ModelConfig& config, nlohmann::json& out);

/// tie_word_embeddings of a decoder, `tied` where it is absent, in place of any other head; and its inverse.
void read_language_head(const ConfigFields& fields, bool tied, ModelConfig& config);
void write_language_head(const ModelConfig& config, nlohmann::json& out);

}  // namespace compression
