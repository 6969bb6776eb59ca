#include "compress/train/adamw.h"

#include <torch/types.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "compress/base/error.h"  // CheckpointError

namespace compression {
namespace {

/// Our kernels' own: the rest is LibTorch's.
bool is_ours(const torch::Tensor& t) {
  return t.is_cpu() && t.scalar_type() == torch::kFloat && t.is_contiguous();
}

/// Kernels write past autograd: whoever keeps a copy of the parameter sees by its version that it changed.
void changed(const torch::Tensor& t) {
  t.unsafeGetTensorImpl()->bump_version();
}

std::span<const int64_t> ids_of(const torch::Tensor& ids) {
  return {ids.data_ptr<int64_t>(), static_cast<size_t>(ids.numel())};
}

}  // namespace

AdamW::AdamW(const std::vector<torch::Tensor>& parameters, const AdamWOptions& options) : options_(options) {
  for (const auto& p : parameters) {
    if (!p.requires_grad()) continue;
    const torch::NoGradGuard no_grad;
    parameters_.push_back({.value = p,
                           .first = torch::zeros_like(p),
                           .second = torch::zeros_like(p),
                           .weight_decay = p.dim() > 1 ? options.weight_decay : 0.0,
                           .history = {},
                           .seen = {}});
  }
}

kernels::AdamWStep AdamW::next_step(Parameter& p, double learning_rate) const {
  const auto t = static_cast<double>(++p.steps);
  return {.decay = static_cast<float>(1.0 - learning_rate * p.weight_decay),
          .rate = static_cast<float>(learning_rate / (1.0 - std::pow(options_.beta1, t))),
          .root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(options_.beta2, t))),
          .beta1 = static_cast<float>(options_.beta1),
          .beta2 = static_cast<float>(options_.beta2),
          .eps = static_cast<float>(options_.eps),
          .gradient_scale = gradient_scale_};
}

void AdamW::step_dense(Parameter& p, double learning_rate) {
  catch_up_all(p);
  const auto step = next_step(p, learning_rate);
  const auto gradient = p.value.grad().contiguous();
  kernels::adamw_update(step, p.value.numel(), gradient.data_ptr<float>(), p.value.data_ptr<float>(),
                        p.first.data_ptr<float>(), p.second.data_ptr<float>());
  changed(p.value);
}

void AdamW::step_rows(Parameter& p, double learning_rate) {
  const auto gradient = p.value.grad().coalesce();
  const auto indices = gradient.indices().select(0, 0).contiguous();
  const auto values = gradient.values().contiguous();
  const auto rows = ids_of(indices);
  catch_up_rows(p, {rows.begin(), rows.end()});
  if (p.seen.empty()) p.seen.assign(static_cast<size_t>(p.value.size(0)), 0);
  p.history.push_back(next_step(p, learning_rate));
  kernels::adamw_update_rows(p.history.back(), rows, p.value.numel() / p.value.size(0), values.data_ptr<float>(),
                             p.value.data_ptr<float>(), p.first.data_ptr<float>(), p.second.data_ptr<float>());
  for (const auto row : rows) p.seen[static_cast<size_t>(row)] = static_cast<int64_t>(p.history.size());
  changed(p.value);
}

void AdamW::step_elsewhere(double learning_rate) {
  for (const double weight_decay : {options_.weight_decay, 0.0}) {
    std::vector<torch::Tensor> values, gradients, first, second, steps;
    for (auto& p : parameters_) {
      if (is_ours(p.value) || p.weight_decay != weight_decay || !p.value.grad().defined()) continue;
      values.push_back(p.value);
      gradients.push_back(p.value.grad());
      first.push_back(p.first);
      second.push_back(p.second);
      steps.push_back(torch::full({}, static_cast<double>(++p.steps), p.value.options().dtype(torch::kFloat)));
    }
    if (values.empty()) continue;
    if (gradient_scale_ != 1.0f) at::_foreach_mul_(gradients, gradient_scale_);
    at::_fused_adamw_(values, gradients, first, second, {}, steps, learning_rate, options_.beta1, options_.beta2,
                      weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false);
    if (options_.weight_decay == 0.0) break;  // both groups are one
  }
}

void AdamW::step(double learning_rate) {
  const torch::NoGradGuard no_grad;
  for (auto& p : parameters_) {
    if (!is_ours(p.value) || !p.value.grad().defined()) continue;
    p.value.grad().is_sparse() ? step_rows(p, learning_rate) : step_dense(p, learning_rate);
  }
  step_elsewhere(learning_rate);
  gradient_scale_ = 1.0f;
}

