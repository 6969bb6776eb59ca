#pragma once
// What a teacher says of every text, kept, so that it need not run for every batch.

#include <torch/types.h>

#include <map>
#include <optional>
#include <string>

#include "compress/model/model.h"        // Model
#include "compress/task/batch_source.h"  // BatchSource
#include "compress/workflow/context.h"   // Context

namespace compression::distill {

struct TeacherOutputs {
  torch::Tensor logits;         // float32 [texts, outputs]
  torch::Tensor hidden_states;  // float16 [tokens of all texts, embeddings and layers, hidden]; undefined without
  torch::Tensor begin;          // int64 [texts + 1]: each text's first token; undefined without hidden states

  /// What the teacher answers, looked up by Batch::examples; hidden states with float16's precision, and some token's
  /// where there is padding. Throws c10::Error if a text has other tokens than the teacher saw.
  ModelOutput of(const Batch& batch) const;

  std::map<std::string, torch::Tensor> tensors() const;
  static TeacherOutputs from_tensors(const std::map<std::string, torch::Tensor>& tensors);
};

/// Bytes of the outputs for all texts of `source`.
int64_t teacher_output_bytes(const ModelConfig& teacher, bool hidden_states, const BatchSource& source);

/// Runs the teacher once over `source`, whose tasks have one output a text. Throws StoppedError when asked to stop.
TeacherOutputs teacher_outputs(Model& teacher, bool hidden_states, const BatchSource& source,
                               std::optional<torch::Dtype> autocast, const Context& context);

}  // namespace compression::distill
