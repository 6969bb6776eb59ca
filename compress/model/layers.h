#pragma once
// Linear layers and embedding tables whose weights are float32, 16-bit or int8. Parameter names are Hugging Face's.

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <functional>
#include <string_view>
#include <vector>

#include "compress/kernels/int16_matmul.h"  // Int16Weight
#include "compress/kernels/linear.h"        // LinearWeight
#include "compress/model/derived.h"         // Derived
#include "compress/model/int8_linear.h"     // PackedInt8
#include "compress/spec/config.h"           // WeightFormat, ActivationScheme
#include "compress/spec/weights.h"          // ModuleSpec
#include "compress/storage/storage.h"       // StoredMatrix

namespace compression {

/// What the products of the fused form (fused.h) are made with; sums are float32.
enum class Arithmetic { float32, bfloat16, int16 };

/// Whose products weights of fewer bits are multiplied with: those of compress/kernels, which the fused runtime has; or
/// LibTorch's operators, which a portable file has.
enum class Products { ours, libtorch };

/// A module whose weight [rows, columns] may be kept in any format: as a parameter in float32, else as a buffer for
/// each part of its kind of storage (compress/storage), by the names that these have.
class StoredModule : public torch::nn::Module {
 public:
  /// The weight is float32 and not initialised: a model is built to be filled.
  StoredModule(int64_t rows, int64_t columns);

  /// Replaces the float32 weight by one in another format, which cannot be trained, nor can the bias: `parts` are those
  /// that Storage::parts() lists; its own nearest values; or zeros, for a checkpoint to be read into.
  void store(WeightFormat format, const std::vector<torch::Tensor>& parts);
  void store(WeightFormat format);
  void make_room(WeightFormat format);

  /// Makes all numbers of a weight in another format than float32 zeros.
  void clear();

  /// A part of the kind's. Throws std::invalid_argument where it has none of this name.
  torch::Tensor part(std::string_view name) const;

  /// All of them, in the order of Storage::parts().
  std::vector<torch::Tensor> parts() const { return format_ == WeightFormat::float32 ? std::vector{weight} : parts_; }

  /// The weight in float32, widened where it is stored in less.
  torch::Tensor full_weight() const;

  WeightFormat format() const { return format_; }
  int64_t rows() const { return format_ == WeightFormat::float32 ? weight.size(0) : size_.rows; }
  int64_t columns() const { return format_ == WeightFormat::float32 ? weight.size(1) : size_.columns; }
  bool empty() const { return rows() * columns() == 0; }

  torch::Tensor weight;  // the part of this name, [rows, columns] in formats of ours; undefined in one that has none

 protected:
  /// What is stored, on the CPU.
  StoredMatrix matrix() const;

 private:
  WeightFormat format_ = WeightFormat::float32;
  MatrixSize size_;  // of another format than float32, and its parts
  std::vector<torch::Tensor> parts_;
};

class LinearImpl : public StoredModule {
 public:
  LinearImpl(int64_t in_features, int64_t out_features, bool has_bias = true);

  /// x: [..., in] -> [..., out]. Weights in float16, and in a program's own formats, are widened to compute. bfloat16:
  /// x is rounded to it, products are added in float32, and so is the bias; with Products::libtorch the result is
  /// rounded to bfloat16 too. int8: q w^T * scale * weight_scale + bias, with exact sums, where q = clamp(round(x /
  /// scale), -128, 127), ties to even, and scale = max |x| / 127 of each token (per_token) or of all of x (per_tensor),
  /// or input_scale (static_per_tensor). With Products::libtorch: PackedInt8; static activations in float32. Results of
  /// int8 have no gradient. Any number of threads may call it while nobody changes the layer.
  torch::Tensor forward(const torch::Tensor& x);

  /// How the inputs of an int8 weight are quantized; static activations need `input_scale`, float32 [1].
  void quantize_inputs(ActivationScheme scheme, const torch::Tensor& input_scale = {});

  ActivationScheme activations() const { return activations_; }

  /// An int8 weight for LibTorch's operator, made anew when it has changed.
  std::shared_ptr<const PackedInt8> packed();

  /// Copies of a float32 weight for training with less precision, made anew when the weight has changed.
  std::shared_ptr<const torch::Tensor> bfloat16_weight();
  std::shared_ptr<const kernels::Int16Weight> int16_weight();

  torch::Tensor input_scale;  // float32 [1] with int8 and static activations
  torch::Tensor bias;         // float32 [out]; undefined where there is none

  /// float32 [out], contiguous.
  torch::Tensor bias_or_zero() const;

  /// Where set, forward() shows it the input first: for calibration.
  std::function<void(const torch::Tensor& x)> watch;

  Products products = Products::ours;

 private:
  torch::Tensor bfloat16_products(const torch::Tensor& x) const;
  torch::Tensor int8_products(const torch::Tensor& x);
  torch::Tensor libtorch_int8(const torch::Tensor& x);

  ActivationScheme activations_ = ActivationScheme::per_token;
  Derived<kernels::LinearWeight> ours_;  // of int8
  Derived<PackedInt8> packed_;
  Derived<torch::Tensor> bfloat16_;
  Derived<kernels::Int16Weight> int16_;
};
TORCH_MODULE(Linear);

class EmbeddingImpl : public StoredModule {
 public:
  /// The row `padding_id` gets no gradient; -1: there is none.
  EmbeddingImpl(int64_t rows, int64_t width, int64_t padding_id = -1);

  /// ids: int64 [...] -> float32 [..., width]
  torch::Tensor forward(const torch::Tensor& ids);

  int64_t padding_id() const { return padding_id_; }

  /// For training large tables: gradients hold only the rows that were looked up, and `before_lookup` is told the ids
  /// before each lookup. Null: dense gradients, as at the beginning.
  void use_sparse_gradient(std::function<void(const torch::Tensor& ids)> before_lookup) {
    before_lookup_ = std::move(before_lookup);
  }
  bool sparse_gradient() const { return before_lookup_ != nullptr; }

  /// Called by forward(), and by those who read the table on their own.
  void prepare(const torch::Tensor& ids) const {
    if (before_lookup_) before_lookup_(ids);
  }

  bool read_elsewhere = false;  // by a head whose gradient is of all rows

 private:
  int64_t padding_id_;
  std::function<void(const torch::Tensor&)> before_lookup_;
};
TORCH_MODULE(Embedding);

/// By LibTorch's operators.
torch::Tensor activate(const torch::Tensor& x, Activation activation);

/// LayerNorm or RMSNorm over the last dimension. Computes in float32.
class LayerNormImpl : public torch::nn::Module {
 public:
  LayerNormImpl(int64_t width, const NormSpec& spec);
  torch::Tensor forward(const torch::Tensor& x);

  torch::Tensor weight, bias;  // float32 [width]; bias may be undefined
  const NormKind kind;
  const double eps;
};
TORCH_MODULE(LayerNorm);

/// What the description lists.
Linear linear_layer(const ModuleSpec& module);
LayerNorm layer_norm(const ModuleSpec& module);

}  // namespace compression
