#include "export/config.h"

namespace compression::exporter {

void validate(const ExportConfig& config, Problems& problems) {
  if (config.tolerance) problems.above("tolerance", *config.tolerance, 0);
}

}  // namespace compression::exporter
