// Products that leave out zeros against those that don't, on every instruction set that this processor has.

#include "compress/kernels/sparse.h"

#include "compress/kernels/linear.h"
#include "compress/kernels/sparse_choice.h"
#include "tests/kernels/kernels.h"

namespace compression {
namespace {

using namespace testing;
using kernels::Multiplier;
using kernels::Number;
using torch::Tensor;

/// int8 [out, in], of whose blocks of 1 x `block` a share is not zero.
Tensor random_weight(int64_t out, int64_t in, int64_t block, double density) {
  const auto blocks = (in + block - 1) / block;
  const auto kept = torch::rand({out, blocks}).lt(density).repeat_interleave(block, 1).slice(1, 0, in);
  return (torch::randint(-128, 128, {out, in}) * kept).to(torch::kChar);
}

struct Product {
  std::vector<uint32_t> values;
  std::vector<float> scale;
  kernels::LinearInput input;
  kernels::LinearWeight weight;

  Product(const Tensor& x, const Tensor& w, const Tensor& weight_scale, const Tensor& bias) {
    const auto words = (x.size(1) + 3) / 4;
    values.resize(static_cast<size_t>(x.size(0) * words));
    scale.resize(static_cast<size_t>(x.size(0)));
    input = {Number::int8, words, values.data(), scale.data()};
    kernels::prepare_rows(floats(x), x.size(1), x.size(1), 0, x.size(0), input);
    kernels::pack_linear(Number::int8, w.data_ptr(), floats(weight_scale), floats(bias), w.size(0), w.size(1), weight);
    kernels::pack_sparse(w.data_ptr<int8_t>(), w.size(0), w.size(1), weight);
  }

  /// The product of some rows and panels, with fewest_rows as given; 7 where nothing is written.
  Tensor operator()(int64_t fewest_rows, kernels::Range rows, kernels::Range panels,
                    const kernels::Epilogue& epilogue) {
    weight.sparse.fewest_rows = fewest_rows;
    auto y = torch::full({static_cast<int64_t>(scale.size()), weight.out + 3}, 7.0f);
    kernels::multiply(input, weight, rows, panels, epilogue, floats(y), weight.out + 3);
    return y;
  }
};

TEST_CASE("products without zeros are bit by bit those with them") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const OnlyMultiplier multiplier(GENERATE(Multiplier::best, Multiplier::of_target, Multiplier::plain_tiles));
  const auto function = GENERATE(Activation::none, Activation::gelu);
  at::manual_seed(1);
  const std::vector<std::array<int64_t, 3>> shapes = {{1, 1, 1},    {2, 3, 5},    {7, 10, 6},   {13, 31, 33},
                                                      {16, 64, 32}, {37, 97, 50}, {70, 96, 64}, {150, 20, 17},
                                                      {3, 1100, 40}};  // several blocks of inputs
  for (const double density : {0.0, 0.1, 0.5, 1.0}) {
    for (const int64_t block : {1, 2, 4, 8}) {
      for (const auto& [rows, in, out] : shapes) {
        INFO(rows << " x " << in << " -> " << out << ", blocks of " << block << ", density " << density);
        auto w = random_weight(out, in, block, density);
        w[0].fill_(-128);           // a full row of the largest
        if (out > 2) w[2].zero_();  // and an empty one
        Product product(torch::randn({rows, in}), w, torch::rand({out}) * 0.01, torch::randn({out}));
        const auto panels = product.weight.panels;
        const kernels::Range all{0, rows}, columns{0, panels};
        const auto dense = product(0, all, columns, function);
        CHECK(torch::equal(product(1, all, columns, function), dense));
        CHECK(torch::equal(product(rows + 1, all, columns, function), dense));
        const kernels::Range some{rows / 3, rows - rows / 4}, few{panels / 2, panels};
        CHECK(torch::equal(product(1, some, few, function), product(0, some, few, function)));
        if (out % kernels::panel_width() != 0) continue;
        const auto factor = torch::randn({rows, out + 3});
        const kernels::Epilogue by(function, floats(factor));
        CHECK(torch::equal(product(1, all, columns, by), product(0, all, columns, by)));
      }
    }
  }
}

TEST_CASE("the density that a product has is that of its words") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const auto word = kernels::sparse_word();
  CHECK((word == 2 || word == 4));
  auto w = torch::zeros({3, 8}, torch::kChar);
  CHECK(kernels::sparse_density(w.data_ptr<int8_t>(), 3, 8) == 0.0);
  w[1][5] = -3;
  CHECK(kernels::sparse_density(w.data_ptr<int8_t>(), 3, 8) == 1.0 / static_cast<double>(24 / word));
  w.slice(1, 0, word).fill_(1);  // whole words of neighbours
  CHECK(kernels::sparse_density(w.data_ptr<int8_t>(), 3, 8) ==
        static_cast<double>(3 + 1) / static_cast<double>(24 / word));
  w.fill_(1);
  CHECK(kernels::sparse_density(w.data_ptr<int8_t>(), 3, 8) == 1.0);
}

TEST_CASE("the sparse form is taken from a number of rows on that was measured, never for dense weights") {
  const auto choice = kernels::sparse_choice(64, 256, 0.05);
  CHECK(choice.fewest_rows >= 0);
  CHECK(choice.fewest_rows <= 48);
  CHECK((choice.fewest_rows == 0) == (choice.speedup == 1.0));
  CHECK(kernels::sparse_choice(64, 256, 0.05).speedup == choice.speedup);  // measured once
  CHECK(kernels::sparse_choice(64, 256, 0.75).fewest_rows == 0);
}

}  // namespace
}  // namespace compression
