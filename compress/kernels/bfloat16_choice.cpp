#include "compress/kernels/bfloat16_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string>
#include <vector>

#include "compress/kernels/timing.h"  // median_ms

namespace compression::kernels {
namespace {

constexpr int64_t most_rows = 128, few_rows = 16;  // a group of texts; one short text
constexpr int64_t columns_at_most = 256, values_at_most = 128 * 1024;

/// A product with the operands that a number needs.
class Timed {
 public:
  Timed(Number number, const std::vector<float>& weight, int64_t out, int64_t in) : in_(in) {
    std::vector<uint16_t> upper(weight.size());
    for (size_t i = 0; i < weight.size(); ++i) {
      upper[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(weight[i]) >> 16);
    }
    if (number == Number::float32) {
      pack_floats(DType::bfloat16, upper.data(), nullptr, out, in, weight_);
    } else {
      pack_linear(number, upper.data(), nullptr, nullptr, out, in, weight_);
    }
    input_ = {number, weight_.words, values_.resize(most_rows * weight_.words), scale_.resize(most_rows)};
  }

  /// most_rows at once, and few_rows until there are as many.
  void run_all(const float* x, float* y) const {
    run(x, most_rows, y);
    for (int64_t done = 0; done < most_rows; done += few_rows) run(x, few_rows, y);
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
  const auto weight = random_values(out * in), x = random_values(most_rows * in);
  std::vector<float> y(static_cast<size_t>(most_rows * out));
  const std::array timed = {Timed(Number::bfloat16, weight, out, in), Timed(Number::float32, weight, out, in)};
  const auto [bfloat16, float32] = median_ms<2>([&](size_t i) { timed[i].run_all(x.data(), y.data()); });
  return {faster_number(bfloat16, float32), bfloat16, float32};
}

nlohmann::json write(const BFloat16Choice& choice) {
  return {{"bfloat16_ms", choice.bfloat16_ms}, {"float32_ms", choice.float32_ms}};
}

std::optional<BFloat16Choice> read(const nlohmann::json& kept) {
  std::array<double, 2> times{};
  for (size_t i = 0; i < times.size(); ++i) {
    const auto* name = i == 0 ? "bfloat16_ms" : "float32_ms";
    if (!kept.is_object() || !kept.contains(name) || !kept[name].is_number()) return std::nullopt;
    times[i] = kept[name].get<double>();
    if (!(times[i] > 0.0)) return std::nullopt;
  }
  return BFloat16Choice{faster_number(times[0], times[1]), times[0], times[1]};
}

MeasuredOnce<BFloat16Choice>& known() {
  static MeasuredOnce<BFloat16Choice> all(write, read);
  return all;
}

}  // namespace

Number faster_number(double bfloat16_ms, double float32_ms) {
  return bfloat16_ms < 0.95 * float32_ms ? Number::bfloat16 : Number::float32;
}

BFloat16Choice bfloat16_choice(int64_t in) {
  return known().get(fmt::format("{} or float32, inputs 2^{}", bfloat16_kernel(), size_class(in)),
                     [&] { return measure(in); });
}

void choose_bfloat16_for_test(std::optional<Number> number) {
  known().choose_for_test(number ? std::optional(BFloat16Choice{.number = *number}) : std::nullopt);
}

}  // namespace compression::kernels
