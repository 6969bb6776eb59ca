#include "compress/storage/storage.h"

#include <cmath>
#include <limits>

#include "compress/ops/host_tensors.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;

StoredMatrix matrix_of(WeightFormat format, const torch::Tensor& weight) {
  return storage_of(format).from_floats(weight.contiguous().data_ptr<float>(), weight.size(0), weight.size(1));
}

/// LibTorch's own conversion.
std::vector<torch::Tensor> parts_by_libtorch(WeightFormat format, const torch::Tensor& weight) {
  if (format != WeightFormat::int8) return {weight.to(ops::scalar_type(storage_of(format).parts(1, 1).front().dtype))};
  auto scale = weight.abs().amax(1, true) / 127.0;
  scale = torch::where(scale == 0, torch::ones_like(scale), scale);
  return {torch::round(weight / scale).clamp(-127, 127).to(torch::kChar), scale};
}

bool same_bits(const torch::Tensor& a, const torch::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  return torch::equal(a.contiguous().view(torch::kByte), b.contiguous().view(torch::kByte));
}

bool same_bits(const StoredMatrix& a, const StoredMatrix& b) {
  if (a.format != b.format || a.size != b.size || a.parts.size() != b.parts.size()) return false;
  for (size_t i = 0; i < a.parts.size(); ++i) {
    if (!same_bits(ops::torch_tensor(a.parts[i]), ops::torch_tensor(b.parts[i]))) return false;
  }
  return true;
}

/// Numbers of all sizes, those between two of 16 bits among them, and a row of zeros.
torch::Tensor some_weight(int64_t rows, int64_t columns) {
  at::manual_seed(3);
  auto weight =
      torch::randn({rows, columns}) * torch::pow(10.0, torch::randint(-9, 4, {rows, columns}).to(torch::kFloat));
  weight[0].zero_();
  weight[1][0] = 1.0f + std::ldexp(1.0f, -11);  // a tie in float16
  weight[1][1] = 1.0f + 3 * std::ldexp(1.0f, -11);
  weight[1][2] = 1.0f + std::ldexp(1.0f, -8);  // a tie in bfloat16
  weight[1][3] = 1.0f + 3 * std::ldexp(1.0f, -8);
  weight[1][4] = std::ldexp(1.0f, -25);  // a tie between 0 and float16's least
  weight[1][5] = 3 * std::ldexp(1.0f, -25);
  weight[1][6] = -std::ldexp(1.0f, -14) + std::ldexp(1.0f, -26);  // rounds up to a normal number
  return weight;
}

TEST_CASE("weights are stored as LibTorch rounds them, bit by bit") {
  const auto weight = some_weight(40, 33);
  for (const auto& [format, name] : enum_names(WeightFormat())) {
    CAPTURE(name);
    const auto matrix = matrix_of(format, weight);
    const auto expected = parts_by_libtorch(format, weight);
    const auto parts = storage_of(format).parts(40, 33);
    REQUIRE(matrix.parts.size() == expected.size());
    REQUIRE(parts.size() == expected.size());
    for (size_t i = 0; i < parts.size(); ++i) {
      CHECK(matrix.parts[i].dtype == parts[i].dtype);
      CHECK(matrix.parts[i].shape == parts[i].shape);
      CHECK(same_bits(ops::torch_tensor(matrix.parts[i]), expected[i]));
    }
    auto floats = expected[0].to(torch::kFloat);
    if (expected.size() > 1) floats = floats * expected[1];
    CHECK(torch::equal(ops::torch_tensor(to_floats(matrix)), floats));
  }
}

TEST_CASE("a number that has no place in 16 bits becomes an infinity, and NaN stays NaN") {
  const auto odd = torch::tensor({{65519.0f, 65520.0f, -1e9f, std::numeric_limits<float>::infinity()}});
  const auto expected = odd.to(torch::kHalf);
  CHECK(same_bits(ops::torch_tensor(matrix_of(WeightFormat::float16, odd).parts[0]), expected));
  const auto nan = torch::full({1, 1}, std::numeric_limits<float>::quiet_NaN());
  for (const auto format : {WeightFormat::float16, WeightFormat::bfloat16}) {
    CHECK(ops::torch_tensor(matrix_of(format, nan).parts[0]).isnan().all().item<bool>());
  }
}

TEST_CASE("what is packed to be multiplied comes back bit by bit") {
  const auto weight = some_weight(21, 67);
  const std::vector<float> bias(21, 0.5f);
  for (const auto& [format, name] : enum_names(WeightFormat())) {
    CAPTURE(name);
    const auto matrix = matrix_of(format, weight);
    const auto packed = storage_of(format).pack(matrix, bias.data());
    CHECK(packed.stored == format);
    CHECK(same_bits(storage_of(packed.stored).unpack(packed), matrix));
  }
}

TEST_CASE("matrices follow each other, with rows of zeros between them") {
  const auto weight = some_weight(10, 8);
  for (const auto& [format, name] : enum_names(WeightFormat())) {
    CAPTURE(name);
    const auto matrix = matrix_of(format, weight);
    const auto all = stacked({matrix.rows(0, 3), matrix.rows(3, 5), matrix.rows(5, 5), matrix.rows(5, 10)}, 4);
    CHECK(all.rows() == 16);
    CHECK(same_bits(all.rows(8, 13), matrix.rows(5, 10)));
    CHECK(same_bits(all.rows(0, 3), matrix.rows(0, 3)));
    CHECK(same_bits(all.rows(4, 6), matrix.rows(3, 5)));
    const auto floats = ops::torch_tensor(to_floats(all));
    for (const auto row : {3, 6, 7, 13, 15}) CHECK(floats[row].eq(0).all().item<bool>());
  }
  // Of several formats: in float32.
  const auto mixed = stacked({matrix_of(WeightFormat::int8, weight), matrix_of(WeightFormat::bfloat16, weight)}, 16);
  CHECK(mixed.format == WeightFormat::float32);
  CHECK(same_bits(mixed.rows(16, 26), {.format = WeightFormat::float32,
                                       .size = {10, 8},
                                       .parts = {to_floats(matrix_of(WeightFormat::bfloat16, weight))}}));
}

}  // namespace
}  // namespace compression
