// Products of compress/kernels/tiles.h on the processor's tile registers and on tiles in memory, side by side, with
// nothing under them: no system, no library. run.sh runs it in an emulator.

#include "compress/kernels/tiles.h"

using namespace compression::ops;

extern "C" {

void* memcpy(void* to, const void* from, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) static_cast<char*>(to)[i] = static_cast<const char*>(from)[i];
  return to;
}

void* memset(void* to, int byte, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) static_cast<char*>(to)[i] = static_cast<char>(byte);
  return to;
}

void abort() {
  __builtin_trap();
}
}

namespace {

void print(const char* text) {
  for (; *text; ++text) asm volatile("outb %0, %1" ::"a"(*text), "Nd"(uint16_t{0xE9}));  // Bochs writes it out
}

void print(uint64_t number) {
  char digits[21] = {};
  int first = 20;
  do digits[--first] = static_cast<char>('0' + number % 10);
  while (number /= 10);
  print(digits + first);
}

uint32_t random_bits() {
  static uint32_t state = 17;
  state = state * 1664525u + 1013904223u;
  return state >> 16;
}

template <Number number>
uint32_t random_word() {
  if constexpr (number == Number::int8)
    return random_bits() % 5 == 0 ? 0xFF80807Fu : random_bits() | random_bits() << 16;
  const auto half = [] {
    const float value = (static_cast<int>(random_bits() % 2001) - 1000) / 250.0f;
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    return bits >> 16;
  };
  return half() | half() << 16;
}

constexpr int64_t most_rows = 32, most_words = 48;
constexpr uint32_t untouched = 0xABABABAB;

alignas(64) uint32_t a[most_rows * (most_words + 3)], b[(most_words + tile_words) * 32], rest[most_rows * tile_words];
alignas(64) uint32_t sums[2][most_rows * 32 + 64];

/// In bfloat16 the processor adds even and odd halves apart, so that sums differ by their rounding.
template <Number number>
bool equal(uint32_t x, uint32_t y) {
  if constexpr (number == Number::int8) return x == y;
  float values[2];
  memcpy(&values[0], &x, sizeof(x));
  memcpy(&values[1], &y, sizeof(y));
  const float difference = values[0] - values[1];
  return difference < 1e-3f && difference > -1e-3f;
}

template <class Tiles, Number number, int halves>
void multiply(const TileBlock& block, uint32_t* to) {
  Tiles::configure(shapes_of_block(block.rows));
  multiply_tiles<Tiles, number, halves>(block, to);
  Tiles::release();
}

template <Number number, int halves>
void compare(uint64_t& cases, uint64_t& wrong) {
  for (const int64_t rows : {1, 6, 15, 16, 17, 24, 31, 32}) {
    for (const int64_t words : {1, 7, 16, 17, 37, 48}) {
      const int64_t a_row = words + 3, tail = words % tile_words;
      for (uint32_t& word : a) word = random_word<number>();
      for (uint32_t& word : b) word = random_word<number>();
      for (int64_t i = 0; i < rows * tile_words; ++i) {
        const auto row = i / tile_words, k = i % tile_words;
        rest[i] = k < tail ? a[row * a_row + words - tail + k] : 0;
      }
      for (auto& half : sums) {
        for (uint32_t& word : half) word = untouched;
      }
      const TileBlock block{a, a_row, rest, rows, b, words};
      multiply<AmxTiles, number, halves>(block, sums[0]);
      multiply<PlainTiles, number, halves>(block, sums[1]);
      bool good = true;
      for (int64_t i = 0; i < most_rows * 32 + 64; ++i) {
        good &= i < rows * 16 * halves ? equal<number>(sums[0][i], sums[1][i]) : sums[0][i] == untouched;
      }
      ++cases;
      wrong += !good;
    }
  }
}

}  // namespace

extern "C" [[noreturn, gnu::section(".program")]] void program() {
  uint32_t unused = 0, features = 0;
  __cpuid_count(7, 0, unused, unused, unused, features);
  uint64_t cases = 0, wrong = 0;
  if ((features & 1u << 24) == 0)
    print("no AMX\n");
  else {
    compare<Number::int8, 1>(cases, wrong);
    compare<Number::int8, 2>(cases, wrong);
    compare<Number::bfloat16, 1>(cases, wrong);
    compare<Number::bfloat16, 2>(cases, wrong);
  }
  print("tiles: ");
  print(cases - wrong);
  print(" passed, ");
  print(wrong);
  print(" failed\n");
  for (const char letter : {'S', 'h', 'u', 't', 'd', 'o', 'w', 'n'}) {
    asm volatile("outb %0, %1" ::"a"(letter), "d"(uint16_t{0x8900}));
  }
  for (;;) asm volatile("hlt");
}
