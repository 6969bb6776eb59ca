#include "compress/model/recompute.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include "compress/model/graph_node.h"  // make_node

namespace compression {
namespace {

using torch::Tensor;

/// What decides a layer's result besides its input and its weights.
class Surroundings {
 public:
  explicit Surroundings(torch::Device device)
      : device_(device),
        generator_(at::globalContext().defaultGenerator(device)),
        state_(generator_.get_state()),
        autocast_(at::autocast::is_autocast_enabled(device.type())),
        dtype_(at::autocast::get_autocast_dtype(device.type())) {}

  void set() {
    generator_.set_state(state_);
    at::autocast::set_autocast_enabled(device_.type(), autocast_);
    at::autocast::set_autocast_dtype(device_.type(), dtype_);
  }

 private:
  torch::Device device_;
  at::Generator generator_;
  Tensor state_;
  bool autocast_;
  torch::Dtype dtype_;
};

struct RecomputeNode : torch::autograd::Node {
  std::function<Tensor(const Tensor&)> function;
  Tensor x;
  std::optional<Surroundings> before;

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    if (!gradients.front().defined()) return {Tensor()};
    Surroundings now(x.device());
    const auto input = x.detach().requires_grad_();
    {
      const torch::AutoGradMode enable(true);
      before->set();
      const auto y = function(input);
      now.set();
      torch::autograd::backward({y}, {gradients.front()});
    }
    return {input.grad()};
  }
};

}  // namespace

Tensor recomputed(std::function<Tensor(const Tensor&)> function, const Tensor& x) {
  if (!torch::GradMode::is_enabled() || c10::InferenceMode::is_enabled()) return function(x);
  auto node = make_node<RecomputeNode>();
  node->before.emplace(x.device());
  Tensor y;
  {
    const torch::NoGradGuard no_grad;
    y = function(x.detach());
  }
  node->set_next_edges(torch::autograd::collect_next_edges(x));
  node->function = std::move(function);
  node->x = x.detach();
  torch::autograd::set_history(y, node);
  return y;
}

}  // namespace compression
