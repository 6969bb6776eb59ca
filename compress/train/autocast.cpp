#include "compress/train/autocast.h"

#include <ATen/autocast_mode.h>

#include "compress/workflow/machine.h"  // processor_has

namespace compression {

std::optional<torch::Dtype> autocast_dtype(Precision precision, torch::Device device) {
  switch (precision) {
    case Precision::float32:
      return std::nullopt;
    case Precision::bfloat16:
      return torch::kBFloat16;
    case Precision::float16:
      return torch::kHalf;
    case Precision::automatic:
      break;
  }
  const bool arithmetic = !device.is_cpu() || processor_has("avx512_bf16") || processor_has("amx_bf16");
  return arithmetic ? std::optional(torch::kBFloat16) : std::nullopt;
}

Autocast::Autocast(std::optional<torch::Dtype> dtype, torch::Device device)
    : device_(device.type()),
      was_enabled_(at::autocast::is_autocast_enabled(device_)),
      dtype_before_(at::autocast::get_autocast_dtype(device_)) {
  at::autocast::increment_nesting();
  at::autocast::set_autocast_enabled(device_, dtype.has_value());
  if (dtype) at::autocast::set_autocast_dtype(device_, *dtype);
}

Autocast::~Autocast() {
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, was_enabled_);
  at::autocast::set_autocast_dtype(device_, dtype_before_);
}

}  // namespace compression
