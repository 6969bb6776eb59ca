#pragma once
// A model's outputs on labelled texts, compared with the labels.

#include <functional>

#include "compress/task/batch_source.h"  // Batch, BatchSource
#include "compress/task/scorer.h"        // Evaluation
#include "compress/workflow/context.h"   // Context

namespace compression {

/// Logits of a batch, float32 of the task's shape, from a model of any kind.
using LogitsFunction = std::function<torch::Tensor(const Batch&)>;

/// In inference mode and float32, with the source's scorer. Every example must have a label. Throws DataError if there
/// is nothing to score; Interrupted.
Evaluation evaluate(const LogitsFunction& logits, const BatchSource& source, const Context& context);

/// Calls visit(batch, logits) for every batch, both on the CPU. Throws Interrupted.
void each_output(const LogitsFunction& logits, const BatchSource& source, const Context& context,
                 const std::function<void(const Batch&, const torch::Tensor&)>& visit);

/// Outputs of every example, in the source's order, of tasks with one a text: float32 [examples, classes] on the CPU.
/// Throws Interrupted.
torch::Tensor predict(const LogitsFunction& logits, const BatchSource& source, const Context& context);

}  // namespace compression
