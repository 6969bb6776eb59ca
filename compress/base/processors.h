#pragma once
// Processors and threads that this process may have.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace compression {

/// Numbers of the processors that the calling thread may run on (sched_getaffinity), ascending; none where the system
/// does not say.
std::vector<int> allowed_processors();

/// The value of a key of /proc/cpuinfo's first processor, "model name"; empty where there is none.
std::string processor_info(std::string_view key);

/// What processor this is, "AMD EPYC, family 25, model 17", or on ARM its implementer and part; of one that can't be
/// told from others, empty.
std::string processor_name();

/// The calling thread, and those that it will start, stay on share `index` of `count` of these processors. With fewer
/// processors than shares they take turns.
void stay_on(const std::vector<int>& processors, int64_t index, int64_t count);

/// Throws StorageError unless the system lets this process start so many threads more than the calling one: libgomp
/// ends the program where it can't start one.
void require_threads(int64_t count);

}  // namespace compression
