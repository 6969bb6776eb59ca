#include "compress/base/failure.h"

#include <filesystem>
#include <string_view>

#include "compress/base/error.h"    // Error
#include "compress/base/message.h"  // one_line

namespace compression {

OutOfMemory::OutOfMemory(const std::string& purpose) : text_(one_line("out of memory: " + purpose)) {}

bool is_out_of_memory(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return true;
  if (dynamic_cast<const Error*>(&error) != nullptr) return false;  // may name a file or a value of any text
  const std::string_view text = error.what();
  for (const std::string_view sign : {"DefaultCPUAllocator: ", "std::bad_alloc", "CUDA out of memory"}) {
    if (text.find(sign) != std::string_view::npos) return true;
  }
  return false;
}

std::string failure_text(const std::exception& error) {
  if (const auto* known = dynamic_cast<const OutOfMemory*>(&error)) return known->what();
  if (is_out_of_memory(error)) return "out of memory";
  if (dynamic_cast<const Error*>(&error) != nullptr) return error.what();
  if (dynamic_cast<const std::filesystem::filesystem_error*>(&error) != nullptr) return one_line(error.what());
  const std::string_view text = error.what();
  return one_line("internal error: " + std::string(text.substr(0, text.find('\n'))));  // LibTorch adds a stack trace
}

std::string current_failure_text() {
  try {
    throw;
  } catch (const std::exception& error) {
    return failure_text(error);
  } catch (...) {
    return "internal error: an exception of no known kind";
  }
}

}  // namespace compression
