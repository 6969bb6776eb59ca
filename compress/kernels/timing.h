#pragma once
// What choices between kernels are measured with.

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compress/kernels/kept_choices.h"  // kept_choice

namespace compression::kernels {

/// The same numbers on every machine, uniform in [-1, 1).
inline std::vector<float> random_values(int64_t count) {
  uint32_t state = 1;
  std::vector<float> values(static_cast<size_t>(count));
  for (auto& value : values) {
    state = state * 1664525 + 1013904223;
    value = static_cast<float>(state >> 16) / 32768.0f - 1.0f;
  }
  return values;
}

/// Milliseconds that work(0) to work(N - 1) take: each one's median of five rounds, in which they take turns.
template <size_t N, class Work>
std::array<double, N> median_ms(Work&& work) {
  constexpr size_t rounds = 5;
  std::array<std::array<double, rounds>, N> times{};
  for (size_t round = 0; round <= rounds; ++round) {
    for (size_t i = 0; i < N; ++i) {
      const auto start = std::chrono::steady_clock::now();
      work(i);
      const auto taken = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
      if (round > 0) times[i][round - 1] = taken;  // the first is not counted
    }
  }
  std::array<double, N> medians{};
  for (size_t i = 0; i < N; ++i) {
    std::sort(times[i].begin(), times[i].end());
    medians[i] = times[i][rounds / 2];
  }
  return medians;
}

/// What was measured, by a key that says what of: once in a process, or read from where an earlier one kept it
/// (kept_choices.h). A test may say it instead. Any number of threads may call it.
template <class Choice>
class MeasuredOnce {
 public:
  /// As JSON, and from it: nothing where it is no choice.
  using Write = nlohmann::json (*)(const Choice&);
  using Read = std::optional<Choice> (*)(const nlohmann::json&);
  MeasuredOnce(Write write, Read read) : write_(write), read_(read) {}

  template <class Measure>
  Choice get(const std::string& key, Measure&& measure) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (of_test_) return *of_test_;
    const auto found = measured_.find(key);
    if (found != measured_.end()) return found->second;
    const auto kept = kept_choice(key);
    auto choice = kept ? read_(*kept) : std::nullopt;
    if (!choice) {
      choice = measure();
      keep_choice(key, write_(*choice));
    }
    return measured_.emplace(key, *choice).first->second;
  }

  std::optional<Choice> of_test() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return of_test_;
  }

  void choose_for_test(std::optional<Choice> choice) {
    const std::lock_guard<std::mutex> lock(mutex_);
    of_test_ = std::move(choice);
  }

 private:
  const Write write_;
  const Read read_;
  std::mutex mutex_;
  std::map<std::string, Choice> measured_;
  std::optional<Choice> of_test_;
};

/// Numbers of inputs that are measured once: those between the same powers of two.
inline int size_class(int64_t in) {
  return static_cast<int>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(in, 1))));
}

}  // namespace compression::kernels
