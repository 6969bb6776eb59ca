#include "compress/workflow/context.h"

#include "compress/base/error.h"  // Interrupted

namespace compression {

void Context::check_stop() const {
  if (stop != nullptr && stop->load(std::memory_order_relaxed)) throw Interrupted("stopped; finished stages are kept");
}

}  // namespace compression
