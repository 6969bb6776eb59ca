#include "compress/task/batch_source.h"

#include <spdlog/spdlog.h>

#include "compress/task/task.h"  // make_scorer

namespace compression {

void BatchSource::tell_left_out(const std::shared_ptr<spdlog::logger>& logger) const {
  if (left_out() == 0 || told_.exchange(true)) return;
  logger->info("{} of {} texts are left out: they have no token, or none with a label or to mask", left_out(), size());
}

std::unique_ptr<Scorer> BatchSource::scorer() const {
  return make_scorer({}, Metric::accuracy);
}

}  // namespace compression
