#pragma once
// What a model family is: a file of its own in this folder fills it in. Keys of its config.json to the description and
// back; names of its tensors.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "compress/spec/config.h"  // ModelConfig

namespace compression {

class FamilyFields;

/// A name of ours and what the family calls the same.
struct OtherName {
  std::string_view own, theirs;
};

struct Family {
  std::string_view model_type;    // in config.json
  std::string_view class_prefix;  // of the classes in "architectures"
  std::string_view base;          // what the class with a head calls its encoder: "roberta"

  ModelConfig defaults;              // of the keys that config.json lacks, as transformers has them
  std::vector<OtherName> keys = {};  // of config.json; no name: the family has no such key, the default stands
  /// Keys that only this family has, or few: to the description, when the usual ones have been read; and back. May be
  /// null.
  void (*read)(const FamilyFields& fields, ModelConfig& config) = nullptr;
  void (*write)(const ModelConfig& config, nlohmann::json& out) = nullptr;

  /// Tensors. A layer's name has {} for its index; with two of them, ALBERT's group and the layer in it.
  std::string_view layer = "encoder.layer.{}";
  std::vector<OtherName> layer_modules = {};  // below a layer
  std::vector<OtherName> modules = {};        // anywhere else in the encoder, whole names
  std::vector<OtherName> sequence_head = {};  // of the class for one label a text
  std::vector<OtherName> mlm_head = {};       // of the class for masked language modelling; "head" is its bias's module
  std::vector<std::string> not_ours = {};  // names, or prefixes that end in a dot, that we have no place for, besides
                                           // those of all families (ignorable_names)

  /// The modules of a task's head.
  const std::vector<OtherName>& head(TaskType task) const;

  /// The family's name of a key of ours; empty: it has none.
  std::string_view key(std::string_view own) const;
};

/// Blocks of one shape, as a family's default config has them.
std::vector<BlockSpec> blocks_of(size_t count, int64_t heads, int64_t units, Activation activation = Activation::gelu);

// The families, one file each.
Family albert();
Family bert();
Family deberta_v2();
Family distilbert();
Family electra();
Family mpnet();
Family roberta();
Family xlm_roberta();

}  // namespace compression
