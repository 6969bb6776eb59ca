#pragma once
// What a training or scoring loop reads: batches of encoded texts.

#include <torch/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/model/config.h"  // TaskHead

namespace spdlog {
class logger;
}

namespace compression {

/// In a batch's labels: a token that has none.
inline constexpr int64_t ignored_label = -100;

struct Batch {
  torch::Tensor input_ids;       // int64 [batch, sequence]
  torch::Tensor attention_mask;  // int64 [batch, sequence]: 1 for a token, 0 for padding
  torch::Tensor token_type_ids;  // int64 [batch, sequence]
  torch::Tensor labels;    // of the task (docs/tasks.md), int64 [batch] for classes; undefined where there are none
  torch::Tensor examples;  // int64 [batch]: the rows' positions in the source

  int64_t size() const { return input_ids.size(0); }

  /// The same on `device`; `examples` stay on the CPU, with the caches that they are looked up in.
  Batch to(torch::Device device) const;
};

/// Positions of the tokens that have a label: int64 [labelled tokens], counted through labels [batch, sequence].
torch::Tensor labelled_tokens(const torch::Tensor& labels);

class Scorer;  // compress/evaluate/evaluate.h

/// Texts that are encoded and in memory, dealt out in batches. Random access, so that a loop can go on anywhere.
class BatchSource {
 public:
  virtual ~BatchSource() = default;

  /// Number of examples.
  virtual int64_t size() const = 0;

  /// The examples of each batch of an epoch, in the order of training; not those that are left out. The same epoch
  /// gives the same plan.
  virtual std::vector<std::vector<int64_t>> plan(int64_t epoch) const = 0;

  /// Pads the examples into one batch. What is drawn by chance, such as masks, follows from the epoch.
  virtual Batch collate(std::span<const int64_t> examples, int64_t epoch = 0) const = 0;

  /// Texts that no plan has, because nothing can be learnt from them or scored: without a token, or without one that is
  /// labelled or could be masked.
  virtual int64_t left_out() const { return 0; }

  /// Tells the logger how many they are, if there are some and it has not been told of this source.
  void tell_left_out(const std::shared_ptr<spdlog::logger>& logger) const;

  /// What compares a model's outputs with the labels; not of an unlabelled source. Unless overridden, accuracy on
  /// classes.
  virtual std::unique_ptr<Scorer> scorer() const;

 private:
  mutable std::atomic<bool> told_ = false;
};

struct BatchOptions {
  int64_t batch_size = 32;
  bool shuffle = false;
  uint64_t seed = 0;         // of the shuffle
  int64_t max_examples = 0;  // a random subset of so many, chosen by the seed; 0: all
  bool unlabelled = false;   // of the training split: texts without labels too, behind the others; their class is
                             // ignored_label
  std::optional<double> threshold = {};  // of questions that may have no answer: what the scorer takes in place of its
                                         // setting or choice (datasets/answers.h)
};

enum class Split { train, validation, test };

/// The task's data, encoded on request with the tokenizer of the model that will read it.
class DataProvider {
 public:
  virtual ~DataProvider() = default;
  virtual bool has(Split split) const = 0;
  /// Throws DataError if the split is not there.
  virtual std::shared_ptr<const BatchSource> batches(Split split, const class Tokenizer& tokenizer,
                                                     const BatchOptions& options) const = 0;
  /// The task, and names of its classes in the order of their ids.
  virtual const TaskHead& head() const = 0;
  /// Tokens that texts are cut to: the length that multiply-adds are counted for.
  virtual int64_t max_length() const = 0;
};

}  // namespace compression
