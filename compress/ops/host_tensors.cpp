#include "compress/ops/host_tensors.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <stdexcept>

namespace compression::ops {
namespace {

constexpr std::array<std::pair<DType, torch::Dtype>, 15> dtypes{{{DType::float32, torch::kFloat},
                                                                 {DType::float64, torch::kDouble},
                                                                 {DType::float16, torch::kHalf},
                                                                 {DType::bfloat16, torch::kBFloat16},
                                                                 {DType::float8_e4m3, torch::kFloat8_e4m3fn},
                                                                 {DType::float8_e5m2, torch::kFloat8_e5m2},
                                                                 {DType::int8, torch::kChar},
                                                                 {DType::uint8, torch::kByte},
                                                                 {DType::int16, torch::kShort},
                                                                 {DType::uint16, torch::kUInt16},
                                                                 {DType::int32, torch::kInt},
                                                                 {DType::uint32, torch::kUInt32},
                                                                 {DType::int64, torch::kLong},
                                                                 {DType::uint64, torch::kUInt64},
                                                                 {DType::boolean, torch::kBool}}};

}  // namespace

torch::Dtype scalar_type(DType dtype) {
  const auto* found = std::ranges::find(dtypes, dtype, &decltype(dtypes)::value_type::first);
  if (found == dtypes.end()) throw std::logic_error("dtype");
  return found->second;
}

std::optional<DType> host_dtype(torch::Dtype dtype) {
  const auto* found = std::ranges::find(dtypes, dtype, &decltype(dtypes)::value_type::second);
  return found == dtypes.end() ? std::nullopt : std::optional(found->first);
}

HostTensor host_tensor(const torch::Tensor& tensor) {
  const auto owner = std::make_shared<torch::Tensor>(tensor.detach().to(torch::kCPU).contiguous());
  const void* data = owner->numel() > 0 ? owner->const_data_ptr() : owner.get();  // null would be no tensor
  return {.dtype = host_dtype(tensor.scalar_type()).value(),
          .shape = tensor.sizes().vec(),
          .data = std::shared_ptr<const void>(owner, data)};
}

torch::Tensor torch_tensor(const HostTensor& tensor) {
  return at::from_blob(
      const_cast<void*>(tensor.data.get()), tensor.shape, [keep = tensor.data](void*) {},
      at::TensorOptions(scalar_type(tensor.dtype)));
}

}  // namespace compression::ops
