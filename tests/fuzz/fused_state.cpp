// A small model's state for the fused runtime, and what the input changes of it: commands of one byte, each with the
// name of a number or tensor (a byte) and what it becomes. What the Encoder takes has to run.

#include <torch/types.h>

#include "compress/ops/encoder.h"
#include "tests/fuzz/fuzzing.h"

using namespace compression;

namespace {

using at::Tensor;

constexpr at::ScalarType types[] = {at::kFloat, at::kChar, at::kBFloat16, at::kHalf, at::kLong, at::kDouble, at::kBool};

void add_linear(ops::EncoderState& state, const std::string& name, int64_t out, int64_t in, at::ScalarType type) {
  const auto weight = torch::ones({out, in}) * 0.125;
  state.tensors.insert(name + ".weight", type == at::kChar ? torch::ones({out, in}, at::kChar) : weight.to(type));
  state.tensors.insert(name + ".bias", torch::zeros({out}));
  if (type == at::kChar) state.tensors.insert(name + ".weight_scale", torch::full({out}, 0.01f));
}

/// Two layers, the second one with or without weights of its own.
ops::EncoderState base(uint8_t kind) {
  const auto type = types[kind % 4];
  constexpr int64_t words = 7, hidden = 6, head = 2, heads = 2, units = 5, length = 9;
  ops::EncoderState state;
  for (const auto& [name, value] :
       std::initializer_list<std::pair<const char*, double>>{{"format", 1},
                                                             {"layers", 2},
                                                             {"layer.0.weights", 0},
                                                             {"layer.1.weights", kind & 4 ? 0 : 1},
                                                             {"head_size", head},
                                                             {"score_scale", 0.7},
                                                             {"eps", 1e-12},
                                                             {"max_length", length},
                                                             {"padding_position", kind & 8 ? 1 : -1},
                                                             {"function", 1},
                                                             {"head.function", 4}}) {
    state.numbers.insert(name, value);
  }
  const auto norm = [&](const std::string& name, int64_t width) {
    state.tensors.insert(name + ".weight", torch::ones({width}));
    state.tensors.insert(name + ".bias", torch::zeros({width}));
  };
  const int64_t narrow = kind & 16 ? 4 : hidden;
  state.tensors.insert("embeddings.word.weight", torch::ones({words, narrow}));
  state.tensors.insert("embeddings.position.weight", torch::ones({length + 2, narrow}));
  state.tensors.insert("embeddings.token_type.weight", torch::ones({2, narrow}));
  norm("embeddings.norm", narrow);
  if (narrow != hidden) add_linear(state, "embeddings.projection", hidden, narrow, at::kFloat);
  for (const std::string layer : {"layer.0", "layer.1"}) {
    if (layer == "layer.1" && (kind & 4) != 0) continue;
    for (const char* part : {".query", ".key", ".value"}) add_linear(state, layer + part, head * heads, hidden, type);
    add_linear(state, layer + ".attention_output", hidden, head * heads, type);
    add_linear(state, layer + ".intermediate", units, hidden, type);
    add_linear(state, layer + ".output", hidden, units, type);
    norm(layer + ".attention_norm", hidden);
    norm(layer + ".output_norm", hidden);
    if (kind & 32) state.tensors.insert(layer + ".position_bias", torch::zeros({heads, 2 * length - 1}));
  }
  if (kind & 128) {
    state.numbers.insert("content_to_position", 1);
    state.numbers.insert("position_to_content", 1);
    state.tensors.insert("relative.table.weight", torch::ones({5, hidden}));
    state.tensors.insert("relative.rows", (4 - torch::arange(2 * length - 1).floor_divide(4)).to(torch::kInt));
    norm("relative.norm", hidden);
    add_linear(state, "layer.0.position_key", head * heads, hidden, type);
    if (kind & 64) add_linear(state, "head.dense", narrow, hidden, at::kFloat);
  }
  if (kind & 64) return state;
  add_linear(state, "head.dense", hidden, hidden, at::kFloat);
  add_linear(state, "head.classifier", 3, hidden, at::kFloat);
  return state;
}

template <class Dict>
std::string name_in(const Dict& dict, uint8_t index) {
  std::vector<std::string> names;
  for (const auto& entry : dict) names.push_back(entry.key());
  std::sort(names.begin(), names.end());
  return names.empty() ? "none" : names[index % names.size()];
}

Tensor some_tensor(fuzzing::Input& input) {
  const auto type = types[input.byte() % std::size(types)];
  std::vector<int64_t> sizes(input.byte() % 4);
  for (auto& size : sizes) size = input.byte() % 32;
  return torch::full(sizes, static_cast<double>(input.take<int8_t>()) / 16, type);
}

/// Whether the tensor's numbers are all in its storage: others can't be copied.
bool lies_in_storage(const Tensor& tensor) {
  int64_t last = tensor.storage_offset();
  for (int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  return tensor.numel() == 0 || static_cast<size_t>(last + 1) * tensor.itemsize() <= tensor.storage().nbytes();
}

void change(ops::EncoderState& state, fuzzing::Input& input) {
  const auto command = input.byte();
  const auto number = name_in(state.numbers, command >> 3), tensor = name_in(state.tensors, input.byte());
  switch (command & 7) {
    case 0:
      state.numbers.insert_or_assign(number, input.take<double>());
      break;
    case 1:
      state.numbers.insert_or_assign(number, static_cast<double>(input.take<int16_t>()));
      break;
    case 2:
      static_cast<void>(state.numbers.erase(number));
      break;
    case 3:
      static_cast<void>(state.tensors.erase(tensor));
      break;
    case 4:
      state.tensors.insert_or_assign(tensor, some_tensor(input));
      break;
    case 5: {  // other bytes
      if (!state.tensors.contains(tensor) || !lies_in_storage(state.tensors.at(tensor))) break;
      auto changed = state.tensors.at(tensor).clone();
      for (int i = 0; i < 8 && changed.nbytes() > 0; ++i) {
        static_cast<uint8_t*>(changed.data_ptr())[input.take<uint16_t>() % changed.nbytes()] = input.byte();
      }
      state.tensors.insert_or_assign(tensor, changed);
      break;
    }
    case 6: {  // another place in its storage, as a file may say
      if (!state.tensors.contains(tensor) || !lies_in_storage(state.tensors.at(tensor))) break;
      auto moved = state.tensors.at(tensor).detach().clone();
      std::vector<int64_t> strides = moved.strides().vec();
      if (!strides.empty()) strides[input.byte() % strides.size()] = input.byte();
      const auto sizes = moved.sizes().vec();
      moved.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides, input.byte());
      state.tensors.insert_or_assign(tensor, moved);
      break;
    }
    default: {  // a name that may be absent
      const auto name = input.byte() % 2 ? "layer." + std::to_string(input.byte() % 3) + ".query.input_scale"
                                         : std::string("embeddings.projection.weight");
      state.tensors.insert_or_assign(name, some_tensor(input));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzzing::Input input(data, size);
  auto state = base(input.byte());
  for (int i = 0; i < 16 && !input.empty(); ++i) change(state, input);
  try {
    const ops::Encoder encoder(state);
    const auto ids = torch::tensor({{1, 2, 3, 0, 1}, {6, 5, 4, 3, 2}, {1, 1, 0, 0, 0}}, at::kLong);
    auto mask = torch::ones_like(ids);
    mask[2].slice(0, 2).zero_();
    encoder.forward(ids, mask, torch::zeros_like(ids));
    encoder.last_hidden_state(ids, mask, torch::ones_like(ids));
    const ops::Encoder again(encoder.state());
  } catch (const c10::Error&) {
  }
  return 0;
}
