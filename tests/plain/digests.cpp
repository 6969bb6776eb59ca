// The integers of kernels, without LibTorch: held against plain sums here, and by their digests against those of other
// processors. usage: plain_digests DIGESTS [--write]
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "compress/base/random.h"
#include "compress/kernels/head_attention.h"
#include "compress/kernels/linear.h"
#include "compress/storage/storage.h"

using namespace compression;
using kernels::Multiplier;
using kernels::Number;

namespace {

class Numbers {
 public:
  uint64_t bits() { return mixed(next_++); }
  float real() { return static_cast<float>(static_cast<int32_t>(bits() >> 40) - (1 << 23)) / (1 << 22); }  // [-2, 2)
  std::vector<float> reals(int64_t count) {
    std::vector<float> result(static_cast<size_t>(count));
    for (auto& x : result) x = real();
    return result;
  }
  std::vector<int8_t> bytes(int64_t count) {
    std::vector<int8_t> result(static_cast<size_t>(count));
    for (auto& x : result) x = static_cast<int8_t>(bits() >> 56);
    return result;
  }

 private:
  uint64_t next_ = 1;
};

/// FNV-1a.
std::string digest(const void* data, size_t bytes) {
  uint64_t hash = 0xCBF29CE484222325;
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001B3;
  std::ostringstream text;
  text << std::hex << hash;
  return text.str();
}
template <class T>
std::string digest(const std::vector<T>& values) {
  return digest(values.data(), values.size() * sizeof(T));
}

int failures = 0;
void require(bool holds, const std::string& what) {
  if (holds) return;
  std::cerr << "plain_digests: " << what << '\n';
  ++failures;
}

struct Prepared {
  std::vector<uint32_t> words;
  std::vector<float> scale;
  kernels::LinearInput input;
  Prepared(Number number, const std::vector<float>& x, int64_t rows, int64_t columns)
      : scale(static_cast<size_t>(rows)) {
    const auto stride = (columns + values_per_word(number) - 1) / values_per_word(number);
    words.resize(static_cast<size_t>(rows * stride));
    input = {number, stride, words.data(), scale.data(), 0.0f};
    kernels::prepare_rows(x.data(), columns, columns, 0, rows, input);
  }
};

/// Products with one scale of 1 and no bias show the integers themselves.
std::vector<float> integers(int64_t rows, int64_t in, int64_t out) {
  Numbers numbers;
  const auto x = numbers.reals(rows * in);
  const auto w = numbers.bytes(out * in);
  const std::vector<float> ones(static_cast<size_t>(out), 1.0f), zeros(static_cast<size_t>(out));
  Prepared prepared(Number::int8, x, rows, in);
  std::ranges::fill(prepared.scale, 1.0f);
  kernels::LinearWeight weight;
  kernels::pack_linear(Number::int8, w.data(), ones.data(), zeros.data(), out, in, weight);
  std::vector<int8_t> back(w.size());
  kernels::unpack_linear(weight, back.data());
  require(back == w, "a packed weight comes back as another");
  std::vector<float> y(static_cast<size_t>(rows * out));
  kernels::multiply(prepared.input, weight, {0, rows}, {0, weight.panels}, Activation::none, y.data(), out);
  std::vector<int32_t> sums(y.size());
  kernels::int8_sums(prepared.input, w.data(), rows, out, in, sums.data());
  for (size_t i = 0; i < y.size(); ++i) {
    if (y[i] == static_cast<float>(sums[i])) continue;
    require(false, "found the sum " + std::to_string(y[i]) + ", expected " + std::to_string(sums[i]));
    break;
  }
  return y;
}

/// Of a float product: its largest distance from sums of doubles.
double float_error(int64_t rows, int64_t in, int64_t out) {
  Numbers numbers;
  const auto x = numbers.reals(rows * in), w = numbers.reals(out * in), bias = numbers.reals(out);
  const Prepared prepared(Number::float32, x, rows, in);
  kernels::LinearWeight weight;
  kernels::pack_linear(Number::float32, w.data(), nullptr, bias.data(), out, in, weight);
  std::vector<float> y(static_cast<size_t>(rows * out));
  kernels::multiply(prepared.input, weight, {0, rows}, {0, weight.panels}, Activation::none, y.data(), out);
  double error = 0.0;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < out; ++o) {
      double sum = bias[static_cast<size_t>(o)];
      for (int64_t k = 0; k < in; ++k) {
        sum += static_cast<double>(x[static_cast<size_t>(r * in + k)]) * w[static_cast<size_t>(o * in + k)];
      }
      error = std::max(error, std::abs(sum - y[static_cast<size_t>(r * out + o)]));
    }
  }
  return error;
}

