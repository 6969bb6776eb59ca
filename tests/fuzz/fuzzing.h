#pragma once
// What the fuzz targets share. A target reads its input as a user's file is read: an Error is an answer, anything else
// that is thrown is a finding, as is what the sanitizers see, an allocation that the input does not explain, and ten
// seconds for one input.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "compress/base/error.h"

namespace compression::fuzzing {

[[noreturn]] inline void finding(const std::string& what) {
  std::fprintf(stderr, "finding: %s\n", what.c_str());
  std::abort();
}

/// The bytes of one input, taken from the front.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  /// Zeros behind the end.
  template <class Number>
  Number take() {
    Number number{};
    const auto size = std::min(sizeof(number), rest_.size());
    std::memcpy(&number, rest_.data(), size);
    rest_.remove_prefix(size);
    return number;
  }
  uint8_t byte() { return take<uint8_t>(); }

  /// Up to the separator, which is left out.
  std::string_view part() {
    constexpr std::string_view separator = "\n-----\n";
    const auto end = std::min(rest_.find(separator), rest_.size());
    const auto part = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + separator.size(), rest_.size()));
    return part;
  }

 private:
  std::string_view rest_;
};

/// A folder in memory that goes with the process.
class Folder {
 public:
  Folder() {
    std::string name =
        (std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path());
    name += "/compress-fuzz-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) finding("no folder can be made");
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path_ / name;
  }
  void clear() const {
    for (const auto& entry : std::filesystem::directory_iterator(path_)) std::filesystem::remove(entry);
  }

 private:
  std::filesystem::path path_;
};

/// Runs it; an Error has to be of one line, but for the problems of a recipe.
template <class Work>
void allow_errors(Work&& work) {
  try {
    work();
  } catch (const ConfigError&) {
  } catch (const Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) {
      finding(std::string("a message of several lines: ") + error.what());
    }
  }
}

}  // namespace compression::fuzzing
