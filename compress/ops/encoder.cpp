#include "compress/ops/encoder.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <stdexcept>

#include "compress/base/error.h"        // Error
#include "compress/ops/host_tensors.h"  // host_tensor, torch_tensor

namespace compression::ops {
namespace {

using at::Tensor;

/// Dense numbers of a kind that files have, where LibTorch says that they are: it takes what a file says of a tensor's
/// place in its storage as it is.
void check_tensor(const std::string& name, const Tensor& tensor) {
  TORCH_CHECK(tensor.layout() == at::kStrided && tensor.device().is_cpu(), "compress.Encoder: ", name,
              ": found no dense tensor on the CPU");
  const auto bytes = static_cast<uint64_t>(tensor.storage_offset()) * tensor.element_size() + tensor.nbytes();
  TORCH_CHECK(tensor.is_contiguous() && tensor.storage_offset() >= 0 && bytes <= tensor.storage().nbytes(),
              "compress.Encoder: ", name, ": found a tensor that is not contiguous in its storage of ",
              tensor.storage().nbytes(), " bytes");
  TORCH_CHECK(host_dtype(tensor.scalar_type()), "compress.Encoder: ", name, ": found ", tensor.scalar_type(),
              ", which the fused runtime does not have");
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
    if (!tensor.defined()) continue;
    check_tensor(entry.key(), tensor);
    result.tensors.emplace(entry.key(), host_tensor(tensor));
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

EncoderState torch_state(const runtime::EncoderState& state) {
  EncoderState result;
  for (const auto& [name, number] : state.numbers) result.numbers.insert(name, number);
  for (const auto& [name, tensor] : state.tensors) result.tensors.insert(name, torch_tensor(tensor.read()));
  return result;
}

EncoderState Encoder::state() const {
  return torch_state(encoder_.state());
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
