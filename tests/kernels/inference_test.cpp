// Kernels of the fused runtime against plain references, on every instruction set that this processor has.

#include <ATen/Parallel.h>

#include <atomic>
#include <cfenv>
#include <new>
#include <thread>

#include "compress/kernels/bfloat16_choice.h"
#include "compress/kernels/head_attention.h"
#include "compress/kernels/linear.h"
#include "compress/kernels/team.h"
#include "compress/kernels/tiles.h"
#include "compress/model/layers.h"
#include "tests/kernels/kernels.h"

namespace compression {
namespace {

using namespace testing;
using kernels::AttentionNumber;
using kernels::Multiplier;
using kernels::Number;
using torch::Tensor;

/// Prepared rows with their memory.
struct Rows {
  std::vector<uint32_t> values;
  std::vector<float> scale;
  kernels::LinearInput input;

  Rows(Number number, const Tensor& x, float fixed_scale = 0.0f) {
    const auto words = (x.size(1) + values_per_word(number) - 1) / values_per_word(number);
    values.resize(static_cast<size_t>(x.size(0) * words));
    scale.resize(static_cast<size_t>(x.size(0)));
    input = {number, words, values.data(), scale.data(), fixed_scale};
    kernels::prepare_rows(floats(x), x.size(1), x.size(1), 0, x.size(0), input);
  }
};

const std::vector<std::array<int64_t, 3>> shapes = {{1, 1, 1},      {2, 3, 5},      {7, 10, 6},
                                                    {12, 64, 32},   {13, 31, 33},   {25, 4, 100},
                                                    {37, 602, 150}, {130, 96, 224}, {5, 3072, 40}};

TEST_CASE("int8 products are the plain reference's integers, scaled") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const auto function = GENERATE(Activation::none, Activation::gelu);
  const OnlyMultiplier multiplier(GENERATE(Multiplier::best, Multiplier::of_target, Multiplier::plain_tiles));
  at::manual_seed(1);
  for (const auto& [rows, in, out] : shapes) {
    for (const bool saturating : {false, true}) {
      INFO(rows << " x " << in << " -> " << out << (saturating ? ", largest values" : ""));
      auto x = torch::randn({rows, in});
      auto w = torch::randint(-128, 128, {out, in}).to(torch::kChar);
      if (saturating) {  // rows of one sign make the largest sums
        x = torch::where(torch::arange(rows).remainder(2).eq(0).unsqueeze(1), torch::ones_like(x),
                         -torch::ones_like(x));
        w.fill_(-128);
        w[0].fill_(127);
      }
      if (rows > 3) x[3].zero_();
      const auto scale = torch::rand({out}) * 0.01, bias = torch::randn({out});
      const Rows prepared(Number::int8, x);
      kernels::LinearWeight weight;
      kernels::pack_linear(Number::int8, w.data_ptr(), floats(scale), floats(bias), out, in, weight);
      const auto back = torch::empty_like(w);
      kernels::unpack_linear(weight, back.data_ptr());
      CHECK(torch::equal(back, w));
      const auto sums = torch::empty({rows, out}, torch::kInt);
      kernels::int8_sums(prepared.input, w.data_ptr<int8_t>(), rows, out, in, sums.data_ptr<int32_t>());
      const auto row_scale = torch::from_blob(const_cast<float*>(prepared.scale.data()), {rows, 1});
      check_close(row_scale.squeeze(1), x.abs().amax(1) / 127.0, 1e-7);
      const auto y = torch::full({rows, out + 3}, 7.0f);
      kernels::multiply(prepared.input, weight, {0, rows}, {0, weight.panels}, function, floats(y), out + 3);
      CHECK(y.slice(1, out).eq(7.0f).all().item<bool>());
      // One scale of a power of two and no bias show the integers themselves.
      const auto ones = torch::ones({out}), zeros = torch::zeros({out});
      kernels::LinearWeight bare;
      kernels::pack_linear(Number::int8, w.data_ptr(), floats(ones), floats(zeros), out, in, bare);
      auto unit = prepared;
      std::fill(unit.scale.begin(), unit.scale.end(), 1.0f);
      unit.input.values = unit.values.data();
      unit.input.scale = unit.scale.data();
      const auto integers = torch::empty({rows, out});
      kernels::multiply(unit.input, bare, {0, rows}, {0, bare.panels}, Activation::none, floats(integers), out);
      CHECK(torch::equal(integers, sums.to(torch::kFloat)));
      const auto expected = activate(sums.to(torch::kDouble) * row_scale * scale + bias, function);
      check_close(y.slice(1, 0, out), expected, 5e-5 + 1e-5 * expected.abs().max().item<double>());
    }
  }
}

/// Sums of a block against LibTorch's. Memory ends where the block may read to, so that AddressSanitizer sees more.
template <class Tiles, Number number, int halves>
void check_tiles(int64_t rows, int64_t words) {
  INFO(rows << " rows, " << words << " words, panels of " << 16 * halves << " columns");
  constexpr bool integers = number == Number::int8;
  constexpr int64_t width = 16 * halves, per_word = values_per_word(number);
  const auto in = words * per_word, extra = words % kernels::tile_words;
  const auto a =
      integers ? torch::randint(0, 256, {rows, in}, torch::kByte) : torch::randn({rows, in}).to(torch::kBFloat16);
  const auto b =
      integers ? torch::randint(-128, 128, {width, in}, torch::kChar) : torch::randn({width, in}).to(torch::kBFloat16);
  auto panel = b.view({width, words, per_word}).transpose(0, 1).contiguous().flatten();
  const auto after = (kernels::tile_words - extra) % kernels::tile_words;
  panel = torch::cat({panel, torch::ones({after * width * per_word}, panel.options())});
  auto rest = torch::zeros({rows, kernels::tile_words * per_word}, a.options());
  rest.slice(1, 0, extra * per_word).copy_(a.slice(1, in - extra * per_word));
  const auto sums = torch::empty({rows, width}, integers ? torch::kInt : torch::kFloat);
  const auto words_of = [](const Tensor& t) { return static_cast<const uint32_t*>(t.data_ptr()); };
  Tiles::configure(kernels::shapes_of_block(rows));
  kernels::multiply_tiles<Tiles, number, halves>({words_of(a), words, words_of(rest), rows, words_of(panel), words},
                                                 sums.data_ptr());
  Tiles::release();
  const auto expected = torch::mm(a.to(torch::kDouble), b.to(torch::kDouble).t());
  check_close(sums, expected, integers ? 0.0 : 1e-4 * std::sqrt(static_cast<double>(in)));
}

template <class Tiles>
void check_tiles() {
  at::manual_seed(7);
  for (const int64_t rows : {1, 5, 15, 16, 17, 31, 32}) {
    for (const int64_t words : {1, 7, 15, 16, 17, 32, 150}) {
      check_tiles<Tiles, Number::int8, 1>(rows, words);
      check_tiles<Tiles, Number::int8, 2>(rows, words);
      if (!std::is_same_v<Tiles, kernels::PlainTiles> && !kernels::has_amx(Number::bfloat16)) continue;
      check_tiles<Tiles, Number::bfloat16, 1>(rows, words);
      check_tiles<Tiles, Number::bfloat16, 2>(rows, words);
    }
  }
}

TEST_CASE("products on tiles are LibTorch's, in memory and in the processor's registers") {
  check_tiles<kernels::PlainTiles>();
#if defined(__x86_64__) && defined(__linux__)
  if (kernels::has_amx(Number::int8)) check_tiles<kernels::AmxTiles>();
#endif
}

TEST_CASE("prepared int8 rows are rounded to nearest with a scale a row") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  at::manual_seed(2);
  for (const int64_t columns : {1, 3, 16, 50, 602}) {
    const auto x = torch::randn({9, columns}) * torch::logspace(-6, 6, 9).unsqueeze(1);
    const Rows rows(Number::int8, x);
    for (int64_t r = 0; r < 9; ++r) {
      const auto* bytes = reinterpret_cast<const uint8_t*>(rows.input.values + r * rows.input.stride);
      const auto inverse = 127.0f / x[r].abs().max().item<float>();
      for (int64_t c = 0; c < 4 * rows.input.stride; ++c) {
        const int expected = c < columns ? static_cast<int>(std::nearbyint(x[r][c].item<float>() * inverse)) : 0;
        REQUIRE(static_cast<int>(bytes[c]) - 128 == expected);
      }
    }
  }
}

