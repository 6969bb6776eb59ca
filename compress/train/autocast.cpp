#include "compress/train/autocast.h"

#include <ATen/autocast_mode.h>

#include <stdexcept>

namespace compression {

std::optional<torch::Dtype> autocast_dtype(Precision precision) {
  if (precision == Precision::bfloat16) return torch::kBFloat16;
  if (precision == Precision::float16) return torch::kHalf;
  return std::nullopt;
}

std::optional<Arithmetic> fused_arithmetic(const TrainConfig& config, torch::Device device) {
  if (!config.fused || !device.is_cpu()) return std::nullopt;
  switch (config.precision) {
    case Precision::int16:
      return Arithmetic::int16;
    case Precision::bfloat16:
      return Arithmetic::bfloat16;
    case Precision::float32:
      return Arithmetic::float32;
    case Precision::float16:
      return std::nullopt;
    case Precision::automatic:
      break;
  }
  throw std::invalid_argument("precision: auto is still to be chosen");
}

Autocast::Autocast(std::optional<torch::Dtype> dtype, torch::Device device)
    : device_(device.type()),
      casts_(dtype.has_value()),
      was_enabled_(at::autocast::is_autocast_enabled(device_)),
      dtype_before_(at::autocast::get_autocast_dtype(device_)) {
  at::autocast::increment_nesting();
  at::autocast::set_autocast_enabled(device_, dtype.has_value());
  if (dtype) at::autocast::set_autocast_dtype(device_, *dtype);
}

Autocast::~Autocast() {
  const bool outermost = at::autocast::decrement_nesting() == 0;
  // Inside another scope too: the parameters may have changed when the next one begins.
  if (outermost || casts_) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, was_enabled_);
  at::autocast::set_autocast_dtype(device_, dtype_before_);
}

}  // namespace compression
