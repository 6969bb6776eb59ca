#pragma once
// Accuracy and loss of a classifier on labelled texts.

#include <functional>

#include "compress/train/batch.h"       // Batch, BatchSource
#include "compress/workflow/context.h"  // Context

namespace compression {

/// Logits float32 [batch, classes] of a batch, from a model of any kind.
using LogitsFunction = std::function<torch::Tensor(const Batch&)>;

struct Evaluation {
  int64_t correct = 0;
  int64_t total = 0;
  double loss = 0.0;  // mean cross-entropy

  double accuracy() const { return total == 0 ? 0.0 : static_cast<double>(correct) / static_cast<double>(total); }
};

/// In inference mode and float32. Every example must have a label. Throws Interrupted.
Evaluation evaluate(const LogitsFunction& logits, const BatchSource& source, const Context& context);

/// Logits of every example, in the source's order: float32 [examples, classes] on the CPU. Throws Interrupted.
torch::Tensor predict(const LogitsFunction& logits, const BatchSource& source, const Context& context);

}  // namespace compression
