#include "compress/kernels/int16_matmul.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/kernels/int16_matmul.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "compress/kernels/dot-inl.h"

#ifndef COMPRESS_KERNELS_INT16_SHARED
#define COMPRESS_KERNELS_INT16_SHARED
namespace compression::kernels {

/// One product of a block of rows with all columns: c[m][n] (+)= row_scale[m] column_scale[n] sum_k a(m, k) b(k, n) +
/// bias[n]. k counts pairs of int16.
struct Product {
  const uint32_t* a;  // pair k of row m of block i at a[i * a_block + m * a_row + k * a_pair]
  int64_t a_block, a_row, a_pair;
  const uint32_t* b;  // panel j begins at b + j * b_panel; pair k of its columns is panel_width words
  int64_t b_panel;
  int64_t rows, columns, pairs;
  const float* row_scale;
  const float* column_scale;  // null: 1
  const float* bias;          // null: 0
  float* c;
  int64_t ld;
  bool accumulate;
};

constexpr float int16_limit = 2047.0f;
constexpr int64_t exact_terms = 512;

}  // namespace compression::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

using HalfI16 = hn::Rebind<int16_t, I32>;

#if HWY_TARGET == HWY_SCALAR
#error "one lane has no pairs: compile with vector instructions, as compress/kernels/CMakeLists.txt does"
#endif

constexpr int kRows = Int16::kRows;

int64_t BlockRows() {
  return kRows;
}

/// The rows of blocks [first, last) by the columns of panels [from, to).
void MultiplyTile(const Product& p, int64_t first, int64_t last, int64_t from, int64_t to) {
  const int64_t width = PanelWidth();
  HWY_ALIGN float tile[kRows * 2 * HWY_MAX_BYTES / sizeof(float)];
  float scale[2 * HWY_MAX_BYTES / sizeof(float)], bias[2 * HWY_MAX_BYTES / sizeof(float)];
  for (int64_t j = from; j < to; ++j) {
    const int64_t column = j * width, columns = std::min(width, p.columns - column);
    const bool whole = columns == width;
    const float* column_scale = p.column_scale == nullptr ? nullptr : p.column_scale + column;
    const float* column_bias = p.bias == nullptr ? nullptr : p.bias + column;
    if (!whole) {  // the kernel reads and writes whole panels
      for (int64_t n = 0; n < width; ++n) {
        scale[n] = n < columns && column_scale != nullptr ? column_scale[n] : 1.0f;
        bias[n] = n < columns && column_bias != nullptr ? column_bias[n] : 0.0f;
      }
      column_scale = scale;
      column_bias = bias;
    }
    for (int64_t i = first; i < last; ++i) {
      const int64_t row = i * kRows, rows = std::min<int64_t>(kRows, p.rows - row);
      float* c = p.c + row * p.ld + column;
      TileOf<Strided<Int16>>(rows)({.a = p.a + i * p.a_block,
                                    .a_row = p.a_row,
                                    .a_word = p.a_pair,
                                    .b = p.b + j * p.b_panel,
                                    .b_word = width,
                                    .words = p.pairs,
                                    .row_scale = p.row_scale + row,
                                    .column_scale = column_scale,
                                    .bias = column_bias,
                                    .c = whole ? c : tile,
                                    .ld = whole ? p.ld : width,
                                    .accumulate = whole && p.accumulate});
      for (int64_t r = 0; !whole && r < rows; ++r) {
        for (int64_t n = 0; n < columns; ++n) {
          c[r * p.ld + n] = tile[r * width + n] + (p.accumulate ? c[r * p.ld + n] : 0.0f);
        }
      }
    }
  }
}

/// The largest magnitude's bits. Compared as integers, so that NaN, the largest of all, is not lost.
HWY_INLINE VI32 LargerBits(VI32 bits, hn::Vec<F> x) {
  return hn::Max(bits, hn::BitCast(I32(), hn::Abs(x)));
}

