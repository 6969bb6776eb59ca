#include "compress/model/layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "compress/ops/host_tensors.h"  // host_tensor, torch_tensor
#include "compress/storage/storage.h"   // storage_of

namespace compression {

torch::Tensor activate(const torch::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::gelu:
      return torch::gelu(x);
    case Activation::gelu_tanh:
      return torch::gelu(x, "tanh");
    case Activation::relu:
      return torch::relu(x);
    case Activation::tanh:
      return torch::tanh(x);
    case Activation::silu:
      return torch::silu(x);
    case Activation::sigmoid:
      return torch::sigmoid(x);
  }
  throw std::logic_error("activation");
}

StoredModule::StoredModule(int64_t rows, int64_t columns) {
  weight = register_parameter("weight", torch::empty({rows, columns}, torch::kFloat));
}

void StoredModule::store(WeightFormat format, const std::vector<torch::Tensor>& parts) {
  TORCH_CHECK(format_ == WeightFormat::float32, "a weight that is stored in fewer bits already");
  const MatrixSize size{weight.size(0), weight.size(1)};
  const auto kinds = storage_of(format).parts(size.rows, size.columns);
  for (size_t i = 0; i < kinds.size(); ++i) {
    const auto& [name, dtype, shape, fill] = kinds[i];
    const auto& part = parts.at(i);
    TORCH_CHECK(part.scalar_type() == ops::scalar_type(dtype) && part.sizes() == shape, name, ": found ",
                part.scalar_type(), " ", part.sizes(), ", expected ", ops::scalar_type(dtype), " ", shape);
  }
  parameters_.erase("weight");
  weight = torch::Tensor();
  for (size_t i = 0; i < kinds.size(); ++i) {
    parts_.push_back(register_buffer(std::string(kinds[i].name), parts[i]));
    if (kinds[i].name == "weight") weight = parts_.back();
  }
  for (auto& parameter : parameters(/*recurse=*/false)) parameter.requires_grad_(false);
  format_ = format;
  size_ = size;
}

torch::Tensor StoredModule::part(std::string_view name) const {
  const auto kinds = storage_of(format_).parts(rows(), columns());
  const auto found = std::ranges::find(kinds, name, &StoredPart::name);
  if (found == kinds.end()) throw std::invalid_argument(fmt::format("a weight has no part {}", name));
  return parts()[static_cast<size_t>(found - kinds.begin())];
}

StoredMatrix StoredModule::matrix() const {
  StoredMatrix result{.format = format_, .size = {rows(), columns()}};
  for (const auto& each : parts()) result.parts.push_back(ops::host_tensor(each));
  return result;
}

void StoredModule::clear() {
  size_t i = 0;
  for (const auto& each : storage_of(format_).parts(rows(), columns())) parts_[i++].fill_(each.fill);
}

void StoredModule::store(WeightFormat format) {
  if (format == format_) return;
  const auto own = ops::host_tensor(full_weight());
  const auto matrix = storage_of(format).from_floats(own.as<float>(), weight.size(0), weight.size(1));
  std::vector<torch::Tensor> parts;
  for (const auto& part : matrix.parts) parts.push_back(ops::torch_tensor(part).to(weight.device()));
  store(format, parts);
}

void StoredModule::make_room(WeightFormat format) {
  if (format == format_) return;
  std::vector<torch::Tensor> parts;
  for (const auto& part : storage_of(format).parts(weight.size(0), weight.size(1))) {
    parts.push_back(torch::full(part.shape, part.fill, ops::scalar_type(part.dtype)));
  }
  store(format, parts);
}

torch::Tensor StoredModule::full_weight() const {
  const auto all = parts();
  if (!storage_of(format_).is_product()) return ops::torch_tensor(to_floats(matrix())).to(all.front().device());
  auto product = all.front().to(torch::kFloat);
  for (size_t i = 1; i < all.size(); ++i) product = product * all[i];
  return product;
}

LinearImpl::LinearImpl(int64_t in_features, int64_t out_features, bool has_bias)
    : StoredModule(out_features, in_features) {
  if (has_bias) bias = register_parameter("bias", torch::empty({out_features}, torch::kFloat));
}

torch::Tensor LinearImpl::bias_or_zero() const {
  return bias.defined() ? bias.contiguous() : torch::zeros({rows()}, parts().front().options().dtype(torch::kFloat));
}

torch::Tensor LinearImpl::forward(const torch::Tensor& x) {
  if (watch) watch(x);
  if (empty()) {
    auto sizes = x.sizes().vec();
    sizes.back() = rows();
    return bias.defined() ? bias.expand(sizes) : torch::zeros(sizes, x.options());
  }
  switch (format()) {  // those with products of their own; the others are widened
    case WeightFormat::float32:
      return torch::linear(x, weight, bias);
    case WeightFormat::bfloat16:
      return bfloat16_products(x);
    case WeightFormat::int8:
      return products == Products::ours ? int8_products(x) : libtorch_int8(x);
    default:
      return torch::linear(x, full_weight().to(x.scalar_type()), bias);
  }
}