TEST_CASE("int8 rows of a fixed scale are clipped, and multiplied as they are") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const OnlyMultiplier multiplier(GENERATE(Multiplier::best, Multiplier::of_target, Multiplier::plain_tiles));
  at::manual_seed(6);
  constexpr float step = 0.125f;
  for (const int64_t columns : {1, 3, 16, 50, 602}) {
    auto x = torch::randn({9, columns}) * torch::logspace(-3, 3, 9).unsqueeze(1);
    x[0] = torch::arange(columns) * step * 0.5 - 1.0;  // ties
    x[1] = torch::where(torch::arange(columns).remainder(2).eq(0), torch::full({columns}, 3e38f),
                        torch::full({columns}, -3e38f));
    const Rows rows(Number::int8, x, step);
    const auto expected = torch::round(x / step).clamp(-128, 127).to(torch::kLong);
    for (int64_t r = 0; r < 9; ++r) {
      CHECK(rows.scale[static_cast<size_t>(r)] == step);
      const auto* bytes = reinterpret_cast<const uint8_t*>(rows.input.values + r * rows.input.stride);
      for (int64_t c = 0; c < 4 * rows.input.stride; ++c) {
        const int64_t wanted = c < columns ? expected[r][c].item<int64_t>() : 0;
        REQUIRE(static_cast<int64_t>(bytes[c]) - 128 == wanted);
      }
    }
    const int64_t out = 21;
    const auto w = torch::randint(-127, 128, {out, columns}).to(torch::kChar);
    const auto scale = torch::rand({out}) * 0.01, bias = torch::randn({out});
    kernels::LinearWeight weight;
    kernels::pack_linear(Number::int8, w.data_ptr(), floats(scale), floats(bias), out, columns, weight);
    const auto y = torch::empty({9, out});
    kernels::multiply(rows.input, weight, {0, 9}, {0, weight.panels}, Activation::none, floats(y), out);
    const auto sums = torch::mm(expected, w.to(torch::kLong).t()).to(torch::kDouble) * step * scale + bias;
    check_close(y, sums, 5e-5 + 1e-5 * sums.abs().max().item<double>());
    if (columns == 1) continue;

    const auto gamma = torch::randn({columns}) * 20, beta = torch::randn({columns});
    const auto normed = torch::zeros_like(x);
    std::vector<uint32_t> values(rows.values.size());
    std::vector<float> scales(9);
    const kernels::LinearInput input{Number::int8, rows.input.stride, values.data(), scales.data(), step};
    kernels::norm_rows({columns, 1e-12f, floats(gamma), floats(beta)}, floats(x), nullptr, 2, 9, floats(normed),
                       &input);
    const Rows again(Number::int8, normed, step);
    const auto from = static_cast<size_t>(2 * rows.input.stride);
    CHECK(std::equal(values.begin() + static_cast<int64_t>(from), values.end(),
                     again.values.begin() + static_cast<int64_t>(from)));
    CHECK(std::all_of(scales.begin() + 2, scales.end(), [&](float s) { return s == step; }));
  }
}