HWY_INLINE float ScaleOf(float largest) {
  if (!std::isfinite(largest)) return std::numeric_limits<float>::quiet_NaN();
  return largest / int16_limit;
}

HWY_INLINE float InverseOf(float scale) {
  return scale > 0.0f && std::isfinite(1.0f / scale) ? 1.0f / scale : 0.0f;
}

template <bool kFactor>
void QuantizeRow(const float* HWY_RESTRICT row, int64_t columns, const float* HWY_RESTRICT factor, int64_t stride,
                 int16_t* HWY_RESTRICT to, float* scale_to) {
  const F df;
  const I32 d32;
  const HalfI16 half;
  const int64_t n = Lanes();
  const auto at = [&](int64_t c) HWY_ATTR {
    const auto v = hn::LoadU(df, row + c);
    if constexpr (kFactor) return hn::Mul(v, hn::LoadU(df, factor + c));
    return v;
  };
  const auto single = [&](int64_t c) { return kFactor ? row[c] * factor[c] : row[c]; };
  auto bits = hn::Zero(d32);
  int64_t c = 0;
  for (; c + n <= columns; c += n) bits = LargerBits(bits, at(c));
  int32_t most = hn::GetLane(hn::MaxOfLanes(d32, bits));
  for (; c < columns; ++c) {
    const float v = std::abs(single(c));
    int32_t b;
    std::memcpy(&b, &v, sizeof b);
    most = std::max(most, b);
  }
  float largest;
  std::memcpy(&largest, &most, sizeof largest);
  const float scale = *scale_to = ScaleOf(largest), inverse = InverseOf(scale);
  const auto by = hn::Set(df, inverse);
  for (c = 0; c + n <= columns; c += n) {
    hn::StoreU(hn::DemoteTo(half, hn::NearestInt(hn::Mul(at(c), by))), half, to + c);
  }
  for (; c < columns; ++c) to[c] = inverse == 0.0f ? int16_t{0} : static_cast<int16_t>(std::lrint(single(c) * inverse));
  for (; c < stride; ++c) to[c] = 0;
}

void QuantizeRows(const float* x, int64_t columns, int64_t ld, const float* factor, int64_t first, int64_t last,
                  int64_t stride, int16_t* values, float* scales) {
  const auto one = factor == nullptr ? &QuantizeRow<false> : &QuantizeRow<true>;
  for (int64_t r = first; r < last; ++r) one(x + r * ld, columns, factor, stride, values + r * stride, scales + r);
}

/// [rows / 2][columns][2] in panels of columns: pair t of column c is rows 2t and 2t + 1. Writes panels [from, to).
void PackRowPairs(const int16_t* values, int64_t rows, int64_t columns, int64_t stride, int64_t from, int64_t to,
                  int16_t* packed) {
  const I32 d32;
  const HalfI16 half;
  const int64_t n = Lanes(), width = 2 * n, pairs = (rows + 1) / 2;
  const auto combine = [&](hn::Vec<HalfI16> even, hn::Vec<HalfI16> odd) HWY_ATTR {
    const auto low = hn::And(hn::PromoteTo(d32, even), hn::Set(d32, 0xFFFF));
    return hn::Or(low, hn::ShiftLeft<16>(hn::PromoteTo(d32, odd)));
  };
  for (int64_t j = from; j < to; ++j) {
    auto* out = reinterpret_cast<int32_t*>(packed) + j * pairs * width;
    const int64_t column = j * width;
    for (int64_t t = 0; t < pairs; ++t, out += width) {
      const int16_t* even = values + 2 * t * stride + column;
      const bool alone = 2 * t + 1 == rows;
      const int16_t* odd = alone ? even : even + stride;
      if (column + width <= columns) {
        for (int64_t c = 0; c < width; c += n) {
          const auto o = alone ? hn::Zero(half) : hn::LoadU(half, odd + c);
          hn::Store(combine(hn::LoadU(half, even + c), o), d32, out + c);
        }
        continue;
      }
      for (int64_t c = 0; c < width; ++c) {
        const bool inside = column + c < columns;
        const auto low = static_cast<uint16_t>(inside ? even[c] : 0),
                   high = static_cast<uint16_t>(inside && !alone ? odd[c] : 0);
        out[c] = static_cast<int32_t>(low | static_cast<uint32_t>(high) << 16);
      }
    }
  }
}

