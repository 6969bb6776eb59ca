// How fast int8 products run against what the processor can do:
//
//     int8_gemm [--threads N] [--seconds S] [--density D] [--rows N] [ROWSxINxOUT]...
//
// The peak is that of the instruction the kernel uses, on values in registers, with as many threads. Prints operations
// a second (two a multiply-add) of the product alone, without and with GELU, and of preparing its rows as well. With a
// density, a share of the weight's blocks of 1x4 stays, and operations are those of the whole: the product with the
// zeros left out besides, whatever is faster. --rows: of a call, of which a thread makes one after the other.

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/types.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "compress/kernels/linear.h"
#include "compress/kernels/team.h"
#include "compress/kernels/tiles.h"
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

struct Options {
  int64_t threads = 1;
  double seconds = 1.0, density = 1.0;
  int64_t rows_at_once = 48;
};

/// So many multiply-adds of int8 from registers, by the instruction that products use here.
using Loop = void (*)(int64_t steps);
struct Instruction {
  std::string name;
  Loop run = nullptr;
  int64_t per_step = 0;  // multiply-adds
};

#if defined(__x86_64__)
#define REPEAT_12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

__attribute__((target("avx512f,avx512vnni"))) void vnni_loop(int64_t steps) {
  const __m512i a = _mm512_set1_epi32(0x01010101), b = _mm512_set1_epi32(0x02020202);
#define DECLARE(i) auto s##i = _mm512_setzero_si512();
#define STEP(i)                           \
  s##i = _mm512_dpbusd_epi32(s##i, a, b); \
  asm volatile("" : "+v"(s##i));
  REPEAT_12(DECLARE)
  for (int64_t i = 0; i < steps; ++i) {
    REPEAT_12(STEP)
  }
#undef DECLARE
#undef STEP
}

__attribute__((target("avx2"))) void avx2_loop(int64_t steps) {
  const __m256i a = _mm256_set1_epi16(1), b = _mm256_set1_epi16(2);
#define DECLARE(i) auto s##i = _mm256_setzero_si256();
#define STEP(i)                             \
  {                                         \
    auto product = _mm256_madd_epi16(a, b); \
    asm volatile("" : "+x"(product));       \
    s##i = _mm256_add_epi32(s##i, product); \
    asm volatile("" : "+x"(s##i));          \
  }
  REPEAT_12(DECLARE)
  for (int64_t i = 0; i < steps; ++i) {
    REPEAT_12(STEP)
  }
#undef DECLARE
#undef STEP
}
#endif

#if defined(__x86_64__) && defined(__linux__)
void amx_loop(int64_t steps) {
  using Tiles = kernels::AmxTiles;
  Tiles::configure(kernels::shapes_of_block(32));
  for (int64_t i = 0; i < steps; ++i) {
    Tiles::multiply_add<kernels::Number::int8, 0, 4, 6>();
    Tiles::multiply_add<kernels::Number::int8, 1, 4, 7>();
    Tiles::multiply_add<kernels::Number::int8, 2, 5, 6>();
    Tiles::multiply_add<kernels::Number::int8, 3, 5, 7>();
  }
  Tiles::release();
}
#endif

Instruction instruction_used() {
  const auto kernel = kernels::int8_kernel();
#if defined(__x86_64__) && defined(__linux__)
  if (kernel == "AMX") return {"AMX", amx_loop, 4 * 16 * 16 * 64};
#endif
#if defined(__x86_64__)
  if (kernel == "AVX-512 VNNI") return {"VNNI", vnni_loop, 12 * 64};
  if (kernel.starts_with("AVX2")) return {"AVX2 in 16 bits", avx2_loop, 12 * 16};
#endif
  return {};
}

/// Operations a second from registers; 0 where the instruction has no loop here.
double peak(const Instruction& instruction, int64_t threads) {
  if (instruction.run == nullptr) return 0.0;
  double best = 0.0;
  int64_t steps = 1'000'000;
  for (int again = 0; again < 8; ++again) {
    const auto start = Clock::now();
    kernels::run_together(threads, [&](const kernels::Member&) { instruction.run(steps); });
    const double seconds = seconds_since(start);
    best = std::max(best, 2.0 * static_cast<double>(threads * steps * instruction.per_step) / seconds);
    if (seconds < 0.1) steps *= 4;
  }
  return best;
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

void measure(const std::string& shape, const Options& options, double most) {
  const auto [threads, seconds, density, rows_at_once] = options;
  int64_t rows = 0, in = 0, out = 0;
  if (std::sscanf(shape.c_str(), "%ldx%ldx%ld", &rows, &in, &out) != 3 || rows < 1 || in < 1 || out < 1) {
    fmt::print(stderr, "found {}, expected ROWSxINxOUT\n", shape);
    std::exit(2);
  }
  const auto x = torch::randn({rows, in}), bias = torch::randn({out}), scale = torch::rand({out});
  const auto stays = torch::rand({out, (in + 3) / 4}).lt(density).repeat_interleave(4, 1).slice(1, 0, in);
  const auto values = (torch::randint(-127, 128, {out, in}) * stays).to(torch::kChar);
  kernels::LinearWeight weight;
  kernels::pack_linear(kernels::Number::int8, values.data_ptr(), scale.data_ptr<float>(), bias.data_ptr<float>(), out,
                       in, weight);
  std::vector<uint32_t> memory(static_cast<size_t>(rows * weight.words));
  std::vector<float> scales(static_cast<size_t>(rows));
  const kernels::LinearInput input{kernels::Number::int8, weight.words, memory.data(), scales.data()};
  kernels::prepare_rows(x.data_ptr<float>(), in, in, 0, rows, input);
  const auto y = torch::empty({rows, out});
  const auto product = [&](Activation function, bool prepare) {
    kernels::run_together(threads, [&](const kernels::Member& member) {
      const auto [first, last] = member.share(rows);
      for (auto begin = first; begin < last; begin += rows_at_once) {
        const auto end = std::min(begin + rows_at_once, last);
        if (prepare) kernels::prepare_rows(x.data_ptr<float>(), in, in, begin, end, input);
        kernels::multiply(input, weight, {begin, end}, {0, weight.panels}, function, y.data_ptr<float>(), out);
      }
    });
  };
  const double operations = 2.0 * static_cast<double>(rows * in * out);
  const auto show = [&](const char* name, double found) {
    fmt::print("{:>16} {:<22} {:6.3f} Top/s{}\n", shape, name, found / 1e12,
               most > 0 ? fmt::format(", {:.0f} % of the peak", 100.0 * found / most) : "");
  };
  if (density < 1.0) {
    show("product with zeros", rate(operations, seconds, [&] { product(Activation::none, false); }));
    kernels::pack_sparse(values.data_ptr<int8_t>(), out, in, weight);
    weight.sparse.fewest_rows = 1;
  }
  show("product", rate(operations, seconds, [&] { product(Activation::none, false); }));
  show("and GELU", rate(operations, seconds, [&] { product(Activation::gelu, false); }));
  show("and rows prepared", rate(operations, seconds, [&] { product(Activation::gelu, true); }));
}

}  // namespace

int main(int argc, char** argv) {
  Options options{.threads = at::get_num_threads()};
  std::vector<std::string> shapes;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--threads" && i + 1 < argc) {
      options.threads = std::atol(argv[++i]);
    } else if (option == "--seconds" && i + 1 < argc) {
      options.seconds = std::atof(argv[++i]);
    } else if (option == "--density" && i + 1 < argc) {
      options.density = std::atof(argv[++i]);
    } else if (option == "--rows" && i + 1 < argc) {
      options.rows_at_once = std::max(1L, std::atol(argv[++i]));
    } else {
      shapes.push_back(option);
    }
  }
  if (shapes.empty()) {
    shapes = {"16x384x1536",   "128x384x384",   "4096x384x1152", "4096x384x1536",
              "4096x1536x384", "4096x768x3072", "4096x3072x768"};
  }
  at::set_num_threads(static_cast<int>(options.threads));
  const auto instruction = instruction_used();
  const double most = peak(instruction, options.threads);
  fmt::print("{}\nkernel: {}\n", describe(this_machine()), kernels::int8_kernel());
  if (most > 0) {
    fmt::print("peak of {} from registers, {} threads: {:.3f} Top/s\n", instruction.name, options.threads, most / 1e12);
  }
  for (const auto& shape : shapes) measure(shape, options, most);
  return 0;
}