TEST_CASE("products of bfloat16 and float32 are LibTorch's") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const OnlyMultiplier multiplier(GENERATE(Multiplier::best, Multiplier::of_target, Multiplier::plain_tiles));
  const auto number = GENERATE(Number::bfloat16, Number::float32);
  at::manual_seed(3);
  for (const auto& [rows, in, out] : shapes) {
    INFO(rows << " x " << in << " -> " << out);
    auto x = torch::randn({rows, in}), w = torch::randn({out, in}) / std::sqrt(static_cast<double>(in));
    const auto bias = torch::randn({out});
    const auto type = number == Number::bfloat16 ? torch::kBFloat16 : torch::kFloat;
    const auto stored = w.to(type);
    const Rows prepared(number, x);
    kernels::LinearWeight weight;
    kernels::pack_linear(number, stored.data_ptr(), nullptr, floats(bias), out, in, weight);
    const auto back = torch::empty_like(stored);
    kernels::unpack_linear(weight, back.data_ptr());
    CHECK(torch::equal(back, stored));
    for (const auto& [function, name] : enum_names(Activation{})) {
      const auto y = torch::empty({rows, out});
      kernels::multiply(prepared.input, weight, {0, rows}, {0, weight.panels}, function, floats(y), out);
      const auto sums = torch::mm(x.to(type).to(torch::kDouble), stored.to(torch::kDouble).t()) + bias;
      check_close(y, activate(sums, function), 1e-4);
    }
  }
}

TEST_CASE("weights of 16 bits stay so, and are multiplied as the same numbers in float32 are") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const auto type = GENERATE(torch::kHalf, torch::kBFloat16);
  const auto dtype = type == torch::kHalf ? DType::float16 : DType::bfloat16;
  at::manual_seed(12);
  for (const auto& [rows, in, out] : shapes) {
    INFO(rows << " x " << in << " -> " << out);
    const auto stored = (torch::randn({out, in}) / std::sqrt(static_cast<double>(in))).to(type);
    const auto wide = stored.to(torch::kFloat), bias = torch::randn({out});
    const Rows x(Number::float32, torch::randn({rows, in}));
    kernels::LinearWeight narrow, full;
    kernels::pack_floats(dtype, stored.data_ptr(), floats(bias), out, in, narrow);
    kernels::pack_floats(DType::float32, floats(wide), floats(bias), out, in, full);
    CHECK(2 * narrow.steps * narrow.step_bytes == full.steps * full.step_bytes);
    const auto back = torch::empty_like(stored);
    kernels::unpack_linear(narrow, back.data_ptr());
    CHECK(torch::equal(back, stored));
    const auto product = [&](const kernels::LinearWeight& weight) {
      const auto y = torch::empty({rows, out});
      kernels::multiply(x.input, weight, {0, rows}, {0, weight.panels}, Activation::gelu, floats(y), out);
      return y;
    };
    CHECK(torch::equal(product(narrow), product(full)));
  }
}

TEST_CASE("every number of 16 bits is widened as LibTorch widens it, in products and in rows of tables") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const auto type = GENERATE(torch::kHalf, torch::kBFloat16);
  const auto dtype = type == torch::kHalf ? DType::float16 : DType::bfloat16;
  const auto all = torch::arange(1 << 16, torch::kInt).to(torch::kShort).view(type);
  const auto expected = all.to(torch::kFloat);
  const auto check = [&](const Tensor& found) {
    CHECK(torch::equal(found.isnan(), expected.isnan()));
    CHECK(torch::equal(found.nan_to_num(0.0), expected.nan_to_num(0.0)));
  };
  const auto one = torch::ones({1, 1}), y = torch::empty({1, all.numel()}), row = torch::full({all.numel()}, -0.0f);
  const Rows x(Number::float32, one);
  kernels::LinearWeight weight;
  kernels::pack_floats(dtype, all.data_ptr(), nullptr, all.numel(), 1, weight);
  kernels::multiply(x.input, weight, {0, 1}, {0, weight.panels}, Activation::none, floats(y), all.numel());
  check(y[0]);
  kernels::add_row(dtype, all.data_ptr(), 1.0f, all.numel(), floats(row));
  check(row);
}

