#include "compress/model/autocast.h"

#include <ATen/autocast_mode.h>

namespace compression {

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