/// [columns / 2][rows][2] in panels of rows: pair k of row r is columns 2k and 2k + 1. Writes panels [from, to).
void PackColumnPairs(const int16_t* values, int64_t rows, int64_t stride, int64_t from, int64_t to, int16_t* packed) {
  const int64_t width = PanelWidth(), pairs = stride / 2;
  for (int64_t j = from; j < to; ++j) {
    auto* out = reinterpret_cast<int32_t*>(packed) + j * pairs * width;
    const auto* in = reinterpret_cast<const int32_t*>(values) + j * width * pairs;
    const int64_t present = std::min(width, rows - j * width);
    for (int64_t k = 0; k < pairs; ++k, out += width) {
      for (int64_t r = 0; r < present; ++r) out[r] = in[r * pairs + k];
      for (int64_t r = present; r < width; ++r) out[r] = 0;
    }
  }
}

/// Rounds dy[t][o] * row_factor[t] with a scale for each column o, over the rows of one chunk; and orders it for the
/// left side of a product: block i is [pairs][kRows] pairs of rows. One call does the columns of blocks [first, last).
void PackGradient(const float* dy, int64_t rows, int64_t out, int64_t ld, const float* row_factor, int64_t first,
                  int64_t last, int64_t block, int32_t* packed, float* scales) {
  const F df;
  const I32 d32;
  const int64_t n = Lanes(), pairs = (rows + 1) / 2;
  const int64_t begin = first * kRows, end = std::min(last * kRows, out), width = end - begin;
  const auto at = [&](int64_t t, int64_t c) { return dy[t * ld + c] * row_factor[t]; };

  Buffer<float> inverse(width + 2 * kRows + n);  // holds each column's largest magnitude at first
  std::fill_n(inverse.data(), width + 2 * kRows + n, 0.0f);
  auto* bits = reinterpret_cast<int32_t*>(inverse.data());
  for (int64_t t = 0; t < rows; ++t) {
    const auto factor = hn::Set(df, row_factor[t]);
    const float* from = dy + t * ld + begin;
    int64_t c = 0;
    for (; c + n <= width; c += n) {
      hn::StoreU(LargerBits(hn::LoadU(d32, bits + c), hn::Mul(hn::LoadU(df, from + c), factor)), d32, bits + c);
    }
    for (; c < width; ++c) {
      const float magnitude = std::abs(at(t, begin + c));
      int32_t b;
      std::memcpy(&b, &magnitude, sizeof b);
      bits[c] = std::max(bits[c], b);
    }
  }
  for (int64_t c = 0; c < width; ++c) {
    float largest;
    std::memcpy(&largest, bits + c, sizeof largest);
    scales[begin + c] = ScaleOf(largest);
    inverse.data()[c] = InverseOf(scales[begin + c]);
  }

  // Vectors reach past a block's columns, into its pair t + 1, which is written next, or into its padding; those of one
  // block are written backwards, since each overwrites what the one after it wrote too far.
  for (int64_t t = 0; t < pairs; ++t) {
    const bool alone = 2 * t + 1 == rows;
    for (int64_t i = first; i < last; ++i) {
      int32_t* to = packed + i * block + t * kRows;
      for (int64_t v = (kRows - 1) / n * n; v >= 0; v -= n) {
        const int64_t c = i * kRows + v;
        if (c + n <= out) {
          const auto by = hn::LoadU(df, inverse.data() + c - begin);
          const auto round = [&](int64_t row) HWY_ATTR {
            const auto x = hn::Mul(hn::LoadU(df, dy + row * ld + c), hn::Set(df, row_factor[row]));
            return hn::NearestInt(hn::Mul(x, by));
          };
          const auto high = alone ? hn::Zero(d32) : hn::ShiftLeft<16>(round(2 * t + 1));
          hn::StoreU(hn::Or(hn::And(round(2 * t), hn::Set(d32, 0xFFFF)), high), d32, to + v);
          continue;
        }
        for (int64_t k = std::min<int64_t>(n, kRows - v) - 1; k >= 0; --k) {
          const auto round = [&](int64_t row) -> uint16_t {
            const float by = c + k < end ? inverse.data()[c + k - begin] : 0.0f;
            return by == 0.0f ? 0 : static_cast<uint16_t>(std::lrint(at(row, c + k) * by));
          };
          const uint32_t high = alone ? 0 : round(2 * t + 1);
          to[v + k] = static_cast<int32_t>(round(2 * t) | high << 16);
        }
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "compress/kernels/linear.h"   // panel_width
#include "compress/kernels/threads.h"  // parallel_for

namespace compression::kernels {

HWY_EXPORT(BlockRows);
HWY_EXPORT(MultiplyTile);
HWY_EXPORT(QuantizeRows);
HWY_EXPORT(PackRowPairs);
HWY_EXPORT(PackColumnPairs);
HWY_EXPORT(PackGradient);

namespace {

int64_t block_rows() {
  return HWY_DYNAMIC_DISPATCH(BlockRows)();
}
/// Tiles that fit the second-level cache, with as much work for every thread. The products have the same result, and
/// are added in their order.
void multiply(std::span<const Product> products) {
  constexpr int64_t tile_rows = 96, tile_columns = 128;
  const auto& first = products.front();
  const int64_t blocks = divide_up(first.rows, block_rows()), panels = divide_up(first.columns, panel_width());
  const int64_t threads = omp_get_max_threads();
  int64_t down = divide_up(blocks * block_rows(), tile_rows);
  if (blocks >= threads) down = std::min(divide_up(down, threads) * threads, blocks);
  const int64_t across = divide_up(panels * panel_width(), tile_columns);
  parallel_for(down * across, 1, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t i = tile / across, j = tile % across;
      for (const auto& product : products) {
        HWY_DYNAMIC_DISPATCH(MultiplyTile)
        (product, i * blocks / down, (i + 1) * blocks / down, j * panels / across, (j + 1) * panels / across);
      }
    }
  });
}

/// Sums over more pairs than are exact in 32 bits: chunk by chunk into the result.
void multiply_rows(const Int16Rows& x, const int16_t* panels, int64_t pairs, int64_t columns, const float* column_scale,
                   const float* bias, float* y, int64_t ld, bool accumulate) {
  const int64_t width = panel_width();
  std::vector<Product> chunks;
  for (int64_t k = 0; k < pairs; k += exact_terms / 2) {
    chunks.push_back({.a = reinterpret_cast<const uint32_t*>(x.values.data()) + k,
                      .a_block = block_rows() * x.stride / 2,
                      .a_row = x.stride / 2,
                      .a_pair = 1,
                      .b = reinterpret_cast<const uint32_t*>(panels) + k * width,
                      .b_panel = pairs * width,
                      .rows = x.rows,
                      .columns = columns,
                      .pairs = std::min<int64_t>(exact_terms / 2, pairs - k),
                      .row_scale = x.scale.data(),
                      .column_scale = column_scale,
                      .bias = k == 0 ? bias : nullptr,
                      .c = y,
                      .ld = ld,
                      .accumulate = accumulate || k > 0});
  }
  multiply(chunks);
}

}  // namespace

void quantize_rows(const float* x, int64_t rows, int64_t columns, int64_t ld, const float* column_factor,
                   Int16Rows& result) {
  result.rows = rows;
  result.columns = columns;
  result.stride = columns + columns % 2;
  auto* values = result.values.resize(rows * result.stride);
  auto* scale = result.scale.resize(rows + 16);
  parallel_for(rows, 32, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(QuantizeRows)(x, columns, ld, column_factor, begin, end, result.stride, values, scale);
  });
}

void pack_weight(const float* weight, int64_t out, int64_t in, Int16Weight& result) {
  result.out = out;
  result.in = in;
  const int64_t width = panel_width(), stride = in + in % 2;
  const int64_t out_panels = divide_up(out, width), in_panels = divide_up(in, width);
  Buffer<int16_t> values(out * stride);
  auto* scale = result.scale.resize(out + 2 * width);
  auto* by_output = result.by_output.resize(out_panels * width * stride);
  auto* by_input = result.by_input.resize(in_panels * width * 2 * divide_up(out, 2));
  parallel_for(out_panels, 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(QuantizeRows)
    (weight, in, in, nullptr, begin * width, std::min(end * width, out), stride, values.data(), scale);
    HWY_DYNAMIC_DISPATCH(PackColumnPairs)(values.data(), out, stride, begin, end, by_output);
  });
  parallel_for(in_panels, 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(PackRowPairs)(values.data(), out, in, stride, begin, end, by_input);
  });
}

