#pragma once
// Our model as TorchScript, and the check of the file that was written.

#include "compress/model/language_model.h"  // LanguageModel
#include "compress/model/model.h"           // Model
#include "export/config.h"                  // Runtime
#include "export/script.h"                  // Script

namespace compression::exporter {

/// forward(input_ids, attention_mask, token_type_ids) -> logits: int64 [batch, sequence] in, float32 out, of the
/// task's shape ([batch, classes]; docs/tasks.md); any batch and any length up to the model's positions. The fused
/// runtime throws UnsupportedError for a family that it has no kernels for.
Script model_script(const Model& model, Runtime runtime = Runtime::portable);

/// LanguageModel::forward: forward(input_ids, attention_mask) -> logits, or where there is a decoder behind an encoder
/// forward(input_ids, attention_mask, decoder_input_ids).
Script language_script(const LanguageModel& model);

/// What counts of a batch's outputs: tokens that are not padding, and of masked language modelling those that are
/// labelled, which are all that `own`, the model's, has.
torch::Tensor counted(const torch::Tensor& outputs, const torch::Tensor& own, const Batch& batch);

struct Parity {
  double largest_difference = 0.0;   // of any logit
  double relative_difference = 0.0;  // of all logits: the differences' root mean square, in shares of the logits'
  Evaluation model, file;
};

/// How far a file's logits may be from its model's: `absolute`, or `relative` times the root mean square of all logits,
/// whichever is more.
struct ParityBounds {
  double absolute = 1e-3;
  double relative = 1e-3;
};

/// Runs both over a labelled source, on the CPU. Throws CheckpointError naming `name` if the bound is broken or a logit
/// is not finite. What the two reach is told and not judged: how good a model must be is a goal's matter.
Parity check_parity(const LogitsFunction& model, const LogitsFunction& file, const BatchSource& source,
                    const ParityBounds& bounds, const std::string& name, const Context& context);

/// What a file of a runtime computes, as a model: the model itself, or a copy with LibTorch's products; with a scale a
/// token in the fused runtime where the model has one for all its input.
Model as_runtime(const Model& model, Runtime runtime);

}  // namespace compression::exporter
