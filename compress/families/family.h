#pragma once
// What a model family is: a file of its own in this folder fills it in. Keys of its config.json to the description and
// back; names of its tensors.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "compress/spec/config.h"            // ModelConfig
#include "compress/tokenizer/class_rules.h"  // TokenizerClass

namespace compression {

class FamilyFields;

/// A name of ours and what the family calls the same.
struct OtherName {
  std::string_view own, theirs;
};

/// A linear layer of the family that is several of ours: their rows follow each other.
struct JoinedName {
  std::string_view theirs;
  std::vector<std::string_view> parts;  // what layer_modules calls them, for there is no such module in the file
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
  std::string_view decoder_layer = "";        // the same of the second stack, where there is one
  std::vector<OtherName> layer_modules = {};  // below a layer
  std::vector<JoinedName> joined = {};        // below a layer, by the names of layer_modules
  bool transposed_blocks = false;             // whether linear layers of blocks are stored as [in, out] (GPT-2)
  bool norms_less_one = false;                // whether factors of norms are stored less 1 (Gemma); not in GGUF
  std::vector<OtherName> modules = {};        // anywhere else in the encoder, whole names
  std::vector<OtherName> sequence_head = {};  // of the class for one label a text
  std::vector<OtherName> tokens_head = {{"head.classifier", "classifier"}};  // of the class for a label a token
  std::vector<OtherName> spans_head = {{"head.classifier", "qa_outputs"}};   // of the class for question answering
  std::vector<OtherName> mlm_head = {};  // of the class for masked language modelling; "head" is its bias's module
  /// GGUF: the architecture's name there, and modules by their names there, with {} for a layer's index. Empty: none.
  std::string_view gguf = "";
  std::vector<OtherName> gguf_modules = {};
  std::vector<OtherName> gguf_keys = {};   // of config.json, by what metadata there call them, besides the usual ones
  bool gguf_turns_neighbours = false;      // rotary positions there turn neighbours (gguf_rotary_rows), not halves
  std::vector<std::string> not_ours = {};  // names, prefixes that end in a dot, or ends that begin with one, that we
                                           // have no place for, besides those of all families (ignorable_names)
  std::vector<std::string> zeros = {};     // of them, tensors that we can do without only where they are 0

  std::vector<TokenizerClass> tokenizers = {};  // its tokenizer's class, and others that work alike

  bool is_decoder() const { return defaults.language_head != LanguageHead::none; }

  /// The modules of a head.
  const std::vector<OtherName>& head(HeadKind kind) const;

  /// The family's name of a key of ours; empty: it has none.
  std::string_view key(std::string_view own) const;
  bool names(std::string_view own) const;  // whether it says what it calls a key
};

/// Blocks of one shape, as a family's default config has them.
std::vector<BlockSpec> blocks_of(size_t count, int64_t heads, int64_t units, Activation activation = Activation::gelu);

// The families, one file each.
Family albert();
Family bart();
Family bert();
Family deberta_v2();
Family distilbert();
Family electra();
Family gemma2();
Family gemma3();
Family gpt2();
Family llama();
Family mistral();
Family modernbert();
Family mpnet();
Family mpt();
Family opt();
Family qwen2();
Family qwen3();
Family roberta();
Family xlm_roberta();

}  // namespace compression
