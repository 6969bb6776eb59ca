#pragma once
// A model whose answers follow from the text, which tells what it was asked and can be held up.

#include <omp.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <future>
#include <mutex>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "compress/base/error.h"
#include "compress/serve/http.h"
#include "compress/serve/model.h"

namespace compression::serve::testing {

/// A word is a token, and there is one at either end. Of a text: how many tokens, and how many are of words that are
/// "good", as numbers; of other tasks an object with the text. A text with the word "bad" can't be computed.
class FakeModel : public Model {
 public:
  explicit FakeModel(TaskType task = task_traits[0].type, int64_t width = 2) {
    info_.head = {.labels = {"tokens", "good"}, .task = task};
    info_.head.labels.resize(static_cast<size_t>(width));
    info_.max_length = 12;
    info_.family = "fake";
    info_.number_format = "float32";
    info_.pooling = "mean";
    info_.width = width;
  }

  const ModelInfo& info() const override { return info_; }

  Reading read(TextInput input, const ReadOptions& options) const override {
    auto ids = ids_of(input.text + " " + input.pair.value_or(""));
    auto reading = read(std::move(ids), {}, options);
    reading.input = std::move(input);
    return reading;
  }

  Reading read(std::vector<int64_t> ids, std::vector<int64_t> types, const ReadOptions& options) const override {
    if (std::ssize(ids) > info_.max_length && !options.truncate) {
      throw RequestError(413, ErrorType::validation,
                         "found " + std::to_string(ids.size()) + " tokens, expected at most 12");
    }
    if (std::ssize(ids) > info_.max_length) {
      if (options.keep_end) ids.erase(ids.begin(), ids.end() - info_.max_length);
      ids.resize(static_cast<size_t>(info_.max_length));
    }
    Reading reading{.ids = std::move(ids), .types = std::move(types)};
    reading.tokens = std::ssize(reading.ids);
    return reading;
  }

  std::vector<TokenPiece> tokenize(const std::string& text, bool special_tokens) const override {
    std::vector<TokenPiece> pieces;
    if (special_tokens) pieces.push_back({.id = 0, .text = "[", .special = true});
    pieces.push_back({.id = 7, .text = text, .begin = 0, .end = std::ssize(text)});
    return pieces;
  }

  std::vector<Result> run(std::span<const Reading* const> readings) const override {
    std::vector<size_t> sizes;
    {
      std::unique_lock lock(mutex_);
      auto& batch = batches_.emplace_back();
      for (const auto* reading : readings) batch.push_back(reading->tokens);
      threads_.push_back(omp_get_max_threads());
      changed_.notify_all();
      changed_.wait(lock, [&] { return !held_; });
    }
    std::vector<Result> results;
    for (const auto* reading : readings) {
      auto& result = results.emplace_back(Result{.width = info_.width});
      if (reading->input.text.find("bad") != std::string::npos) throw DataError("text 1: found bad, expected good");
      const auto good = std::ranges::count(reading->ids, int64_t{4});
      const auto rows = reading->wanted == Wanted::states ? reading->tokens : 1;
      for (int64_t row = 0; row < rows; ++row) {
        const float numbers[] = {static_cast<float>(reading->tokens), static_cast<float>(good)};
        result.values.insert(result.values.end(), numbers, numbers + info_.width);
      }
      result.object = {{"text", reading->input.text}};
    }
    return results;
  }

  void hold(bool held) {
    const std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }

  /// Waits until so many batches were begun.
  void wait_for_batches(size_t count) const {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, std::chrono::seconds(20), [&] { return batches_.size() >= count; }));
  }

  /// That each batch may use.
  std::vector<int> threads() const {
    const std::lock_guard lock(mutex_);
    return threads_;
  }

  /// Tokens of each text of each batch.
  std::vector<std::vector<int64_t>> batches() const {
    const std::lock_guard lock(mutex_);
    return batches_;
  }

 private:
  /// Lengths of the words; 1 and 2 at the ends.
  static std::vector<int64_t> ids_of(const std::string& text) {
    std::vector<int64_t> ids{1};
    std::istringstream words(text);
    for (std::string word; words >> word;) ids.push_back(std::ssize(word));
    ids.push_back(2);
    return ids;
  }

  ModelInfo info_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable std::vector<std::vector<int64_t>> batches_;
  mutable std::vector<int> threads_;
  bool held_ = false;
};

}  // namespace compression::serve::testing