/// Of attention: its largest distance from softmax in doubles.
double attention_error(kernels::AttentionNumber number, int64_t tokens, int64_t size) {
  Numbers numbers;
  const auto query = numbers.reals(tokens * size), key = numbers.reals(tokens * size),
             value = numbers.reals(tokens * size);
  std::vector<float> context(query.size());
  std::vector<uint32_t> scratch(static_cast<size_t>(kernels::head_attention_scratch(number, tokens, size)) + 16);
  auto* aligned = reinterpret_cast<uint32_t*>((reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64);
  kernels::AttentionHead head{.number = number, .queries = tokens, .tokens = tokens, .size = size};
  head.query = query.data();
  head.key = key.data();
  head.value = value.data();
  head.ld = head.ld_context = size;
  head.scale = 1.0f / std::sqrt(static_cast<float>(size));
  head.context = context.data();
  kernels::head_attention(head, aligned);
  double error = 0.0;
  for (int64_t q = 0; q < tokens; ++q) {
    std::vector<double> shares, expected(static_cast<size_t>(size));
    double sum = 0.0;
    for (int64_t k = 0; k < tokens; ++k) {
      double score = 0.0;
      for (int64_t c = 0; c < size; ++c) {
        score += static_cast<double>(query[static_cast<size_t>(q * size + c)]) * key[static_cast<size_t>(k * size + c)];
      }
      sum += shares.emplace_back(std::exp(score * head.scale));
    }
    for (int64_t c = 0; c < size; ++c) {
      double own = 0.0;
      for (int64_t k = 0; k < tokens; ++k) {
        own += shares[static_cast<size_t>(k)] / sum * value[static_cast<size_t>(k * size + c)];
      }
      error = std::max(error, std::abs(own - context[static_cast<size_t>(q * size + c)]));
    }
  }
  return error;
}

std::string digests() {
  std::ostringstream lines;
  const std::array<std::array<int64_t, 3>, 6> shapes{
      {{1, 1, 1}, {7, 10, 6}, {13, 31, 33}, {25, 4, 100}, {37, 602, 150}, {5, 3072, 40}}};
  for (const auto& [rows, in, out] : shapes) {
    const auto best = integers(rows, in, out);
    kernels::choose_multiplier_for_test(Multiplier::of_target);
    require(integers(rows, in, out) == best, "the plainest kernel gives other integers");
    kernels::choose_multiplier_for_test(Multiplier::best);
    lines << "int8 " << rows << ' ' << in << ' ' << out << ' ' << digest(best) << '\n';
    require(float_error(rows, in, out) < 2e-3, "float products are far from sums of doubles");
  }
  for (const auto number : {kernels::AttentionNumber::int16, kernels::AttentionNumber::float32}) {
    const double limit = number == kernels::AttentionNumber::int16 ? 2e-3 : 2e-6;
    require(attention_error(number, 50, 32) < limit && attention_error(number, 3, 5) < limit,
            "attention is far from a softmax of doubles");
  }
  Numbers numbers;
  const auto x = numbers.reals(40 * 67);
  const Prepared prepared(Number::int8, x, 40, 67);
  lines << "activations " << digest(prepared.words) << ' ' << digest(prepared.scale) << '\n';
  for (const auto& [format, name] : enum_names(WeightFormat())) {
    const auto& storage = storage_of(format);
    const auto matrix = storage.from_floats(x.data(), 40, 67);
    lines << "storage " << name;
    for (const auto& part : matrix.parts) lines << ' ' << digest(part.data.get(), static_cast<size_t>(part.bytes()));
    const auto floats = to_floats(matrix);
    lines << ' ' << digest(floats.data.get(), static_cast<size_t>(floats.bytes())) << '\n';
    const std::vector<float> bias(40);
    const auto back = storage.unpack(storage.pack(matrix, bias.data()));
    for (size_t i = 0; i < matrix.parts.size(); ++i) {
      const auto bytes = static_cast<size_t>(matrix.parts[i].bytes());
      require(std::memcmp(back.parts[i].data.get(), matrix.parts[i].data.get(), bytes) == 0,
              std::string(name) + ": a packed weight comes back as another");
    }
  }
  return lines.str();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const auto found = digests();
  std::cout << "int8: " << kernels::int8_kernel() << "; bfloat16: " << kernels::bfloat16_kernel() << '\n';
  if (argc > 2) {
    std::ofstream(argv[1]) << found;
    return failures;
  }
  std::ifstream file(argv[1]);
  const std::string expected((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  require(found == expected, "found the digests\n" + found + "expected\n" + expected);
  return failures == 0 ? 0 : 1;
}
