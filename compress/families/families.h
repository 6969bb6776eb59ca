#pragma once
// The model families that can be read, one entry each: what their config.json and their tensors are called, and the
// options of the encoder and head that are the family's own. Adding a family that computes nothing new is adding an
// entry.

#include <string>
#include <string_view>
#include <vector>

#include "compress/spec/config.h"  // ModelConfig

namespace compression {

/// A name of ours and what the family calls the same.
struct OtherName {
  std::string_view own, theirs;
};

struct Family {
  std::string_view model_type;    // in config.json
  std::string_view class_prefix;  // of the classes in "architectures"
  std::string_view base;          // what the class with a head calls its encoder: "roberta"

  ModelConfig defaults;                     // of the keys that config.json lacks, as transformers has them
  std::vector<OtherName> keys = {};         // of config.json; no name: the family has no such key, the default stands
  std::vector<std::string_view> also = {};  // keys that only some families have, and this one does

  /// Tensors. A layer's name has {} for its index; with two of them, ALBERT's group and the layer in it.
  std::string_view layer = "encoder.layer.{}";
  std::vector<OtherName> layer_modules = {};  // below a layer
  std::vector<OtherName> modules = {};        // anywhere else in the encoder, whole names
  std::vector<OtherName> sequence_head = {};  // of the class for one label a text
  std::vector<OtherName> mlm_head = {};       // of the class for masked language modelling; "head" is its bias's module
  std::vector<std::string> not_ours = {};  // names, or prefixes that end in a dot, that we have no place for, besides
                                           // those of all families (ignorable_names)

  /// The modules of a head.
  const std::vector<OtherName>& head(HeadKind kind) const;

  /// The family's name of a key of ours; empty: it has none.
  std::string_view key(std::string_view own) const;
  bool has(std::string_view key) const;
};

const std::vector<Family>& families();

/// Throws UnsupportedError that names the supported families; `where` is where model_type was found.
const Family& find_family(const std::string& model_type, const std::string& where = "model_type");

}  // namespace compression
