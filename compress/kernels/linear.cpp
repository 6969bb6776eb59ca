#include "compress/kernels/linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/kernels/linear.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "compress/kernels/bfloat16-inl.h"
#include "compress/kernels/dot-inl.h"
#include "compress/kernels/epilogue-inl.h"
#include "compress/kernels/multiplier-inl.h"
#include "compress/kernels/norm-inl.h"
#include "compress/kernels/tiles.h"

HWY_BEFORE_NAMESPACE();
namespace compression::kernels {
namespace HWY_NAMESPACE {

int64_t PanelColumns() {
  return PanelWidth();
}

template <class Dot>
void MultiplyPanels(const LinearInput& x, const LinearWeight& w, Range rows, Range panels, const Epilogue& epilogue,
                    float* y, int64_t ld) {
  const int64_t width = PanelWidth();
  HWY_ALIGN float whole[Dot::kRows * 2 * HWY_MAX_BYTES / sizeof(float)];
  for (int64_t p = panels.first; p < panels.last; ++p) {
    const int64_t column = p * width, columns = std::min(width, w.out - column);
    EachTile<Dot>(rows.last - rows.first, [&](TileFunction tile, int64_t first, int64_t count) HWY_ATTR {
      const int64_t row = rows.first + first;
      const bool fits = columns == width;
      float* to = y + row * ld + column;
      float* c = fits ? to : whole;
      const int64_t c_ld = fits ? ld : width;
      const bool integers = w.number == Number::int8;
      constexpr bool is_signed = requires { requires Dot::kSigned; };
      tile({.a = x.values + row * x.stride,
            .a_row = x.stride,
            .b = w.values.data() + p * w.steps * width / Dot::kNarrow,
            .words = w.steps,
            .start = integers && !is_signed ? w.start.data() + column : nullptr,
            .row_scale = integers ? x.scale + row : nullptr,
            .column_scale = integers ? w.scale.data() + column : nullptr,
            .bias = w.bias.data() + column,
            .c = c,
            .ld = c_ld});
      Apply<Dot>(epilogue.from(row * ld + column), count, c, c_ld);
      if (fits) return;
      for (int64_t r = 0; r < count; ++r) std::copy_n(whole + r * width, columns, to + r * ld);
    });
  }
}

HWY_INLINE VF LoadSums(const int32_t* sums, const int32_t* start) {
  return hn::ConvertTo(F(), hn::Add(hn::Load(I32(), sums), hn::LoadU(I32(), start)));
}
HWY_INLINE VF LoadSums(const float* sums, const int32_t*) {
  return hn::Load(F(), sums);
}

#undef KERNELS_TILES
#define KERNELS_TILES (HWY_ARCH_X86 && HWY_MAX_BYTES >= 32)  // panels of one or two tiles' columns

#if KERNELS_TILES
template <class Tiles, class Dot, Number number>
void MultiplyOnTiles(const LinearInput& x, const LinearWeight& w, Range rows, Range panels, const Epilogue& epilogue,
                     float* y, int64_t ld) {
  using Sum = std::conditional_t<number == Number::int8, int32_t, float>;
  constexpr int halves = HWY_MAX_BYTES / 32;
  constexpr int64_t width = 16 * halves, block = 2 * tile_rows;
  alignas(64) uint32_t rest[block * tile_words] = {};
  alignas(64) Sum sums[block * width];
  alignas(64) float whole[block * width];
  const F d;
  const auto n = Lanes(), extra = w.words % tile_words;
  const auto blocks = [&](int64_t first, int64_t last, int64_t height) HWY_ATTR {
    if (first == last) return;
    Tiles::configure(shapes_of_block(height));
    for (int64_t p = panels.first; p < panels.last; ++p) {
      const int64_t column = p * width, columns = std::min(width, w.out - column);
      const bool fits = columns == width;
      for (int64_t row = first; row < last; row += height) {
        const uint32_t* a = x.values + row * x.stride;
        for (int64_t r = 0; extra != 0 && r < height; ++r) {
          std::copy_n(a + r * x.stride + w.words - extra, extra, rest + r * tile_words);
        }
        multiply_tiles<Tiles, number, halves>(
            {a, x.stride, rest, height, w.values.data() + p * w.words * width, w.words}, sums);
        float* to = y + row * ld + column;
        float* c = fits ? to : whole;
        const int64_t c_ld = fits ? ld : width;
        for (int64_t i = 0; i < width; i += n) {
          const auto scale = hn::LoadU(d, w.scale.data() + column + i), bias = hn::LoadU(d, w.bias.data() + column + i);
          for (int64_t r = 0; r < height; ++r) {
            const auto by = number == Number::int8 ? hn::Mul(hn::Set(d, x.scale[row + r]), scale) : scale;
            const auto sum = LoadSums(sums + r * width + i, w.start.data() + column + i);
            hn::StoreU(hn::MulAdd(sum, by, bias), d, c + r * c_ld + i);
          }
        }
        Apply<Dot>(epilogue.from(row * ld + column), height, c, c_ld);
        for (int64_t r = 0; !fits && r < height; ++r) std::copy_n(whole + r * width, columns, to + r * ld);
      }
    }
  };
  const auto middle = rows.first + (rows.last - rows.first) / block * block;
  blocks(rows.first, middle, block);
  blocks(middle, rows.last, rows.last - middle);
  Tiles::release();
}
#endif

/// Tries tiles, where they are to be used.
template <class Dot, Number number>
bool MultipliedOnTiles([[maybe_unused]] const LinearInput& x, [[maybe_unused]] const LinearWeight& w,
                       [[maybe_unused]] Range rows, [[maybe_unused]] Range panels,
                       [[maybe_unused]] const Epilogue& epilogue, [[maybe_unused]] float* y,
                       [[maybe_unused]] int64_t ld) {
#if KERNELS_TILES
  if (multiplier == Multiplier::plain_tiles) {
    MultiplyOnTiles<PlainTiles, Dot, number>(x, w, rows, panels, epilogue, y, ld);
    return true;
  }
#if defined(__linux__)
  if (use_amx(number)) {
    MultiplyOnTiles<AmxTiles, Dot, number>(x, w, rows, panels, epilogue, y, ld);
    return true;
  }
#endif
#endif
  return false;
}

/// Whether int8 is multiplied as bytes here, so that pack_linear() makes words of four inputs.
bool MultipliesBytes() {
  if (KERNELS_TILES && (multiplier == Multiplier::plain_tiles || use_amx(Number::int8))) return true;
  return MultipliesByteVectors();
}

/// Widens some rows at a time to int16, for all panels.
void MultiplyInPairs(const LinearInput& x, const LinearWeight& w, Range rows, Range panels, const Epilogue& epilogue,
                     float* y, int64_t ld) {
  constexpr int64_t block = 8 * Int8InPairs::kRows;
  const hn::ScalableTag<uint16_t> d16;
  const hn::Rebind<uint8_t, decltype(d16)> d8;
  const auto stride = w.steps, bytes = 4 * w.words, n = static_cast<int64_t>(hn::Lanes(d16));
  static thread_local Buffer<uint32_t> memory;
  LinearInput wide{.number = Number::int8, .stride = stride, .values = memory.resize(block * stride)};
  for (int64_t first = rows.first; first < rows.last; first += block) {
    const auto count = std::min(block, rows.last - first);
    for (int64_t r = 0; r < count; ++r) {
      const auto* from = reinterpret_cast<const uint8_t*>(x.values + (first + r) * x.stride);
      auto* to = reinterpret_cast<uint16_t*>(wide.values + r * stride);
      int64_t i = 0;
      for (; i + n <= bytes; i += n) hn::StoreU(hn::PromoteTo(d16, hn::LoadU(d8, from + i)), d16, to + i);
      for (; i < bytes; ++i) to[i] = from[i];
    }
    wide.scale = x.scale + first;
    MultiplyPanels<Int8InPairs>(wide, w, {0, count}, panels, epilogue.from(first * ld), y + first * ld, ld);
  }
}

void MultiplyInt8(const LinearInput& x, const LinearWeight& w, Range rows, Range panels, const Epilogue& epilogue,
                  float* y, int64_t ld) {
  if (w.step_bytes == 2) return MultiplyInPairs(x, w, rows, panels, epilogue, y, ld);
  if (MultipliedOnTiles<Int8InPairs, Number::int8>(x, w, rows, panels, epilogue, y, ld)) return;
#if KERNELS_VNNI
  MultiplyPanels<Int8>(x, w, rows, panels, epilogue, y, ld);
#elif KERNELS_X86 && HWY_TARGET == HWY_AVX2
  MultiplyPanels<Int8Avx>(x, w, rows, panels, epilogue, y, ld);
#elif KERNELS_ARM
  if (use_mixed_products()) return MultiplyPanels<Int8Mixed>(x, w, rows, panels, epilogue, y, ld);
  MultiplyPanels<Int8Dot>(x, w, rows, panels, epilogue, y, ld);
#endif
}
void MultiplyFloat(const LinearInput& x, const LinearWeight& w, Range rows, Range panels, const Epilogue& epilogue,
                   float* y, int64_t ld) {
  const auto multiply = [&](auto dot) HWY_ATTR { MultiplyPanels<decltype(dot)>(x, w, rows, panels, epilogue, y, ld); };
  if (w.dtype == DType::float16) return multiply(NarrowFloat<hwy::float16_t>());
  if (w.dtype == DType::bfloat16) return multiply(NarrowFloat<hwy::bfloat16_t>());
  multiply(Float32());
}
void MultiplyBFloat16(const LinearInput& x, const LinearWeight& w, Range rows, Range panels, const Epilogue& epilogue,
                      float* y, int64_t ld) {
  if (MultipliedOnTiles<WideBFloat16, Number::bfloat16>(x, w, rows, panels, epilogue, y, ld)) return;
#if KERNELS_VNNI
  if (HasBFloat16()) return MultiplyPanels<BFloat16>(x, w, rows, panels, epilogue, y, ld);
#endif
  MultiplyPanels<WideBFloat16>(x, w, rows, panels, epilogue, y, ld);
}

HWY_INLINE uint8_t RoundByte(float scaled) {
  const float bounded = std::min(std::max(-128.0f, scaled), 127.0f);  // the least for what is no number, as in vectors
  return static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(bounded)) + 128);
}

