#pragma once
// Where a training or scoring loop gets its batches from.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/model/batch.h"  // Batch
#include "compress/spec/config.h"  // TaskHead
#include "compress/task/scorer.h"  // Scorer

namespace spdlog {
class logger;
}

namespace compression {

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