TEST_CASE("what is no number stays so in products of floats and in their functions") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const int64_t out = kernels::panel_width() + 1;
  const auto x = torch::ones({2, 3}), w = torch::ones({out, 3});
  x[1][1] = std::numeric_limits<float>::quiet_NaN();
  const Rows prepared(Number::float32, x);
  kernels::LinearWeight weight;
  kernels::pack_linear(Number::float32, w.data_ptr(), nullptr, nullptr, out, 3, weight);
  for (const auto& [function, name] : enum_names(Activation{})) {
    INFO(name);
    const auto y = torch::empty({2, out});
    kernels::multiply(prepared.input, weight, {0, 2}, {0, weight.panels}, function, floats(y), out);
    CHECK(y[0].isfinite().all().item<bool>());
    CHECK(y[1].isnan().all().item<bool>());
  }
}

TEST_CASE("LayerNorm of a sum is LibTorch's, and prepared as the rows are") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  at::manual_seed(4);
  for (const int64_t width : {1, 7, 64, 100, 384}) {
    const auto x = torch::randn({6, width}), more = torch::randn({6, width}), gamma = torch::randn({width}),
               beta = torch::randn({width});
    const kernels::Norm norm{width, 1e-12f, floats(gamma), floats(beta)};
    for (const bool residual : {false, true}) {
      const auto y = torch::empty_like(x);
      std::vector<uint32_t> values(static_cast<size_t>(6 * width));
      std::vector<float> scale(6);
      const kernels::LinearInput input{Number::int8, (width + 3) / 4, values.data(), scale.data()};
      kernels::norm_rows(norm, floats(x), residual ? floats(more) : nullptr, 0, 6, floats(y), &input);
      const auto sum = residual ? x + more : x;
      if (width > 1) check_close(y, torch::layer_norm(sum, {width}, gamma, beta, 1e-12), 1e-4);
      const Rows expected(Number::int8, y);
      CHECK(std::equal(scale.begin(), scale.end(), expected.scale.begin()));
      CHECK(std::equal(expected.values.begin(), expected.values.end(), values.begin()));
    }
  }
}

TEST_CASE("RMSNorm, sums without a norm, and norms of a product's input alone are LibTorch's") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  at::manual_seed(4);
  for (const int64_t width : {1, 7, 64, 100}) {
    const auto x = torch::randn({6, width}), more = torch::randn({6, width}), gamma = torch::randn({width}),
               beta = torch::randn({width}), zeros = torch::zeros({width});
    const kernels::Norm none{.width = width}, rms{width, 1e-5f, floats(gamma), floats(zeros), true},
        layer{width, 1e-2f, floats(gamma), floats(beta)};
    const auto sum = x + more, y = torch::empty_like(x);
    kernels::norm_rows(rms, floats(x), floats(more), 0, 6, floats(y), nullptr);
    check_close(y, torch::rms_norm(sum, {width}, gamma, 1e-5), 1e-5);
    std::vector<uint32_t> values(static_cast<size_t>(6 * width));
    std::vector<float> scale(6);
    const kernels::LinearInput input{Number::float32, width, values.data(), scale.data()};
    const auto read = torch::from_blob(values.data(), {6, width}, torch::kFloat);
    kernels::norm_rows(none, floats(x), floats(more), 0, 6, floats(y), &input);
    CHECK(torch::equal(y, sum));
    CHECK(torch::equal(read, sum));
    kernels::norm_rows(none, floats(x), floats(more), 0, 6, floats(y), &input, layer);
    CHECK(torch::equal(y, sum));
    check_close(read, torch::layer_norm(sum, {width}, gamma, beta, 1e-2), 1e-4);
    kernels::norm_rows(none, floats(y), nullptr, 0, 6, floats(y), &input, rms);
    CHECK(torch::equal(y, sum));
    check_close(read, torch::rms_norm(sum, {width}, gamma, 1e-5), 1e-5);
  }
}

