#include "distill/teacher_outputs.h"

#include <torch/types.h>

#include "compress/evaluate/evaluate.h"  // predict
#include "compress/model/autocast.h"     // Autocast

namespace compression::distill {
namespace {

using torch::Tensor;

/// Each token's row among those of all texts, int64 [batch * sequence]; where there is padding, a row of the same text.
Tensor rows_of(const Batch& batch, const Tensor& begin) {
  const auto mask = batch.attention_mask().cpu();
  const auto examples = batch.examples;
  const auto first = begin.index_select(0, examples);
  TORCH_CHECK(torch::equal(begin.index_select(0, examples + 1) - first, mask.sum(1)),
              "the student has other tokens for a text than the teacher had");
  return (first.unsqueeze(1) + (mask.cumsum(1) - 1).clamp_min(0)).flatten();
}

/// The number of tokens of each text, summed up: int64 [texts + 1].
Tensor token_offsets(const BatchSource& source) {
  auto begin = torch::zeros({source.size() + 1}, torch::kLong);
  for (const auto& examples : source.plan(0)) {
    const auto batch = source.collate(examples);
    begin.index_copy_(0, batch.examples + 1, batch.attention_mask().sum(1));
  }
  return begin.cumsum(0);
}

/// One output a text.
int64_t logits_width(const ModelConfig& config) {
  return traits_of(config.task).head == HeadKind::embedding ? config.embedding_width()
                                                            : static_cast<int64_t>(config.labels.size());
}

/// Values of a token.
int64_t hidden_width(const ModelConfig& config) {
  return (static_cast<int64_t>(config.layers.size()) + 1) * config.hidden_size;
}

}  // namespace

ModelOutput TeacherOutputs::of(const Batch& batch) const {
  const auto device = batch.input_ids().device();
  ModelOutput output;
  output.logits = logits.index_select(0, batch.examples).to(device);
  if (hidden_states.defined()) {
    output.hidden_states = hidden_states.index_select(0, rows_of(batch, begin))
                               .to(device, torch::kFloat)
                               .unflatten(0, batch.input_ids().sizes())
                               .unbind(2);
  }
  return output;
}

std::map<std::string, Tensor> TeacherOutputs::tensors() const {
  std::map<std::string, Tensor> all = {{"logits", logits}};
  if (hidden_states.defined()) all.insert({{"hidden_states", hidden_states}, {"begin", begin}});
  return all;
}

TeacherOutputs TeacherOutputs::from_tensors(const std::map<std::string, Tensor>& tensors) {
  const auto find = [&](const char* name) { return tensors.contains(name) ? tensors.at(name) : Tensor(); };
  return {find("logits"), find("hidden_states"), find("begin")};
}

int64_t teacher_output_bytes(const ModelConfig& teacher, bool hidden_states, const BatchSource& source) {
  const auto texts = source.size(), logits = texts * logits_width(teacher) * 4;
  if (!hidden_states) return logits;
  return logits + (texts + 1) * 8 + token_offsets(source)[-1].item<int64_t>() * hidden_width(teacher) * 2;
}

TeacherOutputs teacher_outputs(Model& teacher, bool hidden_states, const BatchSource& source,
                               std::optional<torch::Dtype> autocast, const Context& context) {
  TeacherOutputs outputs;
  if (hidden_states) {
    const auto& config = teacher->config();
    const auto layers = static_cast<int64_t>(config.layers.size()) + 1;
    outputs.begin = token_offsets(source);
    outputs.hidden_states = torch::zeros({outputs.begin[-1].item<int64_t>(), layers, config.hidden_size}, torch::kHalf);
  }
  constexpr double largest = 65504.0;  // of float16
  const auto forward = [&](const Batch& batch) {
    const Autocast scope(autocast, context.device);
    auto output = teacher->forward(batch, {.hidden_states = hidden_states});
    if (hidden_states) {
      const auto tokens = batch.attention_mask().cpu().flatten().nonzero().squeeze(1);
      const auto states = torch::stack(output.hidden_states, 2).flatten(0, 1).cpu().index_select(0, tokens);
      outputs.hidden_states.index_copy_(0, rows_of(batch, outputs.begin).index_select(0, tokens),
                                        states.clamp(-largest, largest).to(torch::kHalf));
    }
    return output.logits;
  };
  // Cloned, because tensors made in inference mode can't take part in training.
  outputs.logits = predict(forward, source, context).clone();
  return outputs;
}

}  // namespace compression::distill
