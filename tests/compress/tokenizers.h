#pragma once
// What tests of tokenizers share.

#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace compression::testing {

using Ids = std::vector<int64_t>;

const std::filesystem::path kGoldens = std::filesystem::path(COMPRESS_GOLDENS) / "tokenizer";

/// The lines of a JSONL file.
inline std::vector<nlohmann::json> read_rows(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<nlohmann::json> rows;
  for (std::string line; std::getline(file, line);) rows.push_back(nlohmann::json::parse(line));
  REQUIRE_FALSE(rows.empty());
  return rows;
}

/// A folder for one test.
class TokenizerFolder {
 public:
  TokenizerFolder() {
    std::random_device random;
    path_ = std::filesystem::temp_directory_path() /
            ("tokenizer_test_" + std::to_string(random()) + std::to_string(random()));
    std::filesystem::create_directories(path_);
  }
  ~TokenizerFolder() { std::filesystem::remove_all(path_); }
  TokenizerFolder(const TokenizerFolder&) = delete;
  TokenizerFolder& operator=(const TokenizerFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }

 private:
  std::filesystem::path path_;
};

/// The message of the error that `call` throws, which has one line; fails where it throws another or none.
template <class Expected>
std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Expected& error) {
    const std::string message = error.what();
    CHECK(message.find('\n') == std::string::npos);
    return message;
  } catch (const std::exception& error) {
    FAIL("another error: " << error.what());
  }
  FAIL("no error");
  return "";
}

}  // namespace compression::testing