void matmul_forward(const Int16Rows& x, const Int16Weight& weight, const float* bias, float* y, int64_t ld) {
  multiply_rows(x, weight.by_output.data(), x.stride / 2, weight.out, weight.scale.data(), bias, y, ld, false);
}

void matmul_input_gradient(const float* dy, int64_t rows, int64_t ld_dy, const Int16Weight& weight, float* dx,
                           int64_t ld_dx, bool accumulate) {
  Int16Rows gradient;
  quantize_rows(dy, rows, weight.out, ld_dy, weight.scale.data(), gradient);
  multiply_rows(gradient, weight.by_input.data(), gradient.stride / 2, weight.in, nullptr, nullptr, dx, ld_dx,
                accumulate);
}

void matmul_weight_gradient(const float* dy, int64_t out, int64_t ld_dy, const Int16Rows& x, float* dw,
                            bool accumulate) {
  const int64_t width = panel_width(), panels = divide_up(x.columns, width), pairs = divide_up(x.rows, 2);
  Buffer<int16_t> packed(panels * pairs * 2 * width);
  parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(PackRowPairs)(x.values.data(), x.rows, x.columns, x.stride, begin, end, packed.data());
  });
  const int64_t blocks = divide_up(out, block_rows());
  const int64_t block = exact_terms / 2 * block_rows() + 16;
  Buffer<int32_t> gradient(blocks * block);
  Buffer<float> scale(out + 16);
  for (int64_t row = 0; row < x.rows; row += exact_terms) {
    const int64_t rows = std::min(exact_terms, x.rows - row);
    parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(PackGradient)
      (dy + row * ld_dy, rows, out, ld_dy, x.scale.data() + row, begin, end, block, gradient.data(), scale.data());
    });
    const Product chunk = {.a = reinterpret_cast<const uint32_t*>(gradient.data()),
                           .a_block = block,
                           .a_row = 1,
                           .a_pair = block_rows(),
                           .b = reinterpret_cast<const uint32_t*>(packed.data()) + row / 2 * width,
                           .b_panel = pairs * width,
                           .rows = out,
                           .columns = x.columns,
                           .pairs = divide_up(rows, 2),
                           .row_scale = scale.data(),
                           .column_scale = nullptr,
                           .bias = nullptr,
                           .c = dw,
                           .ld = x.columns,
                           .accumulate = accumulate || row > 0};
    multiply({&chunk, 1});
  }
}

}  // namespace compression::kernels

#endif  // HWY_ONCE