TEST_CASE("products are multiplied by factors, whatever they are made of") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const OnlyMultiplier multiplier(GENERATE(Multiplier::best, Multiplier::of_target, Multiplier::plain_tiles));
  const auto number = GENERATE(Number::int8, Number::bfloat16, Number::float32);
  at::manual_seed(2);
  const int64_t rows = 37, in = 50, out = 2 * kernels::panel_width(), ld = out + 5;
  const auto w = number == Number::int8       ? torch::randint(-128, 128, {out, in}, torch::kChar)
                 : number == Number::bfloat16 ? torch::randn({out, in}).to(torch::kBFloat16)
                                              : torch::randn({out, in});
  const auto scale = torch::rand({out}), factor = torch::randn({rows, ld}), product = torch::zeros({rows, ld});
  kernels::LinearWeight weight;
  kernels::pack_linear(number, w.data_ptr(), number == Number::int8 ? floats(scale) : nullptr, nullptr, out, in,
                       weight);
  const Rows x(number, torch::randn({rows, in}));
  const auto y = torch::zeros({rows, ld});
  for (const auto function : {Activation::none, Activation::silu}) {
    kernels::multiply(x.input, weight, {0, rows}, {0, 2}, function, floats(product), ld);
    kernels::multiply(x.input, weight, {0, rows}, {0, 2}, {function, floats(factor)}, floats(y), ld);
    CHECK(torch::equal(y, product * factor));
  }
}

TEST_CASE("heads are turned by rotary positions as complex numbers are") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  at::manual_seed(3);
  for (const int64_t half : {1, 3, 16, 37}) {
    const auto x = torch::randn({4, 2 * half}), angle = torch::randn({half}) * 3.0;
    const auto turn = torch::cat({angle.cos(), angle.sin()}), y = x.clone();
    kernels::rotate_rows(floats(y), 4, 2 * half, floats(turn));
    const auto turned =
        torch::complex(x.slice(1, 0, half), x.slice(1, half)) * torch::polar(torch::ones_like(angle), angle);
    check_close(y, torch::cat({torch::real(turned), torch::imag(turned)}, 1), 1e-6);
  }
}

/// Of `all`, whose rows begin with a query, a key and a value each. What the caller adds points into its own tensors.
kernels::AttentionHead head_of(const Tensor& all, int64_t queries, int64_t size, const Tensor& context) {
  kernels::AttentionHead head;
  head.queries = queries;
  head.tokens = all.size(0);
  head.size = size;
  head.query = floats(all);
  head.key = floats(all) + size;
  head.value = floats(all) + 2 * size;
  head.ld = all.size(1);
  head.context = floats(context);
  head.ld_context = context.size(1);
  return head;
}

constexpr auto attention_numbers = {AttentionNumber::int16, AttentionNumber::float32};

void attend(const kernels::AttentionHead& head) {
  const auto rows = head.positions != nullptr ? head.positions->rows : 0;
  std::vector<uint32_t> scratch(
      static_cast<size_t>(kernels::head_attention_scratch(head.number, head.tokens, head.size, rows)));
  kernels::head_attention(head, scratch.data());
}

/// |found - expected| / |expected|.
void check_near(const Tensor& found, const Tensor& expected, AttentionNumber number, double of_int16 = 1e-3) {
  const auto error = ((found - expected).norm() / expected.norm()).item<double>();
  CHECK(error < (number == AttentionNumber::int16 ? of_int16 : 2e-6));
}

TEST_CASE("attention is LibTorch's, for heads of any size and texts of any length") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const auto number = GENERATE(values(attention_numbers));
  const auto large = GENERATE(false, true);  // scores that saturate the softmax
  at::manual_seed(5);
  for (const int64_t size : {1, 8, 20, 32, 64, 80}) {
    for (const int64_t tokens : {1, 2, 3, 17, 64, 129, 512}) {
      if (tokens == 512 && size != 64) continue;
      for (const int64_t queries : {int64_t{0}, int64_t{1}, tokens}) {
        for (const bool biased : {false, true}) {
          INFO("size " << size << ", " << queries << " queries, " << tokens << " tokens, bias " << biased);
          const int64_t ld = 3 * size + 5;
          const auto all = torch::randn({tokens, ld}) * (large ? 20.0 : 1.0);
          const auto bias = torch::randn({2 * tokens - 1});
          const auto context = torch::full({std::max<int64_t>(queries, 1), size + 2}, 7.0f);
          const float scale = 1.0f / std::sqrt(static_cast<float>(size));
          auto head = head_of(all, queries, size, context);
          head.number = number;
          head.scale = scale;
          head.bias = biased ? floats(bias) + tokens - 1 : nullptr;
          attend(head);
          CHECK(context.slice(1, size).eq(7.0f).all().item<bool>());
          if (queries == 0) continue;
          const auto part = [&](int64_t i, int64_t rows) {
            return all.slice(0, 0, rows).slice(1, i * size, (i + 1) * size);
          };
          const auto context_of = [&](const Tensor& q, const Tensor& k) {
            auto scores = torch::mm(q.to(torch::kDouble), k.to(torch::kDouble).t()) * scale;
            if (biased) {
              const auto place = torch::arange(tokens).unsqueeze(0) - torch::arange(queries).unsqueeze(1) + tokens - 1;
              scores = scores + bias.index_select(0, place.flatten()).view_as(scores);
            }
            return torch::mm(torch::softmax(scores, -1), part(2, tokens).to(torch::kDouble));
          };
          const auto found = context.slice(1, 0, size);
          const auto expected = context_of(part(0, queries), part(1, tokens));
          if (number == AttentionNumber::float32) {
            // Scores of thousands have errors of their own.
            CHECK(((found - expected).norm() / expected.norm()).item<double>() < (large ? 2e-4 : 2e-6));
            continue;
          }
          // With the very integers that queries and keys are rounded to, whatever the size of the scores.
          const double limit = std::min(32767.0, std::floor(std::sqrt(2147483000.0 / static_cast<double>(size))));
          const auto rounded = [&](const Tensor& x) {
            const auto most = x.abs().max();
            return torch::round(x * (limit / most)).to(torch::kDouble) * (most / limit);
          };
          const auto most = part(2, tokens).abs().max().item<double>();
          check_close(found, context_of(rounded(part(0, queries)), rounded(part(1, tokens))), 2e-3 * most);
          if (!large) check_near(found, expected, number);
        }
      }
    }
  }
}

