#pragma once
// A data file for the length of a test, and the message of the error that it provokes.

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "datasets/dataset.h"

namespace compression::datasets {

/// A folder that goes with the test, and files in it.
class DataFolder {
 public:
  DataFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "compress-datasets-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~DataFolder() { std::filesystem::remove_all(path_); }
  DataFolder(const DataFolder&) = delete;
  DataFolder& operator=(const DataFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  FileConfig write(const std::string& name, std::string_view text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    FileConfig config;
    config.path = path_ / name;
    return config;
  }

 private:
  std::filesystem::path path_;
};

/// The message of the `E` that `action` throws, with the folder's own name taken out; fails the test if it throws none.
template <class E, class Action>
std::string message_of(const DataFolder& folder, Action action) {
  try {
    action();
  } catch (const E& error) {
    std::string message = error.what();
    const std::string prefix = folder.path().string() + "/";
    for (size_t at; (at = message.find(prefix)) != std::string::npos;) message.erase(at, prefix.size());
    CHECK(message.find('\n') == std::string::npos);
    return message;
  }
  FAIL("no error of the expected kind");
  return "";
}

/// The message of the DataError that reading such a file throws.
inline std::string data_error(const std::string& name, std::string_view text, bool labelled = true) {
  const DataFolder folder;
  const FileConfig file = folder.write(name, text);
  return message_of<DataError>(folder, [&] { read_dataset(file, labelled); });
}

inline Dataset read_text_of(const std::string& name, std::string_view text, bool labelled = true) {
  const DataFolder folder;
  return read_dataset(folder.write(name, text), labelled);
}

inline std::vector<std::string> texts(const Dataset& data) {
  std::vector<std::string> result;
  for (const auto& input : data.inputs) result.push_back(input.text);
  return result;
}

using Strings = std::vector<std::string>;
using Numbers = std::vector<int64_t>;

}  // namespace compression::datasets
