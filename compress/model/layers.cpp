#include "compress/model/layers.h"

#include <array>
#include <stdexcept>

namespace compression {

torch::Dtype dtype_of(WeightFormat format) {
  if (format == WeightFormat::float16) return torch::kHalf;
  if (format == WeightFormat::bfloat16) return torch::kBFloat16;
  throw std::invalid_argument("store_16bit: expected float16 or bfloat16");
}

namespace {

WeightFormat format_of(const torch::Tensor& values) {
  return values.scalar_type() == torch::kHalf ? WeightFormat::float16 : WeightFormat::bfloat16;
}

}  // namespace

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

LinearImpl::LinearImpl(int64_t in_features, int64_t out_features, bool has_bias) {
  weight = register_parameter("weight", torch::empty({out_features, in_features}, torch::kFloat));
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
  switch (format_) {
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
    const auto values = weight.contiguous(), scales = weight_scale.contiguous(), biases = bias_or_zero();
    kernels::pack_linear(kernels::Number::int8, values.data_ptr(), scales.data_ptr<float>(), biases.data_ptr<float>(),
                         weight.size(0), weight.size(1), form);
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

void LinearImpl::store_int8(const torch::Tensor& values, const torch::Tensor& scale, ActivationScheme scheme,
                            const torch::Tensor& given_input_scale) {
  parameters_.erase("weight");
  weight = register_buffer("weight", values);
  weight_scale = register_buffer("weight_scale", scale);
  if (scheme == ActivationScheme::static_per_tensor) input_scale = register_buffer("input_scale", given_input_scale);
  if (bias.defined()) bias.requires_grad_(false);
  format_ = WeightFormat::int8;
  activations_ = scheme;
}

void LinearImpl::store_16bit(const torch::Tensor& values) {
  parameters_.erase("weight");
  weight = register_buffer("weight", values);
  if (bias.defined()) bias.requires_grad_(false);
  format_ = format_of(values);
}

void LinearImpl::store_16bit(WeightFormat format) {
  store_16bit(weight.detach().to(dtype_of(format)));
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

EmbeddingImpl::EmbeddingImpl(int64_t rows, int64_t width, int64_t padding_id) : padding_id_(padding_id) {
  weight = register_parameter("weight", torch::empty({rows, width}, torch::kFloat));
}

torch::Tensor EmbeddingImpl::forward(const torch::Tensor& ids) {
  prepare(ids);
  const auto rows = torch::embedding(weight, ids, padding_id_, /*scale_grad_by_freq=*/false, sparse_gradient());
  if (format_ == WeightFormat::float32) return rows;
  if (format_ != WeightFormat::int8) return rows.to(torch::kFloat);
  return rows.to(torch::kFloat) * torch::embedding(weight_scale, ids);
}

torch::Tensor EmbeddingImpl::full_weight() const {
  const auto widened = weight.to(torch::kFloat);
  return format_ == WeightFormat::int8 ? widened * weight_scale : widened;
}

void EmbeddingImpl::store_int8(const torch::Tensor& values, const torch::Tensor& scale) {
  parameters_.erase("weight");
  weight = register_buffer("weight", values);
  weight_scale = register_buffer("weight_scale", scale);
  format_ = WeightFormat::int8;
}

void EmbeddingImpl::store_16bit(const torch::Tensor& values) {
  parameters_.erase("weight");
  weight = register_buffer("weight", values);
  format_ = format_of(values);
}

void EmbeddingImpl::store_16bit(WeightFormat format) {
  store_16bit(weight.detach().to(dtype_of(format)));
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