/// Row `row` of `result`.
void PrepareRow(const float* HWY_RESTRICT x, int64_t columns, int64_t row, const LinearInput& result) {
  const auto number = result.number;
  auto* to = result.values + row * result.stride;
  const F d;
  if (number == Number::float32) {
    std::memcpy(to, x, static_cast<size_t>(columns) * sizeof(float));
    return;
  }
  if (number == Number::bfloat16) {
    auto* values = reinterpret_cast<uint16_t*>(to);
    if (columns % 2 != 0) values[columns] = 0;
    const hn::Rebind<uint16_t, F> half;
    EachColumn(
        columns,
        [&](int64_t c)
            HWY_ATTR { hn::StoreU(hn::TruncateTo(half, RoundedBits(hn::LoadU(d, x + c))), half, values + c); },
        [&](int64_t c) HWY_ATTR { values[c] = static_cast<uint16_t>(hn::GetLane(RoundedBits(hn::Set(d, x[c])))); });
    return;
  }
  float inverse = 0.0f;
  if (result.fixed_scale > 0.0f) {
    result.scale[row] = result.fixed_scale;
    inverse = 1.0f / result.fixed_scale;
  } else {
    auto most = hn::Zero(d);
    float rest = 0.0f;
    EachColumn(
        columns, [&](int64_t c) HWY_ATTR { most = hn::Max(most, hn::Abs(hn::LoadU(d, x + c))); },
        [&](int64_t c) { rest = std::max(rest, std::abs(x[c])); });
    const float largest = std::max(hn::GetLane(hn::MaxOfLanes(d, most)), rest);
    result.scale[row] = largest / 127.0f;
    inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
  }
  const auto by = hn::Set(d, inverse), low = hn::Set(d, -128.0f), high = hn::Set(d, 127.0f);
  auto* bytes = reinterpret_cast<uint8_t*>(to);
  const hn::Rebind<uint8_t, F> quarter;
  EachColumn(
      columns,
      [&](int64_t c) HWY_ATTR {
        const auto v = hn::NearestInt(hn::Min(hn::Max(hn::Mul(hn::LoadU(d, x + c), by), low), high));
        hn::StoreU(hn::DemoteTo(quarter, hn::Add(v, hn::Set(I32(), 128))), quarter, bytes + c);
      },
      [&](int64_t c) { bytes[c] = RoundByte(x[c] * inverse); });
  for (int64_t c = columns; c % 4 != 0; ++c) bytes[c] = 128;
}