void AdamW::zero_grad() {
  for (auto& p : parameters_) p.value.mutable_grad().reset();
}

double AdamW::clip(double max_norm, double loss_scale) {
  const torch::NoGradGuard no_grad;
  double squares = 0.0;
  std::vector<torch::Tensor> elsewhere;
  for (auto& p : parameters_) {
    auto& gradient = p.value.mutable_grad();
    if (!gradient.defined()) continue;
    if (!is_ours(p.value)) {
      elsewhere.push_back(gradient);
      continue;
    }
    gradient = gradient.is_sparse() ? gradient.coalesce() : gradient.contiguous();
    const auto values = gradient.is_sparse() ? gradient.values().contiguous() : gradient;
    squares += kernels::sum_of_squares(values.numel(), values.data_ptr<float>());
  }
  if (!elsewhere.empty()) {
    const double norm = torch::stack(at::_foreach_norm(elsewhere)).norm().item<double>();
    squares += norm * norm;
  }
  const double norm = std::sqrt(squares) / loss_scale;
  const double clipping = max_norm > 0.0 && norm > max_norm ? max_norm / (norm + 1e-6) : 1.0;
  gradient_scale_ = static_cast<float>(clipping / loss_scale);
  return norm;
}

void AdamW::catch_up_rows(Parameter& p, std::vector<int64_t> rows) {
  if (p.seen.empty()) return;
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  const auto now = static_cast<int64_t>(p.history.size());
  std::erase_if(rows, [&](int64_t row) { return p.seen[static_cast<size_t>(row)] == now; });
  if (rows.empty()) return;
  std::vector<int64_t> since;
  for (const auto row : rows) {
    since.push_back(p.seen[static_cast<size_t>(row)]);
    p.seen[static_cast<size_t>(row)] = now;
  }
  kernels::adamw_catch_up(p.history, rows, since, p.value.numel() / p.value.size(0), p.value.data_ptr<float>(),
                          p.first.data_ptr<float>(), p.second.data_ptr<float>());
  changed(p.value);
}

void AdamW::catch_up_all(Parameter& p) {
  if (p.seen.empty()) return;
  std::vector<int64_t> rows(p.seen.size());
  std::iota(rows.begin(), rows.end(), 0);
  catch_up_rows(p, std::move(rows));
  p.seen.clear();
  p.history.clear();
}

void AdamW::catch_up(const torch::Tensor& parameter, const torch::Tensor& ids) {
  const torch::NoGradGuard no_grad;
  for (auto& p : parameters_) {
    if (!p.value.is_same(parameter)) continue;
    const auto flat = ids.contiguous();
    const auto rows = ids_of(flat);
    catch_up_rows(p, {rows.begin(), rows.end()});
  }
}

void AdamW::catch_up() {
  const torch::NoGradGuard no_grad;
  for (auto& p : parameters_) catch_up_all(p);
}

StateDict AdamW::state() {
  catch_up();
  StateDict copies;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto name = std::to_string(i);
    copies[name + ".first"] = parameters_[i].first.clone();
    copies[name + ".second"] = parameters_[i].second.clone();
    copies[name + ".step"] = torch::tensor(parameters_[i].steps, torch::kLong);
  }
  return copies;
}

void AdamW::load_state(const StateDict& state) {
  const torch::NoGradGuard no_grad;
  const auto find = [&](const std::string& name, torch::IntArrayRef sizes) {
    const auto found = state.find(name);
    if (found == state.end() || found->second.sizes() != sizes) {
      throw CheckpointError("the optimizer's state: " + name + " is missing or has another shape");
    }
    return found->second;
  };
  for (const bool check_only : {true, false}) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      auto& p = parameters_[i];
      const auto name = std::to_string(i);
      const auto first = find(name + ".first", p.first.sizes()), second = find(name + ".second", p.second.sizes());
      const auto steps = find(name + ".step", {});
      if (check_only) continue;
      p.first.copy_(first);
      p.second.copy_(second);
      p.steps = steps.item<int64_t>();
      p.history.clear();
      p.seen.clear();
    }
    if (state.size() != 3 * parameters_.size()) throw CheckpointError("the optimizer's state is of other parameters");
  }
}

}  // namespace compression
