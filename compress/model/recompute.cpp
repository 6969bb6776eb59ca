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
        cache_(at::autocast::is_autocast_cache_enabled()),
        dtype_(at::autocast::get_autocast_dtype(device.type())) {}

  void set() {
    generator_.set_state(state_);
    at::autocast::set_autocast_enabled(device_.type(), autocast_);
    at::autocast::set_autocast_cache_enabled(cache_);
    at::autocast::set_autocast_dtype(device_.type(), dtype_);
  }

 private:
  torch::Device device_;
  at::Generator generator_;
  Tensor state_;
  bool autocast_, cache_;
  torch::Dtype dtype_;
};

/// While it lives, surroundings are others; then they are as before, after an exception too.
class Within {
 public:
  Within(Surroundings& others, torch::Device device) : before_(device) { others.set(); }
  ~Within() { before_.set(); }
  Within(const Within&) = delete;
  Within& operator=(const Within&) = delete;

 private:
  Surroundings before_;
};

/// While it lives, autocast keeps no weight that it has cast: one that was cast without gradients would be taken where
/// they are wanted, and one that was cast in a backward pass in the steps after it.
class WithoutCastCache {
 public:
  WithoutCastCache() : before_(at::autocast::is_autocast_cache_enabled()) {
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~WithoutCastCache() { at::autocast::set_autocast_cache_enabled(before_); }
  WithoutCastCache(const WithoutCastCache&) = delete;
  WithoutCastCache& operator=(const WithoutCastCache&) = delete;

 private:
  bool before_;
};

struct RecomputeNode : torch::autograd::Node {
  std::function<Tensor(const Tensor&)> function;
  Tensor x;
  std::optional<Surroundings> before;

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    if (!gradients.front().defined()) return {Tensor()};
    const auto input = x.detach().requires_grad_();
    const torch::AutoGradMode enable(true);
    Tensor y;
    {
      const Within forward(*before, x.device());
      const WithoutCastCache uncached;
      y = function(input);
    }
    torch::autograd::backward({y}, {gradients.front()});
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
    const WithoutCastCache uncached;
    y = function(x.detach());
  }
  node->set_next_edges(torch::autograd::collect_next_edges(x));
  node->function = std::move(function);
  node->x = x.detach();
  torch::autograd::set_history(y, node);
  return y;
}

}  // namespace compression
