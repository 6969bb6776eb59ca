#include "compress/model/packed.h"

#include <torch/types.h>

#include <map>
#include <string>
#include <vector>

#include "compress/engine/network_state.h"  // network_state
#include "compress/ops/host_tensors.h"      // host_tensor

namespace compression {
namespace {

/// Calls visit(name, tensor) for all tensors of a Model.
template <class Visit>
void each_tensor(const torch::nn::Module& model, Visit&& visit) {
  for (const auto& item : model.named_parameters()) visit(item.key(), item.value());
  for (const auto& item : model.named_buffers()) visit(item.key(), item.value());
}

}  // namespace

ops::EncoderState packed_state(const torch::nn::Module& model, const ModelConfig& config) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, torch::Tensor> tensors;
  each_tensor(model, [&](const std::string& name, const torch::Tensor& t) { tensors[name] = t; });
  return ops::torch_state(network_state(config, [&](const std::string& name) {
    const auto found = tensors.find(name);
    return found == tensors.end() ? LazyTensor() : LazyTensor(ops::host_tensor(found->second.detach()));
  }));
}

std::shared_ptr<const ops::Encoder> PackedModel::of(const torch::nn::Module& model, const ModelConfig& config) {
  std::vector<torch::Tensor> all;
  each_tensor(model, [&](const std::string&, const torch::Tensor& t) { all.push_back(t); });
  return *packed_.of(all, [&](std::shared_ptr<const ops::Encoder>& form) {
    form = std::make_shared<const ops::Encoder>(packed_state(model, config));
  });
}

}  // namespace compression
