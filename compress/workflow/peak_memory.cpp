#include "compress/workflow/peak_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <fstream>
#include <string>

namespace compression {
namespace {

c10::DeviceIndex index_of(torch::Device device) {
  return device.has_index() ? device.index() : 0;
}

}  // namespace

PeakMemory::PeakMemory(torch::Device device) : device_(device) {
  std::ofstream("/proc/self/clear_refs") << "5\n";  // VmHWM begins anew (proc(5))
  if (device_.is_cpu()) return;
  auto* allocator = c10::getDeviceAllocator(device_.type());
  if (allocator->initialized()) allocator->resetPeakStats(index_of(device_));
}

std::optional<int64_t> PeakMemory::host_bytes() const {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  }
  return std::nullopt;
}

std::optional<int64_t> PeakMemory::device_bytes() const {
  if (device_.is_cpu()) return std::nullopt;
  const auto stats = c10::getDeviceAllocator(device_.type())->getDeviceStats(index_of(device_));
  return stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
}

}  // namespace compression
