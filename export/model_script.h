#pragma once
// Our model as TorchScript, and the check of the file that was written.

#include <limits>

#include "compress/model/model.h"  // Model
#include "export/config.h"         // Runtime
#include "export/script.h"         // Script

namespace compression::exporter {

/// forward(input_ids, attention_mask, token_type_ids) -> logits: int64 [batch, sequence] in, float32 out, of the
/// task's shape ([batch, classes]; docs/tasks.md); any batch and any length up to the model's positions. The fused
/// runtime throws UnsupportedError for a family or task that it has no kernels for.
Script model_script(const Model& model, Runtime runtime = Runtime::portable);

struct Parity {
  double largest_difference = 0.0;   // of any logit
  double relative_difference = 0.0;  // of all logits: the differences' root mean square, in shares of the logits'
  Evaluation model, file;
};

/// How far a file may be from its model.
struct ParityBounds {
  double largest_difference = 1e-3;
  double relative_difference = std::numeric_limits<double>::infinity();
  double metric = 0.001;  // of metrics above 1: that share of it
};

/// Runs both over a labelled source. Throws CheckpointError naming `name` if a bound is broken or a logit is not
/// finite.
Parity check_parity(const LogitsFunction& model, const LogitsFunction& file, const BatchSource& source,
                    const ParityBounds& bounds, const std::string& name, const Context& context);

}  // namespace compression::exporter
