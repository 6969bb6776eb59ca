#pragma once
// A model at work without LibTorch: token ids in, logits or vectors out.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/spec/config.h"  // ModelConfig

namespace compression {

/// A text's tokens, or those of a pair of texts together, without padding.
struct TokenRow {
  std::span<const int64_t> ids;
  std::span<const int64_t> types = {};  // empty: all 0
  /// Of a head that says something of each token: the tokens that are asked about, in this order. Absent: all.
  std::optional<std::vector<int64_t>> tokens = {};
};

/// Rows of numbers, one after the other: one a text, or one a token that was asked about.
struct Outputs {
  int64_t width = 0;
  std::vector<float> values = {};
  std::vector<int64_t> begin = {0};  // of each text's rows, and at the end of all: [texts + 1]

  int64_t rows() const { return begin.back(); }
  std::span<const float> row(int64_t index) const {
    return std::span(values).subspan(static_cast<size_t>(index * width), static_cast<size_t>(width));
  }
};

/// Immutable: any number of threads may call it, each with threads of OpenMP's of its own, as many as
/// omp_set_num_threads() said in it.
class Engine {
 public:
  /// A stage's folder, or one of Hugging Face's, in any kind of storage: weights are read one after the other, packed
  /// for this processor and let go of, so that the peak of memory is the packed size and one tensor. bf16 and int8 have
  /// as many bits as in the file. Throws CheckpointError (missing, damaged, misshapen, NaN or infinite),
  /// UnsupportedError (a network that the runtime has no kernels for).
  static std::shared_ptr<const Engine> load(const std::filesystem::path& folder);

  virtual ~Engine() = default;

  virtual const ModelConfig& config() const = 0;

  /// What is odd in the folder, a line each.
  virtual const std::vector<std::string>& warnings() const = 0;

  /// Of one label a text (one class, any number of them, a number): a row of logits a text. Of tokens, and of spans
  /// (start and end): a row a token. Of masked language modelling: a row a token, as wide as the vocabulary. Of
  /// embedding: a text's vector. A text's row does not depend on the texts beside it. Throws DataError that names the
  /// text: without tokens, with more than the model has positions for, or with an id, type or token that is not there;
  /// CheckpointError where weights overflow.
  virtual Outputs run(std::span<const TokenRow> rows) const = 0;

  /// What a head is given: the last layer's output, a row a token. Of an embedding model these are the tokens' vectors
  /// before they are pooled. Throws as run().
  virtual Outputs states(std::span<const TokenRow> rows) const = 0;
};

}  // namespace compression
