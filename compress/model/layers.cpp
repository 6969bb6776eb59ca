#include "compress/model/layers.h"

namespace compression {
namespace {

torch::Dtype dtype_of(WeightFormat format) {
  return format == WeightFormat::float16 ? torch::kHalf : torch::kBFloat16;
}

}  // namespace

torch::Tensor activate(const torch::Tensor& x, const std::string& name) {
  if (name == "relu") return torch::relu(x);
  if (name == "tanh") return torch::tanh(x);
  return torch::gelu(x, name == "gelu" ? "none" : "tanh");
}

LinearImpl::LinearImpl(int64_t in_features, int64_t out_features) {
  weight = register_parameter("weight", torch::empty({out_features, in_features}));
  bias = register_parameter("bias", torch::empty({out_features}));
}

torch::Tensor LinearImpl::forward(const torch::Tensor& x) {
  if (watch) watch(x);
  if (weight.numel() == 0) {
    auto sizes = x.sizes().vec();
    sizes.back() = bias.size(0);
    return bias.expand(sizes);
  }
  switch (format_) {
    case WeightFormat::float32:
      return torch::linear(x, weight, bias);
    case WeightFormat::float16:
      return torch::linear(x, weight.to(x.scalar_type()), bias);
    case WeightFormat::bfloat16:
      return torch::linear(x.to(torch::kBFloat16), weight, bias.to(torch::kBFloat16)).to(x.scalar_type());
    case WeightFormat::int8:
      if (activations_ != ActivationScheme::static_per_tensor) {
        return packed_.linear(x.to(torch::kFloat), activations_) + bias;
      }
      // What the integers give, computed in float32: LibTorch's int8 operators saturate on some processors. The fused
      // runtime multiplies the integers.
      return torch::linear(
          torch::fake_quantize_per_tensor_affine(x.to(torch::kFloat), input_scale.item<double>(), 0, -128, 127),
          weight.to(torch::kFloat) * weight_scale, bias);
  }
  throw std::logic_error("weight format");
}

void LinearImpl::store_int8(const torch::Tensor& values, const torch::Tensor& scale, ActivationScheme scheme,
                            const torch::Tensor& given_input_scale) {
  parameters_.erase("weight");
  weight = register_buffer("weight", values);
  weight_scale = register_buffer("weight_scale", scale);
  if (scheme == ActivationScheme::static_per_tensor) input_scale = register_buffer("input_scale", given_input_scale);
  bias.requires_grad_(false);
  format_ = WeightFormat::int8;
  activations_ = scheme;
  repack();
}

void LinearImpl::store_16bit(WeightFormat format) {
  parameters_.erase("weight");
  weight = register_buffer("weight", weight.detach().to(dtype_of(format)));
  bias.requires_grad_(false);
  format_ = format;
}

void LinearImpl::repack() {
  const bool packs = format_ == WeightFormat::int8 && activations_ != ActivationScheme::static_per_tensor;
  if (packs && weight.numel() > 0) packed_ = PackedInt8(weight, weight_scale);
}

bool LinearImpl::CopyOf::renew(const torch::Tensor& weight) {
  // Without a version (inference mode) nothing tells of changes.
  const int64_t now = weight.is_inference() ? -1 : static_cast<int64_t>(weight._version());
  if (now >= 0 && version == now && data == weight.data_ptr()) return false;
  data = weight.data_ptr();
  version = now;
  return true;
}

const torch::Tensor& LinearImpl::bfloat16_weight() {
  if (bfloat16_of_.renew(weight)) bfloat16_ = weight.detach().to(torch::kBFloat16);
  return bfloat16_;
}

const ops::Int16Weight& LinearImpl::int16_weight() {
  if (int16_of_.renew(weight)) ops::pack_weight(weight.data_ptr<float>(), weight.size(0), weight.size(1), int16_);
  return int16_;
}

EmbeddingImpl::EmbeddingImpl(int64_t rows, int64_t width, int64_t padding_id) : padding_id_(padding_id) {
  weight = register_parameter("weight", torch::empty({rows, width}));
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

void EmbeddingImpl::store_16bit(WeightFormat format) {
  parameters_.erase("weight");
  weight = register_buffer("weight", weight.detach().to(dtype_of(format)));
  format_ = format;
}

LayerNormImpl::LayerNormImpl(int64_t width, double epsilon) : eps(epsilon) {
  weight = register_parameter("weight", torch::ones({width}));
  bias = register_parameter("bias", torch::zeros({width}));
}

torch::Tensor LayerNormImpl::forward(const torch::Tensor& x) {
  return torch::layer_norm(x.to(weight.scalar_type()), {weight.size(0)}, weight, bias, eps);
}

}  // namespace compression
