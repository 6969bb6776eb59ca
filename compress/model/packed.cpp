#include "compress/model/packed.h"

#include <torch/types.h>

#include <map>
#include <string>
#include <vector>

#include "compress/engine/network_state.h"  // network_state
#include "compress/ops/host_tensors.h"      // host_tensor

namespace compression {
namespace {

/// Calls visit(name, tensor) for all tensors of the encoder and the head, by the names that a Model has for them.
template <class Visit>
void each_tensor(const EncoderImpl& encoder, const Head& head, Visit&& visit) {
  const auto of = [&](const torch::nn::Module& module, const std::string& prefix) {
    for (const auto& item : module.named_parameters()) visit(prefix + item.key(), item.value());
    for (const auto& item : module.named_buffers()) visit(prefix + item.key(), item.value());
  };
  of(encoder, "bert.");
  of(head, "head.");
}

}  // namespace

ops::EncoderState packed_state(const EncoderImpl& encoder, const Head& head, const ModelConfig& config) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, torch::Tensor> tensors;
  each_tensor(encoder, head, [&](const std::string& name, const torch::Tensor& t) { tensors[name] = t; });
  return ops::torch_state(network_state(config, [&](const std::string& name) {
    const auto found = tensors.find(name);
    return found == tensors.end() ? HostTensor() : ops::host_tensor(found->second.detach());
  }));
}

std::shared_ptr<const ops::Encoder> PackedModel::of(const EncoderImpl& encoder, const Head& head,
                                                    const ModelConfig& config) {
  std::vector<torch::Tensor> all;
  each_tensor(encoder, head, [&](const std::string&, const torch::Tensor& t) { all.push_back(t); });
  return *packed_.of(all, [&](std::shared_ptr<const ops::Encoder>& form) {
    form = std::make_shared<const ops::Encoder>(packed_state(encoder, head, config));
  });
}

}  // namespace compression
