#pragma once
// The encoder in a form made for training on a CPU: the tokens of a batch follow each other without padding, each layer
// is one node of the autograd graph with a backward pass written by hand, and whatever lies between matrix products is
// one pass over memory (compress/kernels). The last layer computes its first tokens alone where nothing else is asked
// for. Same parameters, and with Arithmetic::float32 the same results up to rounding, as the form in encoder.cpp.

#include "compress/model/encoder.h"  // EncoderImpl, Capture, Arithmetic

namespace compression {

/// Whether the fused form has such a network: every option of a block but positions that fall with the distance or that
/// content attends to, and norms of heads.
bool can_fuse(const ModelConfig& config);

/// Whether it can compute this of one that it has: on the CPU, with float32 weights, no masks on units, attention maps
/// and projections not asked for, and a first token in every row; with a window or a table of distances, padding only
/// at the end.
bool can_fuse(const EncoderImpl& encoder, const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
              const Capture& capture);

/// As EncoderImpl::forward; hidden states are zero where there is padding. Gradients are added to the parameters' own;
/// dropout draws one number from LibTorch's generator.
EncoderOutput fused_forward(EncoderImpl& encoder, const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
                            const torch::Tensor& token_type_ids, const Capture& capture, Arithmetic arithmetic);

/// The products of one linear layer as the layers above make them, forward and backward: x w^T + bias, the weight's
/// gradient (added to its own) and dx. Float32, x: [rows, in], dy: [rows, out]. For those who measure them, under a
/// NoGradGuard.
void linear_products(LinearImpl& linear, const torch::Tensor& x, const torch::Tensor& dy, Arithmetic arithmetic);

}  // namespace compression
