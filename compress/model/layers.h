#pragma once
// Linear layers and embedding tables whose weights are float32, 16-bit or int8. Parameter names are Hugging Face's.

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include "compress/model/config.h"       // WeightFormat, ActivationScheme
#include "compress/model/int8_linear.h"  // PackedInt8

namespace compression {

class LinearImpl : public torch::nn::Module {
 public:
  /// Weights are float32 and not initialised: a model is built to be filled.
  LinearImpl(int64_t in_features, int64_t out_features);

  /// x: [..., in] -> [..., out]. 16-bit weights: float16 is widened to compute, bfloat16 computes as it is.
  torch::Tensor forward(const torch::Tensor& x);

  /// Replaces the weight by one in another format, which cannot be trained. int8: values [out, in] with scale [out, 1].
  void store_int8(const torch::Tensor& values, const torch::Tensor& scale, ActivationScheme scheme);
  void store_16bit(WeightFormat format);

  /// To be called when int8 tensors were filled in place.
  void repack();

  WeightFormat format() const { return format_; }
  ActivationScheme activations() const { return activations_; }
  const PackedInt8& packed() const { return packed_; }

  torch::Tensor weight;        // [out, in]
  torch::Tensor weight_scale;  // float32 [out, 1] with int8
  torch::Tensor bias;          // float32 [out]

 private:
  WeightFormat format_ = WeightFormat::float32;
  ActivationScheme activations_ = ActivationScheme::per_token;
  PackedInt8 packed_;
};
TORCH_MODULE(Linear);

class EmbeddingImpl : public torch::nn::Module {
 public:
  /// The row `padding_id` gets no gradient; -1: there is none.
  EmbeddingImpl(int64_t rows, int64_t width, int64_t padding_id = -1);

  /// ids: int64 [...] -> float32 [..., width]
  torch::Tensor forward(const torch::Tensor& ids);

  /// int8: values [rows, width] with a scale a row [rows, 1].
  void store_int8(const torch::Tensor& values, const torch::Tensor& scale);
  void store_16bit(WeightFormat format);

  WeightFormat format() const { return format_; }

  torch::Tensor weight;        // [rows, width]
  torch::Tensor weight_scale;  // float32 [rows, 1] with int8

 private:
  int64_t padding_id_;
  WeightFormat format_ = WeightFormat::float32;
};
TORCH_MODULE(Embedding);

/// LayerNorm over the last dimension. Computes in float32.
class LayerNormImpl : public torch::nn::Module {
 public:
  LayerNormImpl(int64_t width, double eps);
  torch::Tensor forward(const torch::Tensor& x);

  torch::Tensor weight, bias;  // float32 [width]
  double eps;
};
TORCH_MODULE(LayerNorm);

}  // namespace compression