void PrepareRows(const float* x, int64_t ld, int64_t columns, int64_t first, int64_t last, const LinearInput& result) {
  for (int64_t r = first; r < last; ++r) PrepareRow(x + r * ld, columns, r, result);
}

template <class T>
void AddValues(const void* row, float by, int64_t width, float* HWY_RESTRICT to) {
  const F d;
  const int64_t n = Lanes();
  const auto* from = static_cast<const T*>(row);
  const auto factor = hn::Set(d, by);
  int64_t c = 0;
  for (; c + n <= width; c += n) {
    hn::StoreU(hn::MulAdd(LoadFloats(from + c), factor, hn::LoadU(d, to + c)), d, to + c);
  }
  if (c == width) return;
  HWY_ALIGN T rest[HWY_MAX_BYTES / sizeof(float)] = {};
  HWY_ALIGN float sums[HWY_MAX_BYTES / sizeof(float)];
  std::copy_n(from + c, width - c, rest);
  hn::Store(hn::Mul(LoadFloats(rest), factor), d, sums);
  for (int64_t i = 0; c < width; ++c, ++i) to[c] += sums[i];
}

void AddRow(DType dtype, const void* row, float by, int64_t width, float* to) {
  if (dtype == DType::int8) return AddValues<int8_t>(row, by, width, to);
  if (dtype == DType::bfloat16) return AddValues<hwy::bfloat16_t>(row, by, width, to);
  if (dtype == DType::float16) return AddValues<hwy::float16_t>(row, by, width, to);
  AddValues<float>(row, by, width, to);
}

