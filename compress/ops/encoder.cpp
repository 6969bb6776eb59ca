#include "compress/ops/encoder.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <array>
#include <stdexcept>
#include <utility>

#include "compress/base/error.h"  // Error

namespace compression::ops {
namespace {

using at::Tensor;

constexpr std::array<std::pair<DType, at::ScalarType>, 10> types = {{{DType::float32, at::kFloat},
                                                                     {DType::float64, at::kDouble},
                                                                     {DType::float16, at::kHalf},
                                                                     {DType::bfloat16, at::kBFloat16},
                                                                     {DType::int8, at::kChar},
                                                                     {DType::uint8, at::kByte},
                                                                     {DType::int16, at::kShort},
                                                                     {DType::int32, at::kInt},
                                                                     {DType::int64, at::kLong},
                                                                     {DType::boolean, at::kBool}}};

DType host_type(const std::string& name, at::ScalarType type) {
  for (const auto& [host, ours] : types) {
    if (ours == type) return host;
  }
  TORCH_CHECK(false, "compress.Encoder: ", name, ": found ", type, ", which the fused runtime does not have");
}

at::ScalarType scalar_type(DType type) {
  for (const auto& [host, ours] : types) {
    if (host == type) return ours;
  }
  return at::kFloat;
}

/// The same numbers, which the tensor keeps.
HostTensor host_tensor(const std::string& name, const Tensor& tensor) {
  TORCH_CHECK(tensor.layout() == at::kStrided && tensor.device().is_cpu(), "compress.Encoder: ", name,
              ": found no dense tensor on the CPU");
  // LibTorch takes what a file says of a tensor's place in its storage as it is.
  const auto bytes = static_cast<uint64_t>(tensor.storage_offset()) * tensor.element_size() + tensor.nbytes();
  TORCH_CHECK(tensor.is_contiguous() && tensor.storage_offset() >= 0 && bytes <= tensor.storage().nbytes(),
              "compress.Encoder: ", name, ": found a tensor that is not contiguous in its storage of ",
              tensor.storage().nbytes(), " bytes");
  const auto keeper = std::make_shared<const Tensor>(tensor);
  const void* data = tensor.numel() > 0 ? tensor.const_data_ptr() : keeper.get();  // null would be no tensor
  return {host_type(name, tensor.scalar_type()), tensor.sizes().vec(), std::shared_ptr<const void>(keeper, data)};
}

Tensor tensor_of(const HostTensor& tensor) {
  const auto options = at::TensorOptions(scalar_type(tensor.dtype));
  auto* data = const_cast<void*>(tensor.data.get());  // NOLINT: nobody writes there
  return at::from_blob(data, tensor.shape, [keeper = tensor.data](void*) {}, options);
}

/// What work() returns; errors of ours are c10::Errors with the same words.
template <class Work>
auto with_errors_of_libtorch(Work&& work) {
  try {
    return work();
  } catch (const std::out_of_range& error) {
    TORCH_CHECK_INDEX(false, error.what());
  } catch (const Error& error) {
    TORCH_CHECK(false, error.what());
  }
}

runtime::EncoderState host_state(const EncoderState& state) {
  runtime::EncoderState result;
  for (const auto& entry : state.numbers) result.numbers.emplace(entry.key(), entry.value());
  for (const auto& entry : state.tensors) {
    const auto& tensor = entry.value();
    if (tensor.defined()) result.tensors.emplace(entry.key(), host_tensor(entry.key(), tensor));
  }
  return result;
}

void check(const Tensor& input_ids, const Tensor& attention_mask, const Tensor& token_type_ids) {
  for (const auto* t : {&input_ids, &attention_mask, &token_type_ids}) {
    const bool fits = t == &attention_mask || at::isIntegralType(t->scalar_type(), /*includeBool=*/false);
    TORCH_CHECK(fits && t->dim() == 2 && t->sizes() == input_ids.sizes() && t->device().is_cpu(),
                "compress.Encoder: input_ids and token_type_ids must be integers and attention_mask numbers, [batch, "
                "sequence] each, on the CPU; found ",
                t->scalar_type(), " ", t->sizes(), " on ", t->device());
  }
}

/// What `compute` writes for the batch, in a new tensor of `sizes`.
Tensor computed(const runtime::Encoder& encoder,
                void (runtime::Encoder::*compute)(const runtime::PaddedTokens&, float*) const, const Tensor& input_ids,
                const Tensor& attention_mask, const Tensor& token_type_ids, at::IntArrayRef sizes) {
  const auto longs = [](const Tensor& t) { return t.to(at::kLong).contiguous(); };
  const auto ids = longs(input_ids), mask = longs(attention_mask.ne(0)), types = longs(token_type_ids);
  const auto out = at::empty(sizes, at::kFloat);
  const runtime::PaddedTokens tokens{ids.const_data_ptr<int64_t>(), mask.const_data_ptr<int64_t>(),
                                     types.const_data_ptr<int64_t>(), ids.size(0), ids.size(1)};
  at::get_num_threads();  // the first question in a thread tells OpenMP the program's number
  with_errors_of_libtorch([&] { (encoder.*compute)(tokens, out.data_ptr<float>()); });
  return out;
}

}  // namespace

Encoder::Encoder(const EncoderState& state)
    : encoder_(with_errors_of_libtorch([&] { return runtime::Encoder(host_state(state)); })) {}

EncoderState Encoder::state() const {
  const auto state = encoder_.state();
  EncoderState result;
  for (const auto& [name, number] : state.numbers) result.numbers.insert(name, number);
  for (const auto& [name, tensor] : state.tensors) result.tensors.insert(name, tensor_of(tensor));
  return result;
}

Tensor Encoder::forward(const Tensor& input_ids, const Tensor& attention_mask, const Tensor& token_type_ids) const {
  check(input_ids, attention_mask, token_type_ids);
  return computed(encoder_, &runtime::Encoder::forward, input_ids, attention_mask, token_type_ids,
                  {input_ids.size(0), encoder_.classes()});
}

Tensor Encoder::last_hidden_state(const Tensor& input_ids, const Tensor& attention_mask,
                                  const Tensor& token_type_ids) const {
  check(input_ids, attention_mask, token_type_ids);
  return computed(encoder_, &runtime::Encoder::last_hidden_state, input_ids, attention_mask, token_type_ids,
                  {input_ids.size(0), input_ids.size(1), encoder_.state_width()});
}

}  // namespace compression::ops
