#include "compress/train/autocast.h"

#include <ATen/autocast_mode.h>

#include "compress/workflow/error.h"    // ConfigError
#include "compress/workflow/machine.h"  // processor_has

namespace compression {

Precision resolve_precision(const TrainConfig& config, torch::Device device) {
  if (config.precision == Precision::int16 && !device.is_cpu()) {
    throw ConfigError("precision: found int16 with --device " + device.str() + ", expected bf16, fp16 or fp32 there");
  }
  if (config.precision != Precision::automatic) return config.precision;
  if (!device.is_cpu() || processor_has("avx512_bf16") || processor_has("amx_bf16")) return Precision::bfloat16;
  return config.fused ? Precision::int16 : Precision::float32;
}

std::optional<torch::Dtype> autocast_dtype(Precision precision) {
  if (precision == Precision::bfloat16) return torch::kBFloat16;
  if (precision == Precision::float16) return torch::kHalf;
  return std::nullopt;
}

std::optional<Arithmetic> fused_arithmetic(const TrainConfig& config, torch::Device device) {
  if (!config.fused || !device.is_cpu()) return std::nullopt;
  switch (resolve_precision(config, device)) {
    case Precision::int16:
      return Arithmetic::int16;
    case Precision::bfloat16:
      return Arithmetic::bfloat16;
    case Precision::float32:
      return Arithmetic::float32;
    default:
      return std::nullopt;
  }
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
