// How fast int8 products run against what the processor can do:
//
//     int8_gemm [--threads N] [--seconds S] [ROWSxINxOUT]...
//
// The peak is that of the instruction the kernel uses, on values in registers, with as many threads. Prints operations
// a second (two a multiply-add) of the product alone, without and with GELU, and of preparing its rows as well.

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/types.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "compress/ops/linear.h"
#include "compress/ops/team.h"
#include "compress/workflow/machine.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using namespace compression;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512vnni"))) void vnni_loop(int64_t steps) {
  const __m512i a = _mm512_set1_epi32(0x01010101), b = _mm512_set1_epi32(0x02020202);
  auto s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0, s9 = s0,
       s10 = s0, s11 = s0;
  for (int64_t i = 0; i < steps; ++i) {
    s0 = _mm512_dpbusd_epi32(s0, a, b);
    s1 = _mm512_dpbusd_epi32(s1, a, b);
    s2 = _mm512_dpbusd_epi32(s2, a, b);
    s3 = _mm512_dpbusd_epi32(s3, a, b);
    s4 = _mm512_dpbusd_epi32(s4, a, b);
    s5 = _mm512_dpbusd_epi32(s5, a, b);
    s6 = _mm512_dpbusd_epi32(s6, a, b);
    s7 = _mm512_dpbusd_epi32(s7, a, b);
    s8 = _mm512_dpbusd_epi32(s8, a, b);
    s9 = _mm512_dpbusd_epi32(s9, a, b);
    s10 = _mm512_dpbusd_epi32(s10, a, b);
    s11 = _mm512_dpbusd_epi32(s11, a, b);
    asm volatile("" : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5));
    asm volatile("" : "+v"(s6), "+v"(s7), "+v"(s8), "+v"(s9), "+v"(s10), "+v"(s11));
  }
}
#endif

/// Operations a second from registers; 0 where the processor has no VNNI.
double peak(int64_t threads) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512vnni")) return 0.0;
  constexpr int64_t steps = 20'000'000;
  double best = 0.0;
  for (int again = 0; again < 3; ++again) {
    const auto start = Clock::now();
    ops::run_together(threads, [](const ops::Member&) { vnni_loop(steps); });
    best = std::max(best, static_cast<double>(threads * steps * 12 * 128) / seconds_since(start));
  }
  return best;
#else
  (void)threads;
  return 0.0;
#endif
}

template <class Work>
double rate(double operations, double seconds, Work&& work) {
  work();
  std::vector<double> times;
  const auto start = Clock::now();
  while (times.size() < 5 || seconds_since(start) < seconds) {
    const auto one = Clock::now();
    work();
    times.push_back(seconds_since(one));
  }
  std::sort(times.begin(), times.end());
  return operations / times[times.size() / 2];
}

void measure(const std::string& shape, int64_t threads, double seconds, double most) {
  int64_t rows = 0, in = 0, out = 0;
  if (std::sscanf(shape.c_str(), "%ldx%ldx%ld", &rows, &in, &out) != 3 || rows < 1 || in < 1 || out < 1) {
    fmt::print(stderr, "found {}, expected ROWSxINxOUT\n", shape);
    std::exit(2);
  }
  const auto x = torch::randn({rows, in}), bias = torch::randn({out}), scale = torch::rand({out});
  const auto values = torch::randint(-127, 128, {out, in}).to(torch::kChar);
  ops::LinearWeight weight;
  ops::pack_linear(ops::Number::int8, values.data_ptr(), scale.data_ptr<float>(), bias.data_ptr<float>(), out, in,
                   weight);
  std::vector<uint32_t> memory(static_cast<size_t>(rows * weight.words));
  std::vector<float> scales(static_cast<size_t>(rows));
  const ops::LinearInput input{ops::Number::int8, weight.words, memory.data(), scales.data()};
  ops::prepare_rows(x.data_ptr<float>(), in, in, 0, rows, input);
  const auto y = torch::empty({rows, out});
  const auto product = [&](ops::Function function, bool prepare) {
    ops::run_together(threads, [&](const ops::Member& member) {
      const auto [first, last] = member.share(rows);
      for (auto begin = first; begin < last; begin += 48) {
        const auto end = std::min(begin + 48, last);
        if (prepare) ops::prepare_rows(x.data_ptr<float>(), in, in, begin, end, input);
        ops::multiply(input, weight, {begin, end}, {0, weight.panels}, function, y.data_ptr<float>(), out);
      }
    });
  };
  const double operations = 2.0 * static_cast<double>(rows * in * out);
  const auto show = [&](const char* name, double found) {
    fmt::print("{:>16} {:<22} {:6.3f} Top/s{}\n", shape, name, found / 1e12,
               most > 0 ? fmt::format(", {:.0f} % of the peak", 100.0 * found / most) : "");
  };
  show("product", rate(operations, seconds, [&] { product(ops::Function::none, false); }));
  show("and GELU", rate(operations, seconds, [&] { product(ops::Function::gelu, false); }));
  show("and rows prepared", rate(operations, seconds, [&] { product(ops::Function::gelu, true); }));
}

}  // namespace

int main(int argc, char** argv) {
  int64_t threads = at::get_num_threads();
  double seconds = 1.0;
  std::vector<std::string> shapes;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--threads" && i + 1 < argc) {
      threads = std::atol(argv[++i]);
    } else if (option == "--seconds" && i + 1 < argc) {
      seconds = std::atof(argv[++i]);
    } else {
      shapes.push_back(option);
    }
  }
  if (shapes.empty()) {
    shapes = {"16x384x1536",   "128x384x384",   "4096x384x1152", "4096x384x1536",
              "4096x1536x384", "4096x768x3072", "4096x3072x768"};
  }
  at::set_num_threads(static_cast<int>(threads));
  const double most = peak(threads);
  fmt::print("{}\nkernel: {}; peak of VNNI from registers, {} threads: {:.3f} Top/s\n", describe(this_machine()),
             ops::int8_kernel(), threads, most / 1e12);
  for (const auto& shape : shapes) measure(shape, threads, seconds, most);
  return 0;
}
