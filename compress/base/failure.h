#pragma once
// What an exception of any kind means: memory that ran out arises as std::bad_alloc, as an error of LibTorch's, and
// inside of the messages of its interpreter.

#include <exception>
#include <new>
#include <stdexcept>
#include <string>

namespace compression {

/// Memory that the system did not give, with what it was for: "model.safetensors: 90868376 bytes".
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(const std::string& purpose);
  const char* what() const noexcept override { return text_.what(); }

 private:
  std::runtime_error text_;  // copies without allocating
};

/// Whether it says that memory ran out: to be asked where exceptions of every kind become another one, or nothing.
bool is_out_of_memory(const std::exception& error);

/// One line: "out of memory", the message of an Error or of std::filesystem as it is, or that of another exception
/// after "internal error: ".
std::string failure_text(const std::exception& error);

/// The same of the exception that is being handled. For use inside of a catch block.
std::string current_failure_text();

}  // namespace compression
