#pragma once
// LibTorch's tensors and those of files and kernels.

#include <torch/types.h>

#include <optional>

#include "compress/base/host_tensor.h"  // DType, HostTensor

namespace compression::ops {

torch::Dtype scalar_type(DType dtype);

/// Absent for what HostTensor has no name for: complex and quantized numbers.
std::optional<DType> host_dtype(torch::Dtype dtype);

/// The numbers row by row on the CPU, of any dense tensor: its own memory where they are so already, else a copy.
/// Throws std::bad_optional_access for a dtype that host_dtype() does not have.
HostTensor host_tensor(const torch::Tensor& tensor);

/// A tensor over the same memory, which it keeps alive; it must not be written into.
torch::Tensor torch_tensor(const HostTensor& tensor);

}  // namespace compression::ops
