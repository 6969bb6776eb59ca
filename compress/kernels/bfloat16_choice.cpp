#include "compress/kernels/bfloat16_choice.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace compression::kernels {
namespace {

constexpr int64_t most_rows = 128, few_rows = 16;  // a group of texts; one short text
constexpr int64_t columns_at_most = 256, values_at_most = 128 * 1024;
constexpr int rounds = 5;

/// A product with the operands that a number needs.
class Timed {
 public:
  Timed(Number number, const std::vector<float>& weight, int64_t out, int64_t in) : in_(in) {
    const std::vector<float> bias(static_cast<size_t>(out));
    if (number == Number::float32) {
      pack_linear(number, weight.data(), nullptr, bias.data(), out, in, weight_);
    } else {
      std::vector<uint16_t> upper(weight.size());
      for (size_t i = 0; i < weight.size(); ++i) {
        upper[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(weight[i]) >> 16);
      }
      pack_linear(number, upper.data(), nullptr, bias.data(), out, in, weight_);
    }
    input_ = {number, weight_.words, values_.resize(most_rows * weight_.words), scale_.resize(most_rows)};
  }

  /// Milliseconds of most_rows at once and of few_rows until there are as many.
  double time(const float* x, float* y) const {
    const auto start = std::chrono::steady_clock::now();
    run(x, most_rows, y);
    for (int64_t done = 0; done < most_rows; done += few_rows) run(x, few_rows, y);
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  void run(const float* x, int64_t rows, float* y) const {
    prepare_rows(x, in_, in_, 0, rows, input_);
    multiply(input_, weight_, {0, rows}, {0, weight_.panels}, Activation::none, y, weight_.out);
  }

  int64_t in_;
  LinearWeight weight_;
  Buffer<uint32_t> values_;
  Buffer<float> scale_;
  LinearInput input_;
};

BFloat16Choice measure(int64_t inputs) {
  const auto in = std::clamp<int64_t>(inputs, 16, 4096);
  const auto out = std::clamp(values_at_most / in / panel_width() * panel_width(), panel_width(), columns_at_most);
  uint32_t state = 1;
  const auto random = [&](int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (auto& value : values) {
      state = state * 1664525 + 1013904223;
      value = static_cast<float>(state >> 16) / 32768.0f - 1.0f;
    }
    return values;
  };
  const auto weight = random(out * in), x = random(most_rows * in);
  std::vector<float> y(static_cast<size_t>(most_rows * out));
  const std::array timed = {Timed(Number::bfloat16, weight, out, in), Timed(Number::float32, weight, out, in)};
  std::array<std::array<double, rounds>, 2> times{};
  for (int round = -1; round < rounds; ++round) {  // the first is not counted
    for (size_t i = 0; i < timed.size(); ++i) {
      const auto taken = timed[i].time(x.data(), y.data());
      if (round >= 0) times[i][static_cast<size_t>(round)] = taken;
    }
  }
  for (auto& each : times) std::sort(each.begin(), each.end());
  const double bfloat16 = times[0][rounds / 2], float32 = times[1][rounds / 2];
  return {faster_number(bfloat16, float32), bfloat16, float32};
}

/// What this process has measured, and what a test says.
struct Known {
  std::mutex mutex;
  std::map<std::pair<std::string, int>, BFloat16Choice> measured;  // by kernel and inputs
  std::optional<Number> of_test;
};
Known& known() {
  static Known all;
  return all;
}

}  // namespace

Number faster_number(double bfloat16_ms, double float32_ms) {
  return float32_ms < 0.95 * bfloat16_ms ? Number::float32 : Number::bfloat16;
}

BFloat16Choice bfloat16_choice(int64_t in) {
  auto& all = known();
  const std::lock_guard<std::mutex> lock(all.mutex);
  if (all.of_test) return {*all.of_test};
  const std::pair key(bfloat16_kernel(),
                      static_cast<int>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(in, 1)))));
  const auto found = all.measured.find(key);
  if (found != all.measured.end()) return found->second;
  return all.measured.emplace(key, measure(in)).first->second;
}

void choose_bfloat16_for_test(std::optional<Number> number) {
  auto& all = known();
  const std::lock_guard<std::mutex> lock(all.mutex);
  all.of_test = number;
}

}  // namespace compression::kernels
