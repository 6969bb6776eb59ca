#pragma once
// A network as the runtime takes it, from its description and its weights, wherever they are.

#include <functional>
#include <string>

#include "compress/base/host_tensor.h"       // LazyTensor
#include "compress/runtime/encoder_state.h"  // EncoderState
#include "compress/spec/config.h"            // ModelConfig

namespace compression {

/// A tensor by the name that our modules have for it (compress/spec/weights.h): "head.dense.weight", or another part of
/// its kind of storage, "head.dense.weight_scale", or "head.dense.input_scale". Undefined where there is none.
using TensorOf = std::function<LazyTensor(const std::string& name)>;

/// What of the network the runtime has no kernels for, "texts of 300000 tokens"; empty: nothing. It has every option of
/// a block; what it has once for all of them, heads' size and the activation, has to be the same in all.
std::string runtime_lacks(const ModelConfig& config);
inline bool can_pack(const ModelConfig& config) {
  return runtime_lacks(config).empty();
}

/// Of a network that can be packed: the encoder, and the head of one label a text, or the dense layer of one of
/// tokens. Tensors are those that `tensor` gives, which are not read here but for static scales and the table of
/// distances. Throws CheckpointError for a tensor that is missing, and for one of these two that is misshapen or not
/// float32; the rest is the runtime's to check.
runtime::EncoderState network_state(const ModelConfig& config, const TensorOf& tensor);

}  // namespace compression
