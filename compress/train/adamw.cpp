#include "compress/train/adamw.h"

#include <torch/types.h>

#include "compress/workflow/error.h"  // CheckpointError

namespace compression {

AdamW::AdamW(const std::vector<torch::Tensor>& parameters, const AdamWOptions& options) : options_(options) {
  groups_ = {{options.weight_decay, {}, {}, {}, {}}, {0.0, {}, {}, {}, {}}};
  for (const auto& p : parameters) {
    if (!p.requires_grad()) continue;
    auto& group = groups_[p.dim() > 1 ? 0 : 1];
    group.parameters.push_back(p);
    group.first.push_back(torch::zeros_like(p));
    group.second.push_back(torch::zeros_like(p));
    group.steps.push_back(torch::zeros({}, p.options().dtype(torch::kFloat)));
  }
}

void AdamW::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  for (auto& group : groups_) {
    std::vector<torch::Tensor> parameters, gradients, first, second, steps;
    for (size_t i = 0; i < group.parameters.size(); ++i) {
      const auto& gradient = group.parameters[i].grad();
      if (!gradient.defined()) continue;
      group.steps[i] += 1;
      parameters.push_back(group.parameters[i]);
      gradients.push_back(gradient);
      first.push_back(group.first[i]);
      second.push_back(group.second[i]);
      steps.push_back(group.steps[i]);
    }
    if (parameters.empty()) continue;
    at::_fused_adamw_(parameters, gradients, first, second, {}, steps, learning_rate, options_.beta1, options_.beta2,
                      group.weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false);
  }
}

void AdamW::zero_grad() {
  for (auto& group : groups_) {
    for (auto& p : group.parameters) p.mutable_grad().reset();
  }
}

double AdamW::clip(double max_norm) {
  const at::NoGradGuard no_grad;
  std::vector<torch::Tensor> gradients;
  for (auto& group : groups_) {
    for (auto& p : group.parameters) {
      if (p.grad().defined()) gradients.push_back(p.grad());
    }
  }
  if (gradients.empty()) return 0.0;
  const double norm = torch::stack(at::_foreach_norm(gradients)).norm().item<double>();
  if (max_norm > 0.0 && norm > max_norm) at::_foreach_mul_(gradients, max_norm / (norm + 1e-6));
  return norm;
}

StateDict AdamW::state() const {
  StateDict copies;
  for (const auto& [name, tensor] : tensors()) copies[name] = tensor.clone();
  return copies;
}

void AdamW::load_state(const StateDict& state) {
  const at::NoGradGuard no_grad;
  auto own = tensors();
  for (const auto& [name, tensor] : own) {
    const auto found = state.find(name);
    if (found == state.end() || found->second.sizes() != tensor.sizes()) {
      throw CheckpointError("the optimizer's state: " + name + " is missing or has another shape");
    }
  }
  if (state.size() != own.size()) throw CheckpointError("the optimizer's state is of other parameters");
  for (auto& [name, tensor] : own) tensor.copy_(state.at(name));
}

StateDict AdamW::tensors() const {
  StateDict all;
  for (size_t g = 0; g < groups_.size(); ++g) {
    for (size_t i = 0; i < groups_[g].parameters.size(); ++i) {
      const auto name = std::to_string(g) + "." + std::to_string(i);
      all[name + ".first"] = groups_[g].first[i];
      all[name + ".second"] = groups_[g].second[i];
      all[name + ".step"] = groups_[g].steps[i];
    }
  }
  return all;
}

}  // namespace compression
