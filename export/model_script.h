#pragma once
// Our model as TorchScript, and the check of the file that was written.

#include "compress/model/model.h"  // Model
#include "export/config.h"         // Runtime
#include "export/script.h"         // Script

namespace compression::exporter {

/// forward(input_ids, attention_mask, token_type_ids) -> logits: int64 [batch, sequence] in, float32 out, of the
/// task's shape ([batch, classes]; docs/tasks.md); any batch and any length up to the model's positions. The fused
/// runtime throws UnsupportedError for a family or task that it has no kernels for.
Script model_script(const Model& model, Runtime runtime = Runtime::portable);

struct Parity {
  double largest_difference = 0.0;  // of any logit
  Evaluation model, file;
};

/// Runs both over a labelled source. Throws CheckpointError naming `name` if a logit differs by more than `tolerance`
/// or is not finite, or the metrics by more than `metric_tolerance` (above 1: by that share).
Parity check_parity(const LogitsFunction& model, const LogitsFunction& file, const BatchSource& source,
                    double tolerance, const std::string& name, const Context& context, double metric_tolerance = 0.001);

}  // namespace compression::exporter
