#include "compress/evaluate/instances.h"

#include <ATen/Parallel.h>

#include "compress/engine/instances.h"  // run_instances

namespace compression {

void run_instances(int64_t count, const std::function<void(int64_t)>& work) {
  // The first question in a thread tells OpenMP the program's number; what is set behind it is for this one alone.
  run_instances(count, at::get_num_threads(), work, [] { at::get_num_threads(); });
}

}  // namespace compression
