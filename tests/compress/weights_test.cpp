#include "compress/spec/weights.h"

#include <torch/types.h>

#include <catch2/catch.hpp>

#include "compress/base/fields.h"
#include "compress/families/families.h"
#include "compress/model/model.h"
#include "compress/model/resize.h"
#include "compress/spec/cost.h"
#include "compress/spec/relative_rows.h"
#include "compress/state_dict/state_dict.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;

/// A small description that has all there is.
ModelConfig every_option() {
  BlockSpec block{.attention = {.heads = 4,
                                .group = 2,
                                .head_size = 6,
                                .causal = true,
                                .window = 3,
                                .positions = Positions::rotary,
                                .bias = false,
                                .output_bias = false,
                                .head_norm = NormSpec{.kind = NormKind::rms}},
                  .mlp = {.units = 10, .activation = Activation::silu, .gated = true, .bias = false},
                  .norm = {.kind = NormKind::rms},
                  .place = NormPlace::before};
  ModelConfig config{.vocab_size = 11,
                     .max_position_embeddings = 16,
                     .type_vocab_size = 0,
                     .hidden_size = 8,
                     .input = {.positions = false, .norm = false},
                     .norm = {.kind = NormKind::rms},
                     .layers = {block, block},
                     .final_norm = true};
  config.layers[1].attention_norm = false;
  config.layers[1].norm = {.bias = false};
  config.layers[1].place = NormPlace::both;
  return config;
}

void check_weights(const ModelConfig& config) {
  const auto state = state_dict(*Model(config));
  std::map<std::string, std::vector<int64_t>> found, expected;
  for (const auto& [name, tensor] : state) expected[name] = tensor.sizes().vec();
  for (const auto& weight : weights(config)) {
    for (const auto& axis : weight.axes) found[weight.name].push_back(axis.size);
  }
  CHECK(found == expected);
}

TEST_CASE("the description names every weight of every family's model, with its shape") {
  for (const auto& family : family_names()) {
    auto config = load_model(golden("model/families/" + family)).model->config();
    for (const auto& [task, name] : enum_names(TaskType{})) {
      INFO(family << ", " << name);
      config.task = task;
      config.labels = {"a", "b", "c"};
      check_weights(config);
    }
  }
  check_weights(every_option());
}

TEST_CASE("each cut of an axis takes the same features of all weights that share it") {
  auto config = load_model(golden("model/families/albert")).model->config();
  Model model(config);
  model->initialize();
  const auto last = [](Label, int64_t all, int64_t count, int64_t width) {
    CHECK(count % width == 0);
    return torch::arange(all - count, all, torch::kLong);
  };
  auto smaller = with_hidden_size(config, config.hidden_size / 2);
  for (auto& layer : smaller.layers) layer.mlp.units -= 3;
  check_weights(resized(model, smaller, last)->config());
}

TEST_CASE("the multiply-adds of attention count the pairs that it looks at") {
  ModelConfig config{.hidden_size = 8, .layers = blocks({{2, 0}}, 4)};
  const auto pairs = [&](int64_t length) {
    const auto projections = length * 4 * 8 * 8;
    return (encoder_macs(config, length) - projections) / (2 * 8);
  };
  auto& attention = config.layers[0].attention;
  CHECK(pairs(7) == 49);
  attention.causal = true;
  CHECK(pairs(7) == 28);
  attention.window = 2;
  CHECK(pairs(7) == 1 + 2 + 5 * 3);
  attention.causal = false;
  CHECK(pairs(7) == 3 + 4 + 5 + 5 + 5 + 4 + 3);
  attention.window = 100;
  CHECK(pairs(7) == 49);
}

/// The rows as transformers computes them, by LibTorch's operators.
torch::Tensor rows_of_libtorch(const RelativeSpec& spec, int64_t length) {
  const auto distance = torch::arange(1 - length, length, torch::kLong);
  const auto middle = spec.buckets / 2;
  const auto size = torch::where(distance.abs() < middle, torch::full_like(distance, middle - 1), distance.abs());
  const auto span = torch::log(torch::tensor(
      static_cast<float>(static_cast<double>(spec.range - 1) / static_cast<double>(middle)), torch::kFloat));
  const auto logarithmic = torch::ceil(torch::log(size.to(torch::kFloat) / middle) / span * (middle - 1)) + middle;
  const auto bucket =
      torch::where(size <= middle, distance.to(torch::kFloat), logarithmic * distance.sign()).to(torch::kLong);
  return (bucket + spec.rows / 2).clamp(0, spec.rows - 1);
}

TEST_CASE("buckets of distances are LibTorch's, rounding included") {
  for (const auto& [buckets, range] : std::vector<std::pair<int64_t, int64_t>>{
           {256, 512}, {32, 128}, {64, 512}, {48, 256}, {100, 1000}, {8, 24}, {4, 16}, {2, 16}, {30, 77}}) {
    const RelativeSpec spec{.rows = 2 * buckets, .range = range, .buckets = buckets};
    const auto found = torch::tensor(relative_rows(Positions::disentangled, spec, 600), torch::kLong);
    INFO(buckets << " buckets for " << range);
    CHECK(torch::equal(found, rows_of_libtorch(spec, 600)));
  }
}

}  // namespace
}  // namespace compression
