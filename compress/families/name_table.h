#pragma once
// Names of tensors, by the tables of families.h. Published checkpoints have several for one tensor; the canonical ones,
// which we write, are those of the Hugging Face class with the task's head:
// "bert.encoder.layer.0.attention.self.query.weight". Inside the program all families share the names of our modules.

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/checkpoint/checkpoint.h"  // TensorShapes
#include "compress/spec/config.h"            // ModelConfig
#include "compress/spec/weights.h"           // Role

namespace compression {

/// The names of a checkpoint's tensors and the canonical ones; names that no rule knows stay.
struct CanonicalNames {
  std::map<std::string, std::string> of;  // canonical name by the one in the file
  std::string prefix;  // that all of the encoder's names have in the file: "module." of DataParallel; else empty
};

/// Throws CheckpointError where there are two encoders, UnsupportedError for another family.
CanonicalNames canonical_names(const std::string& model_type, const std::vector<std::string>& names);

/// The canonical name of a tensor, or of a module with a dot at its end, by the name that our Model has for it.
std::function<std::string(const std::string&)> checkpoint_names(const ModelConfig& config);

/// The canonical name of a weight that no block has, by its role: Role::words, or Role::language_head, whether this
/// network has one of its own or not. Throws std::logic_error for roles that are not alone.
std::string canonical_name(ModelConfig config, Role role);

/// A tensor of the file whose rows, or of transposed ones columns, are those of several of ours.
struct JoinedTensor {
  std::string name;            // canonical
  std::vector<int64_t> sizes;  // rows of all parts first
  struct Part {
    std::string name;  // canonical, of none in the file
    int64_t rows;
  };
  std::vector<Part> parts;
};

/// Those of the config's family and sizes; of bare weights and biases, not of what quantization adds to them.
std::vector<JoinedTensor> joined_tensors(const ModelConfig& config);

/// What messages call a tensor, by its canonical name: a part of a joined one is told by the whole, as the file has it.
std::function<std::string(const std::string&)> names_in_file(const ModelConfig& config);
/// "a.weight_scale" of "a.weight".
std::string beside(std::string_view name, std::string_view leaf);

/// A tensor of ours that is in a joined one of the file.
struct PartOfJoined {
  std::string whole, name;                     // canonical
  int64_t first = 0;                           // its rows in `whole`
  std::optional<int64_t> rows = std::nullopt;  // absent: it is all of it
};

/// All that are in the tensors of `shapes`: in joined ones, and in those that storage and quantization keep beside a
/// weight, which have its rows, or are a single number, which is every part's. Throws CheckpointError, which begins
/// with `source`, where the rows of a joined one are not those of the parts.
std::vector<PartOfJoined> parts_of_joined(const ModelConfig& config, const TensorShapes& shapes,
                                          const std::string& source);

/// Canonical names, as the file has them, of matrices that are stored as [in, out].
std::vector<std::string> transposed_tensors(const ModelConfig& config);

/// Canonical names of norms' factors that are stored less 1.
std::vector<std::string> norms_less_one(const ModelConfig& config);

/// Those of config.unquantized that are no linear layer's, and what is said of them: a line, or nothing.
std::vector<std::string> unknown_layers(const ModelConfig& config);
std::string unknown_layers_warning(const ModelConfig& config);

/// Canonical names that published checkpoints hold and our model may have no place for, other heads' among them: they
/// are not worth a word. For LoadOptions::ignore.
std::vector<std::string> ignorable_names(const std::string& model_type);

}  // namespace compression