constexpr int64_t all_keys = kernels::AttentionHead::everywhere;

TEST_CASE("attention is of near keys alone, before a query and behind it, of tokens with gaps too") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const auto number = GENERATE(values(attention_numbers));
  const auto [before, after] = GENERATE(table<int64_t, int64_t>(
      {{3, 3}, {40, 0}, {0, 0}, {0, 70}, {all_keys, 0}, {all_keys, 5}, {64, 64}, {1000, 1000}, {all_keys, all_keys}}));
  at::manual_seed(15);
  for (const int64_t size : {6, 64}) {
    for (const int64_t tokens : {1, 2, 17, 64, 200}) {
      for (const int kind : {0, 1, 2, 3}) {  // of following tokens; the first query alone; gaps; gaps and a bias
        INFO(before << " before, " << after << " after, size " << size << ", " << tokens << " tokens, kind " << kind);
        const int64_t queries = kind == 1 ? 1 : tokens, ld = 3 * size;
        auto places = torch::arange(tokens, torch::kLong);
        if (kind > 1) places = places + 2 * places.floor_divide(3);
        const auto reach = places[-1].item<int64_t>() + 1;
        const auto all = torch::randn({tokens, ld}), bias = torch::randn({2 * reach - 1}),
                   context = torch::empty({queries, size});
        auto head = head_of(all, queries, size, context);
        head.number = number;
        head.scale = 0.3f;
        head.before = before;
        head.after = after;
        if (kind > 1) head.query_place = head.key_place = places.data_ptr<int64_t>();
        if (kind > 2) head.bias = floats(bias) + reach - 1;
        attend(head);
        const auto part = [&](int64_t i, int64_t rows) {
          return all.slice(0, 0, rows).slice(1, i * size, (i + 1) * size).to(torch::kDouble);
        };
        const auto apart = places.unsqueeze(0) - places.slice(0, 0, queries).unsqueeze(1);
        auto scores = torch::mm(part(0, queries), part(1, tokens).t()) * 0.3;
        if (kind > 2) scores = scores + bias.index_select(0, (apart + reach - 1).flatten()).view_as(scores);
        scores = scores.masked_fill(apart.lt(-before).logical_or(apart.gt(after)), -1e30);
        check_near(context, torch::mm(torch::softmax(scores, -1), part(2, tokens)), number);
      }
    }
  }
  // A query that attends to no key, and one that does.
  const auto all = torch::randn({3, 24}), context = torch::full({2, 8}, 7.0f);
  const std::vector<int64_t> queries{0, 9}, keys{5, 6, 8};
  auto head = head_of(all, 2, 8, context);
  head.number = number;
  head.query_place = queries.data();
  head.key_place = keys.data();
  head.before = head.after = 1;
  attend(head);
  CHECK(context[0].eq(0.0f).all().item<bool>());
  check_close(context[1], all[2].slice(0, 16, 24), 1e-3);
}