/// y = x + residual, which may be null.
void SumRow(const float* x, const float* residual, int64_t width, float* y) {
  if (residual == nullptr) {
    if (x != y) std::copy_n(x, width, y);
    return;
  }
  const F d;
  EachColumn(
      width,
      [&](int64_t c) HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(d, x + c), hn::LoadU(d, residual + c)), d, y + c); },
      [&](int64_t c) { y[c] = x[c] + residual[c]; });
}

void NormRows(const Norm& norm, const float* x, const float* residual, int64_t first, int64_t last, float* y,
              const LinearInput* result, const Norm& input_norm) {
  const auto forward = [](const Norm& by, const float* from, const float* more, float* to) {
    return NormForward{by.width, by.eps, from, more, by.gamma, by.beta, {}, {}, to, nullptr, nullptr, by.rms};
  };
  const int64_t width = norm.width;
  static thread_local Buffer<float> memory;
  float* normed = result != nullptr && input_norm.gamma != nullptr ? memory.resize(width) : nullptr;
  for (int64_t r = first; r < last; ++r) {
    float* row = y + r * width;
    if (norm.gamma != nullptr) {
      NormForwardRow(forward(norm, x, residual, y), r);
    } else {
      SumRow(x + r * width, residual == nullptr ? nullptr : residual + r * width, width, row);
    }
    if (normed != nullptr) NormForwardRow(forward(input_norm, row, nullptr, normed), 0);
    if (result != nullptr) PrepareRow(normed != nullptr ? normed : row, width, r, *result);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace compression::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <hwy/targets.h>

#include "compress/kernels/float_mode.h"  // OrdinaryFloats
#include "compress/kernels/threads.h"     // parallel_for

namespace compression::kernels {

HWY_EXPORT(PanelColumns);
HWY_EXPORT(MultipliesBytes);
HWY_EXPORT(MultiplyInt8);
HWY_EXPORT(MultiplyBFloat16);
HWY_EXPORT(MultiplyFloat);
HWY_EXPORT(PrepareRows);
HWY_EXPORT(AddRow);
HWY_EXPORT(NormRows);

int64_t panel_width() {
  return HWY_DYNAMIC_DISPATCH(PanelColumns)();
}

namespace {

/// Calls visit(row's bytes, the weight's, how many) for each step of each output, whose rows are in `values`.
template <int64_t bytes, class Byte, class Visit>
void each_step_of(const LinearWeight& weight, Byte* values, Visit&& visit) {
  const auto width = panel_width(), row_bytes = weight.in * size_of(weight.dtype);
  auto* packed = reinterpret_cast<unsigned char*>(weight.values.data());
  for (int64_t o = 0; o < weight.out; ++o) {
    auto* column = packed + (o / width * weight.steps * width + o % width) * bytes;
    auto* row = values + o * row_bytes;
    int64_t i = 0;
    for (; i + bytes <= row_bytes; i += bytes, column += width * bytes) visit(row + i, column, size_t{bytes});
    if (i < row_bytes) visit(row + i, column, static_cast<size_t>(row_bytes - i));
  }
}
template <class Byte, class Visit>
void each_step(const LinearWeight& weight, Byte* values, Visit&& visit) {
  weight.step_bytes == 2 ? each_step_of<2>(weight, values, visit) : each_step_of<4>(weight, values, visit);
}

void pack(Number number, DType dtype, const void* values, const float* scale, const float* bias, int64_t out,
          int64_t in, LinearWeight& result) {
  const int64_t width = panel_width();
  const bool in_pairs = number == Number::int8 && !HWY_DYNAMIC_DISPATCH(MultipliesBytes)();
  const bool widened = number == Number::float32 && dtype != DType::float32;
  result.number = number;
  result.dtype = dtype;
  result.out = out;
  result.in = in;
  result.words = divide_up(in, values_per_word(number));
  result.panels = divide_up(out, width);
  result.steps = in_pairs ? 2 * result.words : result.words;
  result.step_bytes = in_pairs || widened ? 2 : 4;
  const int64_t padded = result.panels * width;
  const auto weights = padded * result.steps * result.step_bytes / 4, after = tile_words * width;  // see TileBlock
  std::fill_n(result.values.resize(weights + after), weights + after, 0);
  each_step(result, static_cast<const unsigned char*>(values),
            [](const unsigned char* from, unsigned char* to, size_t bytes) { std::memcpy(to, from, bytes); });
  auto* scales = result.scale.resize(padded);
  auto* biases = result.bias.resize(padded);
  auto* starts = result.start.resize(padded);
  for (int64_t o = 0; o < padded; ++o) {
    const bool inside = o < out;
    scales[o] = inside && scale != nullptr ? scale[o] : 1.0f;
    biases[o] = inside && bias != nullptr ? bias[o] : 0.0f;
    int32_t sum = 0;
    if (inside && number == Number::int8) {
      const auto* row = static_cast<const int8_t*>(values) + o * in;
      sum = std::accumulate(row, row + in, 0);
    }
    starts[o] = -128 * sum;
  }
}

}  // namespace

void pack_linear(Number number, const void* values, const float* scale, const float* bias, int64_t out, int64_t in,
                 LinearWeight& result) {
  const auto dtype = number == Number::int8       ? DType::int8
                     : number == Number::bfloat16 ? DType::bfloat16
                                                  : DType::float32;
  pack(number, dtype, values, scale, bias, out, in, result);
}

void pack_floats(DType dtype, const void* values, const float* bias, int64_t out, int64_t in, LinearWeight& result) {
  pack(Number::float32, dtype, values, nullptr, bias, out, in, result);
}

void unpack_linear(const LinearWeight& weight, void* values) {
  each_step(weight, static_cast<unsigned char*>(values),
            [](unsigned char* to, const unsigned char* from, size_t bytes) { std::memcpy(to, from, bytes); });
}

void prepare_rows(const float* x, int64_t ld, int64_t columns, int64_t first, int64_t last, const LinearInput& result) {
  HWY_DYNAMIC_DISPATCH(PrepareRows)(x, ld, columns, first, last, result);
}

void add_row(DType dtype, const void* row, float by, int64_t width, float* to) {
  HWY_DYNAMIC_DISPATCH(AddRow)(dtype, row, by, width, to);
}

void norm_rows(const Norm& norm, const float* x, const float* residual, int64_t first, int64_t last, float* y,
               const LinearInput* result, const Norm& input_norm) {
  HWY_DYNAMIC_DISPATCH(NormRows)(norm, x, residual, first, last, y, result, input_norm);
}

void multiply(const LinearInput& x, const LinearWeight& weight, Range rows, Range panels, const Epilogue& epilogue,
              float* y, int64_t ld) {
  switch (weight.number) {
    case Number::int8:
      if (weight.sparse.fewest_rows > 0 && rows.last - rows.first >= weight.sparse.fewest_rows) {
        return multiply_sparse(x, weight, rows, panels, epilogue, y, ld);
      }
      return HWY_DYNAMIC_DISPATCH(MultiplyInt8)(x, weight, rows, panels, epilogue, y, ld);
    case Number::bfloat16:
      return HWY_DYNAMIC_DISPATCH(MultiplyBFloat16)(x, weight, rows, panels, epilogue, y, ld);
    case Number::float32:
      return HWY_DYNAMIC_DISPATCH(MultiplyFloat)(x, weight, rows, panels, epilogue, y, ld);
  }
}

void multiply_rows(const float* x, int64_t rows, const LinearWeight& weight, float fixed_scale, float* y,
                   Activation function) {
  constexpr int64_t block = 64;
  parallel_for(divide_up(rows, block), 1, [&](int64_t begin, int64_t end) {
    const OrdinaryFloats ordinary;
    Buffer<uint32_t> values(block * weight.words);
    Buffer<float> scale(block);
    const LinearInput input{weight.number, weight.words, values.data(), scale.data(), fixed_scale};
    for (int64_t first = begin * block; first < std::min(end * block, rows); first += block) {
      const auto count = std::min(block, rows - first);
      prepare_rows(x + first * weight.in, weight.in, weight.in, 0, count, input);
      multiply(input, weight, {0, count}, {0, weight.panels}, function, y + first * weight.out, weight.out);
    }
  });
}

void int8_sums(const LinearInput& x, const int8_t* weight, int64_t rows, int64_t out, int64_t in, int32_t* sums) {
  for (int64_t r = 0; r < rows; ++r) {
    const auto* row = reinterpret_cast<const uint8_t*>(x.values + r * x.stride);
    for (int64_t o = 0; o < out; ++o) {
      int32_t sum = 0;
      for (int64_t k = 0; k < in; ++k) sum += (static_cast<int32_t>(row[k]) - 128) * weight[o * in + k];
      sums[r * out + o] = sum;
    }
  }
}

void choose_multiplier_for_test(Multiplier chosen) {
  multiplier = chosen;
}

int64_t compiled_targets() {
  return HWY_TARGETS;
}

std::string int8_kernel() {
  const auto target = hwy::SupportedTargets() & HWY_TARGETS;
  const auto best = target & -target;
  if (use_amx(Number::int8) && panel_width() >= tile_words) return "AMX";
  if (best == HWY_AVX3_DL) return "AVX-512 VNNI";
  if (best == HWY_AVX2 && use_avx_vnni()) return "AVX-VNNI";
  if (best == HWY_NEON && use_mixed_products()) return "NEON i8mm";
  if (best == HWY_NEON && use_dot_product()) return "NEON dot product";
  return std::string(hwy::TargetName(best)) + ", in 16 bits";
}

std::string bfloat16_kernel() {
  const auto target = hwy::SupportedTargets() & HWY_TARGETS;
  if (use_amx(Number::bfloat16) && panel_width() >= tile_words) return "AMX BF16";
  if (has_bfloat16() && (target & HWY_AVX3_DL) != 0) return "AVX-512 BF16";
  return std::string(hwy::TargetName(target & -target)) + ", widened to float";
}

}  // namespace compression::kernels

#endif  // HWY_ONCE
