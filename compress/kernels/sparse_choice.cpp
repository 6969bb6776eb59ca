#include "compress/kernels/sparse_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "compress/kernels/linear.h"  // LinearWeight
#include "compress/kernels/sparse.h"  // pack_sparse
#include "compress/kernels/timing.h"  // median_ms

namespace compression::kernels {
namespace {

constexpr double densest = 0.5;
constexpr int64_t steps = 16;  // of densities
constexpr std::array<int64_t, 5> row_counts = {1, 4, 8, 16, 48};
constexpr int64_t most_outputs = 512;  // of which those of a layer are a repetition
constexpr double faster = 0.95;        // of the dense form's time, since what was measured varies

SparseChoice measure(int64_t outputs, int64_t inputs, double density) {
  const auto out = std::clamp(outputs, panel_width(), most_outputs), in = std::clamp<int64_t>(inputs, 64, 4096);
  const auto word = sparse_word();
  const auto random = random_values(out * in), scale = std::vector<float>(static_cast<size_t>(out), 1.0f);
  std::vector<int8_t> values(static_cast<size_t>(out * in));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto first = i / static_cast<size_t>(word) * static_cast<size_t>(word);  // of the word
    if ((random[first] + 1.0f) / 2.0f < static_cast<float>(density)) values[i] = 1;
  }
  std::array<LinearWeight, 2> weights;
  for (auto& weight : weights) pack_linear(Number::int8, values.data(), scale.data(), nullptr, out, in, weight);
  pack_sparse(values.data(), out, in, weights[1]);
  weights[1].sparse.fewest_rows = 1;

  constexpr auto most = row_counts.back();
  const auto x = random_values(most * in);
  std::vector<float> y(static_cast<size_t>(most * out));
  Buffer<uint32_t> words(most * weights[0].words);
  Buffer<float> scales(most);
  const LinearInput input{Number::int8, weights[0].words, words.data(), scales.data()};
  prepare_rows(x.data(), in, in, 0, most, input);
  SparseChoice choice;
  for (size_t i = row_counts.size(); i-- > 0;) {
    const auto rows = row_counts[i];
    const auto [dense, sparse] = median_ms<2>([&](size_t which) {
      const auto& weight = weights[which];
      for (int64_t done = 0; done < most; done += rows) {
        multiply(input, weight, {0, rows}, {0, weight.panels}, Activation::none, y.data(), out);
      }
    });
    if (sparse > faster * dense) break;
    choice.fewest_rows = rows;
    if (rows == most) choice.speedup = dense / sparse;
  }
  return choice;
}

nlohmann::json write(const SparseChoice& choice) {
  return {{"fewest_rows", choice.fewest_rows}, {"speedup", choice.speedup}};
}

std::optional<SparseChoice> read(const nlohmann::json& kept) {
  const auto rows = kept.is_object() ? kept.value("fewest_rows", nlohmann::json()) : nlohmann::json();
  const auto speedup = rows.is_null() ? nlohmann::json() : kept.value("speedup", nlohmann::json());
  if (!rows.is_number_unsigned() || !speedup.is_number() || !(speedup.get<double>() >= 1.0)) return std::nullopt;
  return SparseChoice{rows.get<int64_t>(), speedup.get<double>()};
}

MeasuredOnce<SparseChoice>& known() {
  static MeasuredOnce<SparseChoice> all(write, read);
  return all;
}

}  // namespace

SparseChoice sparse_choice(int64_t out, int64_t in, double density) {
  if (density > densest) return known().of_test().value_or(SparseChoice());
  const auto step = std::max<int64_t>(1, std::llround(density * steps));
  return known().get(fmt::format("{} without zeros, outputs 2^{}, inputs 2^{}, {}/{} of the words", int8_kernel(),
                                 size_class(std::min(out, most_outputs)), size_class(in), step, steps),
                     [&] { return measure(out, in, static_cast<double>(step) / steps); });
}

void set_sparse_choice(std::optional<SparseChoice> choice) {
  known().choose_for_test(choice);
}

}  // namespace compression::kernels
