#include "compress/model/layers.h"

#include <fmt/format.h>

#include <array>
#include <stdexcept>

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
  const auto kinds = storage_of(format).parts(weight.size(0), weight.size(1));
  for (size_t i = 0; i < kinds.size(); ++i) {
    const auto& [name, dtype, shape, fill] = kinds[i];
    const auto& part = parts.at(i);
    TORCH_CHECK(part.scalar_type() == ops::scalar_type(dtype) && part.sizes() == shape, name, ": found ",
                part.scalar_type(), " ", part.sizes(), ", expected ", ops::scalar_type(dtype), " ", shape);
  }
  parameters_.erase("weight");
  for (size_t i = 0; i < kinds.size(); ++i) {
    (kinds[i].name == "weight" ? weight : weight_scale) = register_buffer(std::string(kinds[i].name), parts[i]);
  }
  for (auto& parameter : parameters(/*recurse=*/false)) parameter.requires_grad_(false);
  format_ = format;
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
  const auto widened = weight.to(torch::kFloat);
  return weight_scale.defined() ? widened * weight_scale : widened;
}

LinearImpl::LinearImpl(int64_t in_features, int64_t out_features, bool has_bias)
    : StoredModule(out_features, in_features) {
  if (has_bias) bias = register_parameter("bias", torch::empty({out_features}, torch::kFloat));
}

torch::Tensor LinearImpl::bias_or_zero() const {
  return bias.defined() ? bias.contiguous() : torch::zeros({weight.size(0)}, weight.options().dtype(torch::kFloat));
}

torch::Tensor LinearImpl::forward(const torch::Tensor& x) {
  if (watch) watch(x);
  if (weight.numel() == 0) {
    auto sizes = x.sizes().vec();
    sizes.back() = weight.size(0);
    return bias.defined() ? bias.expand(sizes) : torch::zeros(sizes, x.options());
  }
  switch (format()) {
    case WeightFormat::float32:
      return torch::linear(x, weight, bias);
    case WeightFormat::float16:
      return torch::linear(x, weight.to(x.scalar_type()), bias);
    case WeightFormat::bfloat16: {
      const auto rounded = x.to(torch::kBFloat16);
      if (products == Products::ours) {
        return torch::linear(rounded.to(torch::kFloat), weight.to(torch::kFloat), bias).to(x.scalar_type());
      }
      return torch::linear(rounded, weight, bias.defined() ? bias.to(torch::kBFloat16) : bias).to(x.scalar_type());
    }
    case WeightFormat::int8:
      return products == Products::ours ? int8_products(x) : libtorch_int8(x);
  }
  throw std::logic_error("weight format");
}

torch::Tensor LinearImpl::int8_products(const torch::Tensor& x) {
  const torch::NoGradGuard no_grad;
  const auto in = x.to(torch::kFloat).contiguous();
  float scale = 0.0f;  // each token's own
  if (activations_ == ActivationScheme::static_per_tensor) scale = input_scale.item<float>();
  if (activations_ == ActivationScheme::per_tensor && in.numel() > 0) scale = in.abs().max().item<float>() / 127.0f;
  std::vector<torch::Tensor> tensors{weight, weight_scale};
  if (bias.defined()) tensors.push_back(bias);
  const auto weights = ours_.of(tensors, [&](kernels::LinearWeight& form) {
    const StoredMatrix matrix{.format = format(), .parts = {ops::host_tensor(weight), ops::host_tensor(weight_scale)}};
    form = storage_of(format()).pack(matrix, bias_or_zero().data_ptr<float>());
  });
  auto sizes = in.sizes().vec();
  sizes.back() = weight.size(0);
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
      weight.to(torch::kFloat) * weight_scale, bias);
}

void LinearImpl::quantize_inputs(ActivationScheme scheme, const torch::Tensor& given_input_scale) {
  if (scheme == ActivationScheme::static_per_tensor) input_scale = register_buffer("input_scale", given_input_scale);
  activations_ = scheme;
}

std::shared_ptr<const PackedInt8> LinearImpl::packed() {
  return packed_.of(std::array{weight, weight_scale}, [&](PackedInt8& form) { form = {weight, weight_scale}; });
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
  const auto rows =
      torch::embedding(weight, ids, padding_id_, /*scale_grad_by_freq=*/false, sparse_gradient()).to(torch::kFloat);
  return weight_scale.defined() ? rows * torch::embedding(weight_scale, ids) : rows;
}

LayerNormImpl::LayerNormImpl(int64_t width, const NormSpec& spec) : kind(spec.kind), eps(spec.eps) {
  weight = register_parameter("weight", torch::ones({width}, torch::kFloat));
  if (kind == NormKind::layer && spec.bias) bias = register_parameter("bias", torch::zeros({width}, torch::kFloat));
}

torch::Tensor LayerNormImpl::forward(const torch::Tensor& x) {
  if (kind == NormKind::rms) return torch::rms_norm(x.to(weight.scalar_type()), {weight.size(0)}, weight, eps);
  return torch::layer_norm(x.to(weight.scalar_type()), {weight.size(0)}, weight, bias, eps);
}

}  // namespace compression