TEST_CASE("attention has disentangled positions, by queries, by keys and by both, of tokens with gaps too") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const auto number = GENERATE(values(attention_numbers));
  at::manual_seed(6);
  for (const int64_t size : {1, 20, 64}) {
    for (const int64_t tokens : {1, 3, 33, 130}) {
      for (const bool gaps : {false, true}) {
        for (const int terms : {1, 2, 3}) {
          INFO("size " << size << ", " << tokens << " tokens, gaps " << gaps << ", terms " << terms);
          const auto queries = terms == 3 && gaps ? int64_t{1} : tokens;
          auto places = torch::arange(tokens, torch::kLong);
          if (gaps) places = places + places.floor_divide(3);
          const auto reach = places[-1].item<int64_t>() + 1;
          constexpr int64_t count = 37;  // rows, which far distances share
          const auto row_of = (20 - torch::arange(1 - reach, reach)).clamp(0, count - 1).to(torch::kInt).contiguous();
          const auto q = torch::randn({tokens, size}), k = torch::randn({tokens, size}),
                     v = torch::randn({tokens, size});
          const auto key_rows = torch::randn({count, size}), query_rows = torch::randn({count, size});
          const auto all = torch::cat({q, k, v}, 1);
          std::vector<uint32_t> keys(static_cast<size_t>(kernels::head_rows_words(number, count, size))), own = keys;
          kernels::HeadPositions positions{.row = row_of.data_ptr<int32_t>() + reach - 1, .rows = count};
          positions.key_step = kernels::pack_head_rows(number, floats(key_rows), count, size, size, keys.data());
          positions.query_step = kernels::pack_head_rows(number, floats(query_rows), count, size, size, own.data());
          if (terms & 1) positions.key = keys.data();
          if (terms & 2) positions.query = own.data();
          const auto context = torch::empty({queries, size});
          auto head = head_of(all, queries, size, context);
          head.number = number;
          head.scale = 1.0f / std::sqrt(3.0f * static_cast<float>(size));
          head.positions = &positions;
          if (gaps) head.query_place = head.key_place = places.data_ptr<int64_t>();
          attend(head);

          const auto wide = [](const Tensor& x) { return x.to(torch::kDouble); };
          const auto pairs = row_of.to(torch::kLong)
                                 .index_select(0, (places.unsqueeze(0) - places.unsqueeze(1) + reach - 1).flatten())
                                 .view({tokens, tokens});
          auto scores = torch::mm(wide(q), wide(k).t());
          if (terms & 1) scores = scores + torch::mm(wide(q), wide(key_rows).t()).gather(1, pairs);
          if (terms & 2) scores = scores + torch::mm(wide(k), wide(query_rows).t()).gather(1, pairs.t()).t();
          check_near(context, torch::mm(torch::softmax(scores * head.scale, -1), wide(v)).slice(0, 0, queries), number);
        }
      }
    }
  }
}

TEST_CASE("attention has texts as long as recipes allow, and tokens that are not all of a text") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const auto number = GENERATE(values(attention_numbers));
  at::manual_seed(8);
  constexpr int64_t size = 8;
  for (const int64_t tokens : {int64_t{5}, int64_t{70'000}, int64_t{100'000}, kernels::attention_limit}) {
    for (const bool peaked : {false, true}) {  // probabilities that are all alike, and a few that count
      INFO(tokens << " tokens" << (peaked ? ", peaked" : ""));
      constexpr int64_t queries = 2;
      const auto q = torch::randn({queries, size}), k = torch::randn({tokens, size}) * (peaked ? 3.0 : 0.01),
                 v = torch::randn({tokens, size}) + 1.0;
      // Every third column is not there: places of keys, and the second query's.
      const auto places = torch::arange(tokens, torch::kLong) + torch::arange(tokens, torch::kLong).floor_divide(2);
      const auto own = torch::tensor({0, 4}, torch::kLong);
      const auto reach = places[-1].item<int64_t>() + 1;
      const auto bias = torch::randn({2 * reach - 1});
      const auto context = torch::empty({queries, size});
      const auto rows = torch::cat({q, k, v});  // rows of one matrix
      kernels::AttentionHead head{.number = number};
      head.queries = queries;
      head.tokens = tokens;
      head.size = size;
      head.query = floats(rows);
      head.key = floats(rows) + queries * size;
      head.value = floats(rows) + (queries + tokens) * size;
      head.ld = size;
      head.scale = 0.3f;
      head.bias = floats(bias) + reach - 1;
      head.query_place = own.data_ptr<int64_t>();
      head.key_place = places.data_ptr<int64_t>();
      head.context = floats(context);
      head.ld_context = size;
      attend(head);
      const auto at = places.unsqueeze(0) - own.unsqueeze(1) + reach - 1;
      const auto scores = torch::mm(q.to(torch::kDouble), k.to(torch::kDouble).t()) * 0.3 +
                          bias.index_select(0, at.flatten()).view({queries, tokens});
      check_near(context, torch::mm(torch::softmax(scores, -1), v.to(torch::kDouble)), number, 2e-3);
    }
  }
}

TEST_CASE("float attention has heads of every size") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  at::manual_seed(10);
  constexpr int64_t tokens = 21;
  for (int64_t size = 1; size <= 256; ++size) {
    INFO("size " << size);
    const auto all = torch::randn({tokens, 3 * size}), context = torch::full({tokens, size + 1}, 7.0f);
    auto head = head_of(all, tokens, size, context);
    head.number = AttentionNumber::float32;
    head.scale = 1.0f / std::sqrt(static_cast<float>(size));
    attend(head);
    const auto parts = all.to(torch::kDouble).split(size, 1);
    const auto shares = torch::softmax(torch::mm(parts[0], parts[1].t()) * head.scale, -1);
    check_near(context.slice(1, 0, size), torch::mm(shares, parts[2]), head.number);
    CHECK(context.slice(1, size).eq(7.0f).all().item<bool>());
  }
}

