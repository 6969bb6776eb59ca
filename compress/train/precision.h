#pragma once
// Which arithmetic a training's products are made with. `auto` on the CPU is measured on the model's own products:
// which of them is fast can't be told from a processor's flags.

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/model/layers.h"       // Arithmetic
#include "compress/task/batch_source.h"  // BatchSource
#include "compress/train/config.h"       // TrainConfig, Precision
#include "compress/workflow/context.h"   // Context

namespace compression {

/// What autocast computes in: kBFloat16, kHalf, or nothing for the rest.
std::optional<torch::Dtype> autocast_dtype(Precision precision);

/// What the fused form of the model computes with (model/fused.h); nothing where LibTorch's operators are to be used.
/// `config.precision` has been chosen (train/precision.h): Precision::automatic is std::invalid_argument.
std::optional<Arithmetic> fused_arithmetic(const TrainConfig& config, torch::Device device);

/// The products of a training step that `auto` looks at: those of linear layers, forward and backward.
struct Workload {
  /// `count` layers with weights [out, in].
  struct Layers {
    int64_t in = 0, out = 0, count = 0;
    bool operator==(const Layers&) const = default;
  };
  std::vector<Layers> layers;  // those that have the most multiply-adds first
  int64_t tokens = 0;          // of a batch, padding not counted: the median of some batches
  int64_t batches = 1;         // of a step, in which a weight is converted once
};

/// What training `module` on `source` multiplies: each Linear of ours and of LibTorch that it has.
Workload workload_of(const torch::nn::Module& module, const BatchSource& source, const TrainConfig& config);

/// What a training's products are made with, and why.
struct PrecisionChoice {
  struct Timing {
    Precision precision = Precision::float32;
    double milliseconds = 0.0;  // of a step's products, to the microsecond
    bool operator==(const Timing&) const = default;
  };
  Precision precision = Precision::float32;  // never automatic
  bool automatic = false;                    // the recipe left it open
  // Where it was measured, else empty:
  std::vector<Timing> timings;
  int64_t tokens = 0;
  std::string processor;
  int threads = 0;
  bool operator==(const PrecisionChoice&) const = default;
};

/// For compress.json: `arithmetic`, and `measured` where it was: `milliseconds` by arithmetic, `tokens`, `processor`,
/// `threads`.
nlohmann::json choice_json(const PrecisionChoice& choice);

/// "int16 (auto; products of a step, 312 tokens a batch: fp32 40.1 ms, int16 22.0 ms; AMD EPYC, 2 threads)"
std::string describe(const PrecisionChoice& choice);

/// Seconds that a step's products take in an arithmetic, once.
using ProductTimer = std::function<double(Precision)>;

/// Makes each arithmetic's products by turns and gives the medians, in the order of `candidates`. The first round is
/// not counted; at least three are, and more while all of them have taken less than half a second.
std::vector<PrecisionChoice::Timing> time_products(std::span<const Precision> candidates, const ProductTimer& timer);

/// The first that takes no more than 5 % longer than the fastest; `timings` has the most exact arithmetic first. Throws
/// std::invalid_argument for none.
Precision fastest(std::span<const PrecisionChoice::Timing> timings);

/// The arithmetics that may be fastest on the CPU, the most exact first: fp32, int16 where the fused form runs, bf16
/// where the processor has instructions for it.
std::vector<Precision> precision_candidates(bool fused);

/// Times the products of `work` with random operands, of fewer tokens where that would take long, and with weights
/// converted as often as a step does. Leaves LibTorch's generator alone.
ProductTimer product_timer(const Workload& work);

/// What to train `module` with: what the config says; where it says auto, bf16 on a device that is not the CPU, and on
/// the CPU what is fastest there. That is measured once for a machine, number of threads and workload and kept in
/// context.cache_folder; a training whose state is kept (context.checkpoints) has it there too and goes on with it,
/// also elsewhere. Without either folder, each call measures. Tells the logger in one line. Throws ConfigError for
/// int16 on a device that is not the CPU, StorageError.
PrecisionChoice choose_precision(const TrainConfig& config, const torch::nn::Module& module, const BatchSource& source,
                                 const Context& context,
                                 const std::function<ProductTimer(const Workload&)>& timer = product_timer);

}  // namespace compression
