#pragma once
// A transformer encoder with its head in one object, for inference on a CPU: weights packed for the machine, padding
// left out, buffers kept from call to call. Without LibTorch; compress/ops has it as an operator of LibTorch's.

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "compress/runtime/encoder_state.h"  // EncoderState

namespace compression {
struct StoredMatrix;
}

namespace compression::runtime {

/// Texts as rows of one length, one after the other: [rows, columns] each. Of the mask what is not 0 counts.
struct PaddedTokens {
  const int64_t *ids = nullptr, *mask = nullptr, *types = nullptr;
  int64_t rows = 0, columns = 0;
};

/// The same without padding: texts one after the other, text t of the tokens [begin[t], begin[t + 1]). begin: [texts +
/// 1], from 0.
struct Texts {
  const int64_t *ids = nullptr, *types = nullptr;
  std::span<const int64_t> begin;
};

struct Batch;
struct Weights;
struct Space;

class Encoder {
 public:
  /// Throws CheckpointError that names what is missing or does not fit. Tables, norms and biases of positions stay
  /// those of the state; a matrix is read when it is its turn, and given back as soon as it is packed, where nobody
  /// else has it.
  explicit Encoder(EncoderState state);
  ~Encoder();

  /// The inverse.
  EncoderState state() const;

  /// A token whose mask is 0 is no key for the others, wherever it is, and others keep their places: so it is left out,
  /// except a text's first, whose output is what is asked for. Where the mask is 0 throughout, all columns count alike.
  /// `out`: float32 [rows, classes()]. Throws UnsupportedError where a text has no tokens or more than the model has
  /// positions for, or a first token is to be read whose mask is 0 and that, in a layer, attends to no other's;
  /// std::out_of_range for an id or type that its table does not have. Any number of threads may call it. How the
  /// process rounds changes nothing.
  void forward(const PaddedTokens& tokens, float* out) const;

  /// `out`: float32 [rows, columns, state_width()], the last layer's output, or what comes behind the head's function
  /// where the head is a dense layer alone. Zero where the mask is.
  void last_hidden_state(const PaddedTokens& tokens, float* out) const;

  /// The same of texts without padding; last_hidden_state(): float32 [tokens, state_width()].
  void forward(const Texts& texts, float* out) const;
  void last_hidden_state(const Texts& texts, float* out) const;

  /// Columns of what forward() computes: the head's classes; without a head the width of the last layer's output, which
  /// it then is of first tokens.
  int64_t classes() const;

  /// The table of words, in the kind of storage that the state has it in.
  const StoredMatrix& words() const;
  int64_t state_width() const;

 private:
  void run(const PaddedTokens& tokens, bool all_tokens, float* out) const;
  void run(const Texts& texts, bool all_tokens, float* out) const;
  void run(const Batch& batch, bool all_tokens, float* out) const;
  std::unique_ptr<Space> take_space() const;

  std::unique_ptr<const Weights> weights_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Space>> spaces_;  // not in use
};

}  // namespace compression::runtime