TEST_CASE("what is no number stays so in attention of floats, wherever it comes from") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  const auto odd = GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity());
  at::manual_seed(11);
  for (const int64_t tokens : {1, 5, 40}) {
    for (const int64_t at : {int64_t{0}, tokens / 2, tokens - 1}) {
      for (const int64_t part : {0, 1}) {  // a query: of its own context; a key: of all
        INFO(odd << " in token " << at << " of " << tokens << ", part " << part);
        constexpr int64_t size = 12;
        const auto all = torch::randn({tokens, 3 * size}).abs(), context = torch::empty({tokens, size});
        all[at][part * size + 3] = odd;
        auto head = head_of(all, tokens, size, context);
        head.number = AttentionNumber::float32;
        attend(head);
        const auto expected = part == 0 ? torch::arange(tokens).eq(at) : torch::ones({tokens}, torch::kBool);
        CHECK(torch::equal(context.isnan().all(1), expected));
        CHECK(torch::equal(context.isnan().any(1), expected));
      }
    }
  }
}

TEST_CASE("a member of a team that fails is told when the others have stopped, who do not wait for it") {
  for (const int64_t threads : {1, 2, 4}) {
    for (const int64_t failing : {int64_t{0}, threads - 1}) {
      std::atomic<int> passed{0};
      const auto work = [&](const kernels::Member& member) {
        member.wait();
        if (member.index == failing % member.size) throw std::bad_alloc();
        member.wait();
        ++passed;
      };
      CHECK_THROWS_AS(kernels::run_together(threads, work), std::bad_alloc);
      CHECK(passed == 0);
    }
  }
  CHECK_THROWS_AS(kernels::Buffer<float>(int64_t{1} << 60), std::bad_alloc);
}

TEST_CASE("what the thread has set for its floats changes no integer") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  at::manual_seed(9);
  const auto x = torch::randn({5, 37}), scale = torch::rand({9}) * 0.01, bias = torch::randn({9});
  const auto w = torch::randint(-127, 128, {9, 37}).to(torch::kChar);
  kernels::LinearWeight weight;
  kernels::pack_linear(Number::int8, w.data_ptr(), floats(scale), floats(bias), 9, 37, weight);
  const auto product = [&] {
    const auto y = torch::empty({5, 9});
    kernels::multiply_rows(floats(x), 5, weight, 0.0f, floats(y));
    return y;
  };
  const auto expected = product();
  for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    std::fesetround(mode);
    const auto found = product();
    const bool kept = std::fegetround() == mode;
    std::fesetround(FE_TONEAREST);
    CHECK(kept);
    CHECK(torch::equal(found, expected));
  }
}

TEST_CASE("bfloat16 weights are multiplied as such where that takes less time, which is measured once") {
  CHECK(kernels::faster_number(1.0, 0.9) == Number::float32);
  CHECK(kernels::faster_number(0.97, 1.0) == Number::float32);
  CHECK(kernels::faster_number(0.9, 1.0) == Number::bfloat16);
  const auto first = kernels::bfloat16_choice(100);
  CHECK(first.bfloat16_ms > 0.0);
  CHECK(first.float32_ms > 0.0);
  CHECK(first.number == kernels::faster_number(first.bfloat16_ms, first.float32_ms));
  const auto again = kernels::bfloat16_choice(64);  // of the same class
  CHECK(again.bfloat16_ms == first.bfloat16_ms);
  CHECK(again.float32_ms == first.float32_ms);
  for (const int64_t in : {0, 1, 20000}) CHECK(kernels::bfloat16_choice(in).bfloat16_ms > 0.0);
  kernels::choose_bfloat16_for_test(Number::float32);
  CHECK(kernels::bfloat16_choice(100).number == Number::float32);
  kernels::choose_bfloat16_for_test(Number::bfloat16);
  CHECK(kernels::bfloat16_choice(100).number == Number::bfloat16);
  kernels::choose_bfloat16_for_test(std::nullopt);
  CHECK(kernels::bfloat16_choice(100).bfloat16_ms == first.bfloat16_ms);
}

TEST_CASE("threads that wait for each other leave together, awake or asleep") {
  constexpr int64_t threads = 4;
  const auto slow = GENERATE(false, true);  // longer than a thread stays awake
  const int64_t rounds = slow ? 60 : 400;
  kernels::Barrier barrier;
  std::vector<int64_t> reached(threads);
  std::atomic<int64_t> early{0};
  std::vector<std::thread> all;
  for (int64_t i = 0; i < threads; ++i) {
    all.emplace_back([&, i] {
      for (int64_t round = 1; round <= rounds; ++round) {
        if (slow && round % threads == i) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        reached[static_cast<size_t>(i)] = round;
        barrier.wait(threads);
        for (const auto other : reached) early += other < round;
        barrier.wait(threads);
      }
    });
  }
  for (auto& thread : all) thread.join();
  CHECK(early == 0);
  barrier.wait(1);
}

TEST_CASE("the kernels that run are named") {
  for (const auto target : targets()) {
    if (target != HWY_SSE4 && target != HWY_SSSE3) continue;
    const OnlyTarget only(target);
    const std::string name = target == HWY_SSE4 ? "SSE4" : "SSSE3";
    CHECK(kernels::int8_kernel() == name + ", in 16 bits");
    CHECK(kernels::bfloat16_kernel() == name + ", widened to float");
  }
  CHECK(!kernels::int8_kernel().empty());
}

}  // namespace
}  // namespace compression