torch::Tensor LinearImpl::bfloat16_products(const torch::Tensor& x) const {
  const auto rounded = x.to(torch::kBFloat16);
  if (products == Products::ours) {
    return torch::linear(rounded.to(torch::kFloat), full_weight(), bias).to(x.scalar_type());
  }
  return torch::linear(rounded, weight, bias.defined() ? bias.to(torch::kBFloat16) : bias).to(x.scalar_type());
}

torch::Tensor LinearImpl::int8_products(const torch::Tensor& x) {
  const torch::NoGradGuard no_grad;
  const auto in = x.to(torch::kFloat).contiguous();
  float scale = 0.0f;  // each token's own
  if (activations_ == ActivationScheme::static_per_tensor) scale = input_scale.item<float>();
  if (activations_ == ActivationScheme::per_tensor && in.numel() > 0) scale = in.abs().max().item<float>() / 127.0f;
  auto tensors = parts();
  if (bias.defined()) tensors.push_back(bias);
  const auto weights = ours_.of(tensors, [&](kernels::LinearWeight& form) {
    form = storage_of(format()).pack(matrix(), bias_or_zero().data_ptr<float>());
  });
  auto sizes = in.sizes().vec();
  sizes.back() = rows();
  const auto y = torch::empty(sizes, torch::kFloat);
  kernels::multiply_rows(in.data_ptr<float>(), in.numel() / in.size(-1), *weights, scale, y.data_ptr<float>());
  return y;
}

torch::Tensor LinearImpl::libtorch_int8(const torch::Tensor& x) {
  if (activations_ != ActivationScheme::static_per_tensor) {
    return packed()->linear(x.to(torch::kFloat), activations_) + bias_or_zero();
  }
  // What the integers give, computed in float32: LibTorch's int8 operators saturate on some processors.
  return torch::linear(
      torch::fake_quantize_per_tensor_affine(x.to(torch::kFloat), input_scale.item<double>(), 0, -128, 127),
      full_weight(), bias);
}

void LinearImpl::quantize_inputs(ActivationScheme scheme, const torch::Tensor& given_input_scale) {
  if (scheme == ActivationScheme::static_per_tensor) input_scale = register_buffer("input_scale", given_input_scale);
  activations_ = scheme;
}

std::shared_ptr<const PackedInt8> LinearImpl::packed() {
  const auto scale = part("weight_scale");
  return packed_.of(std::array{weight, scale}, [&](PackedInt8& form) { form = {weight, scale}; });
}

std::shared_ptr<const torch::Tensor> LinearImpl::bfloat16_weight() {
  return bfloat16_.of(std::array{weight}, [&](torch::Tensor& form) { form = weight.detach().to(torch::kBFloat16); });
}

std::shared_ptr<const kernels::Int16Weight> LinearImpl::int16_weight() {
  return int16_.of(std::array{weight}, [&](kernels::Int16Weight& form) {
    kernels::pack_weight(weight.data_ptr<float>(), weight.size(0), weight.size(1), form);
  });
}

EmbeddingImpl::EmbeddingImpl(int64_t rows, int64_t width, int64_t padding_id)
    : StoredModule(rows, width), padding_id_(padding_id) {}

torch::Tensor EmbeddingImpl::forward(const torch::Tensor& ids) {
  prepare(ids);
  const auto all = parts();
  if (storage_of(format()).is_product()) {
    auto product = torch::embedding(all.front(), ids, padding_id_, /*scale_grad_by_freq=*/false, sparse_gradient())
                       .to(torch::kFloat);
    for (size_t i = 1; i < all.size(); ++i) product = product * torch::embedding(all[i], ids);
    return product;
  }
  StoredMatrix some{.format = format(), .size = {ids.numel(), columns()}};
  for (const auto& each : all) some.parts.push_back(ops::host_tensor(each.index_select(0, ids.flatten())));
  auto sizes = ids.sizes().vec();
  sizes.push_back(columns());
  return ops::torch_tensor(to_floats(some)).view(sizes).to(ids.device());
}

LayerNormImpl::LayerNormImpl(int64_t width, const NormSpec& spec) : kind(spec.kind), eps(spec.eps) {
  weight = register_parameter("weight", torch::ones({width}, torch::kFloat));
  if (kind == NormKind::layer && spec.bias) bias = register_parameter("bias", torch::zeros({width}, torch::kFloat));
}

torch::Tensor LayerNormImpl::forward(const torch::Tensor& x) {
  if (kind == NormKind::rms) return torch::rms_norm(x.to(weight.scalar_type()), {weight.size(0)}, weight, eps);
  return torch::layer_norm(x.to(weight.scalar_type()), {weight.size(0)}, weight, bias, eps);
}

Linear linear_layer(const ModuleSpec& module) {
  return Linear(module.axes[1].size, module.axes[0].size, module.bias);
}

LayerNorm layer_norm(const ModuleSpec& module) {
  return LayerNorm(module.axes.front().size, *module.norm);
}

}  // namespace compression
