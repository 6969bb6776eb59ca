#pragma once
// Products on tile registers (Intel AMX: eight of 16 rows of 64 bytes), which the processor has or, for tests, plain
// memory. Weights stand in panels as for every other kernel: 16 words of 16 columns are a register as they are.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "compress/kernels/linear.h"  // Number

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace compression::kernels {

constexpr int64_t tile_rows = 16, tile_words = 16;  // a word: four bytes

/// Sizes of the registers as LDTILECFG reads them.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  void set(int tile, int64_t count) {
    row_bytes[tile] = count == 0 ? 0 : 64;
    rows[tile] = static_cast<uint8_t>(count);
  }
};

// Registers: sums 0 to 3 (of upper rows and left columns, upper right, lower left, lower right), upper and lower rows
// of a in 4 and 5, left and right columns of b in 6 and 7.

/// For blocks of `rows` rows, at most 32.
inline TileShapes shapes_of_block(int64_t rows) {
  const auto upper = std::min(rows, tile_rows), lower = rows - upper;
  TileShapes shapes;
  for (const int tile : {0, 1, 4}) shapes.set(tile, upper);
  for (const int tile : {2, 3, 5}) shapes.set(tile, lower);
  for (const int tile : {6, 7}) shapes.set(tile, tile_words);
  return shapes;
}

#if defined(__x86_64__) && defined(__linux__)

/// Whether the processor multiplies tiles of this number, and the system lets this process use them.
inline bool has_amx(Number number) {
  static const uint32_t features = [] {
    uint32_t a = 0, b = 0, c = 0, d = 0;
    constexpr uint32_t tile = 1u << 24;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & tile) == 0) return 0u;
    constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0 ? d : 0u;
  }();
  const uint32_t wanted = number == Number::int8 ? 1u << 25 : number == Number::bfloat16 ? 1u << 22 : 0u;
  return (features & wanted) != 0;
}

/// The processor's registers. Instructions are written as text, since no target names them to the compiler.
struct AmxTiles {
  static void configure(const TileShapes& shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes)); }
  static void release() { asm volatile("tilerelease"); }
  template <int tile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(tile));
  }
  /// Rows that are `stride` bytes apart.
  template <int tile>
  static void load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(tile) : "memory");
  }
  template <int tile>
  static void store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(tile) : "memory");
  }
  /// sum += a b: words of four uint8 and four int8, or of two bfloat16 each.
  template <Number number, int sum, int a, int b>
  static void multiply_add() {
    if constexpr (number == Number::int8) {
      asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sum), "i"(a), "i"(b));
    } else {
      asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sum), "i"(a), "i"(b));
    }
  }
};

#else

inline bool has_amx(Number) {
  return false;
}

#endif

/// The same in memory: what the processor does to its registers, one word after the other.
struct PlainTiles {
  struct State {
    TileShapes shapes;
    uint32_t words[8][tile_rows][tile_words] = {};
  };
  static State& state() {
    static thread_local State one;
    return one;
  }

  static void configure(const TileShapes& shapes) { state() = {.shapes = shapes}; }
  static void release() {}
  template <int tile>
  static void zero() {
    std::memset(state().words[tile], 0, sizeof(state().words[tile]));
  }
  template <int tile>
  static void load(const void* from, int64_t stride) {
    zero<tile>();
    for (int r = 0; r < state().shapes.rows[tile]; ++r) {
      std::memcpy(state().words[tile][r], static_cast<const char*>(from) + r * stride, state().shapes.row_bytes[tile]);
    }
  }
  template <int tile>
  static void store(void* to, int64_t stride) {
    for (int r = 0; r < state().shapes.rows[tile]; ++r) {
      std::memcpy(static_cast<char*>(to) + r * stride, state().words[tile][r], state().shapes.row_bytes[tile]);
    }
  }
  template <Number number, int sum, int a, int b>
  static void multiply_add() {
    auto& s = state();
    const auto& shapes = s.shapes;
    if (shapes.rows[sum] != shapes.rows[a] || shapes.row_bytes[sum] != shapes.row_bytes[b] ||
        shapes.row_bytes[a] != 4 * shapes.rows[b]) {
      std::abort();  // as the processor does
    }
    for (int m = 0; m < shapes.rows[a]; ++m) {
      for (int k = 0; k < shapes.rows[b]; ++k) {
        for (int n = 0; n < shapes.row_bytes[b] / 4; ++n)
          add<number>(s.words[a][m][k], s.words[b][k][n], s.words[sum][m][n]);
      }
    }
  }

