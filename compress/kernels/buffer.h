#pragma once
// Memory for kernels: aligned to a cache line, not initialised, kept when it is asked for again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace compression::kernels {

template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t count) { resize(count); }

  /// Room for `count` values; what was there is lost where it has to grow.
  T* resize(int64_t count) {
    const auto bytes = (static_cast<size_t>(count) * sizeof(T) + 127) / 64 * 64;  // a cache line more than asked for
    if (bytes > bytes_) {
      data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
      if (!data_) {
        bytes_ = 0;
        throw std::bad_alloc();
      }
      bytes_ = bytes;
    }
    return data_.get();
  }

  T* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
  size_t bytes_ = 0;
};

}  // namespace compression::kernels