 private:
  template <Number number>
  static void add(uint32_t a, uint32_t b, uint32_t& sum) {
    if constexpr (number == Number::int8) {
      int32_t total = static_cast<int32_t>(sum);
      for (int byte = 0; byte < 4; ++byte) {
        total += static_cast<int32_t>(static_cast<uint8_t>(a >> (8 * byte))) * static_cast<int8_t>(b >> (8 * byte));
      }
      sum = static_cast<uint32_t>(total);
    } else {
      float total = as_float(sum);
      total += as_float(a << 16) * as_float(b << 16);
      total += as_float(a & 0xFFFF0000u) * as_float(b & 0xFFFF0000u);
      std::memcpy(&sum, &total, sizeof(sum));
    }
  }
  static float as_float(uint32_t bits) {
    float value = 0.0f;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
};

/// Some rows and one panel: word k of row m at a[m * a_row + k], word k of the panel's columns at b + k * its width.
/// The words after the last tile_words of a row stand in `rest`, followed by zeros: [rows][tile_words]. As many rows
/// of the panel as these zeros are readable after its end, and hold finite numbers.
struct TileBlock {
  const uint32_t* a;
  int64_t a_row;
  const uint32_t* rest;
  int64_t rows;  // at most 32, those that the registers were configured for
  const uint32_t* b;
  int64_t words;
};

/// sums: [rows][16 * halves] of int32 or float32, `halves` 16 columns of the panel.
template <class Tiles, Number number, int halves>
void multiply_tiles(const TileBlock& block, void* sums) {
  static_assert(number != Number::float32 && (halves == 1 || halves == 2));
  constexpr int64_t width = 16 * halves, stride = width * 4;
  const bool lower = block.rows > tile_rows;
  Tiles::template zero<0>();
  if constexpr (halves == 2) Tiles::template zero<1>();
  if (lower) Tiles::template zero<2>();
  if (lower && halves == 2) Tiles::template zero<3>();
  const auto step = [&](const uint32_t* a, int64_t a_row, const uint32_t* b) {
    Tiles::template load<6>(b, stride);
    if constexpr (halves == 2) Tiles::template load<7>(b + 16, stride);
    Tiles::template load<4>(a, a_row * 4);
    Tiles::template multiply_add<number, 0, 4, 6>();
    if constexpr (halves == 2) Tiles::template multiply_add<number, 1, 4, 7>();
    if (!lower) return;
    Tiles::template load<5>(a + tile_rows * a_row, a_row * 4);
    Tiles::template multiply_add<number, 2, 5, 6>();
    if constexpr (halves == 2) Tiles::template multiply_add<number, 3, 5, 7>();
  };
  const auto whole = block.words / tile_words * tile_words;
  for (int64_t k = 0; k < whole; k += tile_words) step(block.a + k, block.a_row, block.b + k * width);
  if (whole < block.words) step(block.rest, tile_words, block.b + whole * width);
  auto* to = static_cast<char*>(sums);
  Tiles::template store<0>(to, stride);
  if constexpr (halves == 2) Tiles::template store<1>(to + 64, stride);
  to += tile_rows * stride;
  if (lower) Tiles::template store<2>(to, stride);
  if (lower && halves == 2) Tiles::template store<3>(to + 64, stride);
}

}  // namespace compression::kernels
