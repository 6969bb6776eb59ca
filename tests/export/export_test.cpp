#include "tests/support.h"

#include <ATen/Parallel.h>
#include <omp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "compress/base/error.h"
#include "compress/engine/network_state.h"
#include "compress/engine/read_network.h"
#include "compress/kernels/bfloat16_choice.h"
#include "compress/model/fused.h"
#include "compress/model/packed.h"
#include "compress/model_folder/language_model_folder.h"
#include "export/encoder_state.h"
#include "export/model_script.h"
#include "prune/cut.h"
#include "quantize/calibrate.h"
#include "quantize/convert.h"

namespace compression::exporter {
namespace {

using namespace testing;

/// int8 with static activations.
void quantize_statically(Model& model, std::vector<std::string> unquantized = {}) {
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")), 2);
  quantize::Formats formats{.activations = ActivationScheme::static_per_tensor, .unquantized = std::move(unquantized)};
  formats.input_scales = quantize::calibrate(model, formats.unquantized, {}, source, quiet_context({}));
  quantize::quantize(model, formats);
}

struct FusedFiles {
  LogitsFunction file, again;  // as it was written, and as it was loaded and saved
};

FusedFiles fused_files(const Model& model) {
  const TemporaryFolder folder;
  save_script(model_script(model, Runtime::fused), folder / "model.pt");
  auto module = load_script(folder / "model.pt");
  module.save((folder / "again.pt").string());
  return {script_logits(module), script_logits(load_script(folder / "again.pt"))};
}

TEST_CASE("model.pt computes what the model does, for any batch and any length") {
  const int kind = GENERATE(0, 1, 2, 3, 4, 5, 6);
  auto model = tiny_model();
  if (kind == 1) {
    const auto index = [](std::vector<int64_t> v) { return torch::tensor(v); };
    prune::cut_units(*model,
                     {index({0, 3}), index({1, 2, 40}), index({1}), index({0, 47}), index({0, 1, 2}), index({7})});
  }
  using quantize::Scheme;
  if (kind == 2) quantize::quantize(model, {WeightFormat::int8, WeightFormat::int8, ActivationScheme::per_token});
  if (kind == 3) quantize::quantize(model, {WeightFormat::int8, WeightFormat::float16, ActivationScheme::per_tensor});
  if (kind == 4) quantize::quantize(model, {WeightFormat::float16, WeightFormat::float16});
  if (kind == 5) quantize::quantize(model, {WeightFormat::bfloat16, WeightFormat::bfloat16});
  if (kind == 6) quantize_statically(model);
  model = as_runtime(model, Runtime::portable);

  const TemporaryFolder folder;
  save_script(model_script(model), folder / "model.pt");
  const auto file = script_logits(load_script(folder / "model.pt"));
  const c10::InferenceMode inference;
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  check_close(file(batch), model->forward(batch).logits, 1e-5);
  at::manual_seed(1);
  for (const auto& [rows, length] : {std::pair{1, 1}, {1, 40}, {9, 5}, {3, 17}}) {
    const auto ids = torch::randint(0, 64, {rows, length}, torch::kLong);
    auto mask = torch::ones_like(ids);
    if (rows > 1) mask[1].slice(0, length / 2) = 0;
    const auto other = text_batch(ids, mask, torch::zeros_like(ids));
    for (int again = 0; again < 3; ++again) check_close(file(other), model->forward(other).logits, 1e-5);
  }
}

TEST_CASE("model.pt of the fused runtime computes what the model does, on any number of threads") {
  using quantize::Scheme;
  const int kind = GENERATE(0, 1, 2, 3, 4, 5, 6);
  auto model = tiny_model();
  if (kind == 1 || kind == 6) {
    const auto index = [](std::vector<int64_t> v) { return torch::tensor(v); };
    prune::cut_units(*model,
                     {index({0, 3}), index({1, 2, 40}), index({1}), index({0, 47}), index({0, 1, 2}), index({7})});
  }
  auto exact = copy(model);
  if (kind == 2 || kind == 6)
    quantize::quantize(model, {WeightFormat::int8, WeightFormat::int8, ActivationScheme::per_token});
  if (kind == 3) quantize::quantize(model, {WeightFormat::int8, WeightFormat::float16, ActivationScheme::per_tensor});
  if (kind == 4) quantize::quantize(model, {WeightFormat::float16, WeightFormat::float16});
  if (kind == 5) quantize::quantize(model, {WeightFormat::bfloat16, WeightFormat::bfloat16});
  const bool int8 = model->config().linear_format == WeightFormat::int8;
  const double tolerance = kind < 2 || kind == 4 ? 3e-4 : kind == 5 ? 0.02 : 0.15;
  if (int8) {  // the same weights, and activations that are not rounded
    const torch::NoGradGuard no_grad;
    const auto fill = [](const auto& from, const auto& to) {
      for (size_t i = 0; i < from.size(); ++i) {
        auto values = from[i]->weight.to(torch::kFloat);
        if (from[i]->format() == WeightFormat::int8) values = values * from[i]->part("weight_scale");
        to[i]->weight.copy_(values);
      }
    };
    fill(model->linears(), exact->linears());
    fill(model->embeddings(), exact->embeddings());
  }
  double error = 0.0, portable_error = 0.0;

  const auto [file, again] = fused_files(model);
  auto same = as_runtime(model, Runtime::fused), portable = as_runtime(model, Runtime::portable);
  const bool fewer_bits = model->config().linear_format != WeightFormat::float32;
  const c10::InferenceMode inference;
  at::manual_seed(1);
  const auto threads = at::get_num_threads();
  for (const auto& [rows, length] : {std::pair{0, 3}, {1, 1}, {1, 40}, {9, 5}, {3, 17}, {60, 20}, {5, 33}}) {
    const auto ids = torch::randint(0, 64, {rows, length}, torch::kLong);
    auto mask = torch::ones_like(ids);
    if (rows > 1) mask[1].slice(0, length / 2 + 1) = 0;
    if (rows > 2) mask[2].slice(0, 1) = 0;
    if (rows > 4) mask[4].slice(0, 1, 3) = 0;
    const auto other = text_batch(ids, mask, torch::randint(0, 2, {rows, length}, torch::kLong));
    INFO("kind " << kind << ", " << rows << " x " << length);
    const auto expected = rows == 0 ? torch::empty({0, 3}) : (int8 ? exact : model)->forward(other).logits;
    if (int8 && rows > 0) portable_error += (portable->forward(other).logits - expected).square().sum().item<double>();
    for (const int n : {1, 2, 3}) {
      at::set_num_threads(n);
      const auto logits = file(other);
      REQUIRE(logits.sizes() == expected.sizes());
      if (rows > 0) check_close(logits, expected, tolerance);
      if (rows > 0 && fewer_bits) CHECK(torch::equal(logits, same->forward(other).logits));
      for (int64_t r = 0; r < rows; ++r) {  // no other text, and no padding, changes a bit of a text's numbers
        const auto longest = (mask[r] * torch::arange(1, length + 1, torch::kLong)).max().item<int64_t>();
        const auto alone = [&](const torch::Tensor& t) { return t.slice(0, r, r + 1).slice(1, 0, longest); };
        if (r % 4 == 0) {
          CHECK(torch::equal(file(text_batch(alone(ids), alone(mask), alone(other.token_type_ids())))[0], logits[r]));
        }
      }
      CHECK(torch::equal(again(other), logits));
      if (int8 && n == 1) error += (logits - expected).square().sum().item<double>();
    }
  }
  at::set_num_threads(threads);
  if (int8) CHECK(error < portable_error);  // eight bits are better than seven
}

class OnlyBFloat16As {
 public:
  explicit OnlyBFloat16As(kernels::Number number) { kernels::choose_bfloat16_for_test(number); }
  ~OnlyBFloat16As() { kernels::choose_bfloat16_for_test(std::nullopt); }
  OnlyBFloat16As(const OnlyBFloat16As&) = delete;
  OnlyBFloat16As& operator=(const OnlyBFloat16As&) = delete;
};

TEST_CASE("16-bit weights that are multiplied as float32 stay 16 bits in the fused runtime's file") {
  const auto format = GENERATE(WeightFormat::bfloat16, WeightFormat::float16);
  const auto number = GENERATE(kernels::Number::bfloat16, kernels::Number::float32);
  const OnlyBFloat16As only(number);
  auto model = tiny_model();
  quantize::quantize(model, {format, format});
  auto wide = tiny_model();  // the same weights, in float32
  {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < wide->linears().size(); ++i) wide->linears()[i]->weight.copy_(model->linears()[i]->weight);
    for (size_t i = 0; i < wide->embeddings().size(); ++i) {
      wide->embeddings()[i]->weight.copy_(model->embeddings()[i]->weight);
    }
  }
  const auto state = encoder_state(model);
  const ops::Encoder encoder(state);
  const auto kept = encoder.state();
  for (const auto& entry : state.tensors) {
    INFO(entry.key());
    const auto found = kept.tensors.at(entry.key());
    CHECK(found.scalar_type() == entry.value().scalar_type());
    CHECK(torch::equal(found, entry.value()));
  }
  const c10::InferenceMode inference;
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto logits = encoder.forward(batch.input_ids(), batch.attention_mask(), batch.token_type_ids());
  const bool as_float32 = format == WeightFormat::float16 || number == kernels::Number::float32;
  check_close(logits, wide->forward(batch).logits, as_float32 ? 1e-5 : 0.02);
}

TEST_CASE("static activations are the same integers in the fused runtime") {
  const int kind = GENERATE(0, 1, 2);  // whole, pruned, some layers float32
  auto model = tiny_model();
  if (kind == 1) {
    const auto index = [](std::vector<int64_t> v) { return torch::tensor(v); };
    prune::cut_units(*model,
                     {index({0, 3}), index({1, 2, 40}), index({1}), index({0, 47}), index({0, 1, 2}), index({7})});
  }
  const std::string layer = "bert.encoder.layer.";
  quantize_statically(model, kind < 2
                                 ? std::vector<std::string>{}
                                 : std::vector<std::string>{layer + "0.attention.self.key", layer + "1.output.dense"});
  const auto [file, again] = fused_files(model);
  const c10::InferenceMode inference;
  at::manual_seed(1);
  const auto threads = at::get_num_threads();
  for (const auto& [rows, length] : {std::pair{1, 1}, {1, 40}, {9, 5}, {60, 20}, {5, 33}}) {
    INFO("kind " << kind << ", " << rows << " x " << length);
    const auto ids = torch::randint(0, 64, {rows, length}, torch::kLong);
    auto mask = torch::ones_like(ids);
    if (rows > 1) mask[1].slice(0, length / 2 + 1) = 0;
    const auto batch = text_batch(ids, mask, torch::zeros_like(ids));
    const auto expected = as_runtime(model, Runtime::portable)->forward(batch).logits;
    for (const int n : {1, 2}) {
      at::set_num_threads(n);
      const auto logits = file(batch);
      CHECK(torch::equal(logits, model->forward(batch).logits));
      // Where one of query, key and value is float32, the fused runtime rounds the input of none.
      CHECK(((logits - expected).norm() / expected.norm()).item<double>() < (kind < 2 ? 0.04 : 0.06));
      CHECK(torch::equal(again(batch), logits));
    }
  }
  at::set_num_threads(threads);
}

/// The models and texts of make_mask_goldens.py.
std::pair<Model, Batch> with_odd_masks(const std::string& name, const std::map<std::string, torch::Tensor>& goldens) {
  const auto of = [&](const char* what) { return goldens.at(name + "." + what); };
  return {load_model(golden(name == "tiny" ? "model/tiny" : "model/families/" + name)).model,
          text_batch(of("input_ids"), of("attention_mask"), of("token_type_ids"))};
}

/// Two blocks that differ in what they can.
Model model_of_options(Positions positions, NormPlace place) {
  at::manual_seed(3);
  BlockSpec block{.attention = {.heads = 4, .group = 2, .head_size = 6, .positions = positions, .rotary_base = 100.0},
                  .mlp = {.units = 10, .activation = Activation::silu, .gated = true},
                  .norm = {.kind = NormKind::rms, .eps = 1e-6},
                  .place = place};
  block.attention.head_norm = block.norm;
  auto other = block;
  other.attention.group = 1;
  other.attention.causal = true;
  other.attention.window = 3;
  other.attention.rotary_base = 10000.0;
  other.attention.bias = other.attention.output_bias = other.mlp.bias = false;
  other.norm = {.bias = false};
  ModelConfig config{.vocab_size = 20,
                     .max_position_embeddings = 80,
                     .type_vocab_size = 0,
                     .hidden_size = 8,
                     .input = {.positions = false, .norm = false},
                     .relative = {.heads = 4},
                     .layers = {block, other},
                     .final_norm = place == NormPlace::before};
  config.task = TaskType::classification;
  config.labels = {"a", "b"};
  config.head.norm = config.head.mean = place == NormPlace::before;
  config.initializer_range = 0.5;
  Model model(config);
  model->initialize();
  const torch::NoGradGuard no_grad;
  for (auto& p : model->parameters()) {
    if (p.dim() == 1) p.add_(torch::randn_like(p), 0.1);
  }
  model->eval();
  return model;
}

TEST_CASE("the fused runtime has every option of a block, in every precision and on any number of threads") {
  using enum WeightFormat;
  const auto positions = GENERATE(Positions::none, Positions::rotary, Positions::alibi);
  const auto place = GENERATE(NormPlace::before, NormPlace::after);
  const auto format = GENERATE(float32, int8, bfloat16, float16);
  INFO("positions " << static_cast<int>(positions) << ", place " << static_cast<int>(place) << ", "
                    << enum_name(format));
  const auto exact = model_of_options(positions, place);
  auto model = copy(exact);
  if (format != float32) quantize::quantize(model, {format, format});
  const auto state = encoder_state(model), kept = ops::Encoder(state).state();
  CHECK(kept.tensors.size() == state.tensors.size());
  for (const auto& entry : state.tensors) CHECK(torch::equal(kept.tensors.at(entry.key()), entry.value()));
  CHECK(kept.numbers.size() == state.numbers.size());

  const auto [file, again] = fused_files(model);
  const c10::InferenceMode inference;
  const auto threads = at::get_num_threads();
  for (const auto& [rows, length] : {std::pair{1, 1}, {1, 60}, {9, 5}, {5, 80}, {40, 20}}) {
    const auto ids = torch::randint(1, 20, {rows, length}, torch::kLong);
    auto mask = torch::ones_like(ids);
    if (rows > 1) mask[1].slice(0, length / 2 + 1) = 0;
    if (rows > 2) mask[2].slice(0, 1, length - 2) = 0;
    if (rows > 3) mask[3].slice(0, 2, 4) = 0;
    if (rows > 4 && place == NormPlace::before) mask[4].slice(0, 0, 2) = 0;
    const auto batch = text_batch(ids, mask, torch::zeros_like(ids));
    const auto expected = Model(exact)->forward(batch).logits;
    for (const int n : {1, 2, 3}) {
      INFO(rows << " x " << length << ", " << n << " threads");
      at::set_num_threads(n);
      const auto logits = file(batch);
      const double error = ((logits - expected).norm() / expected.norm()).item<double>();
      CHECK(error < (format == int8 ? 0.1 : format == bfloat16 ? 0.03 : format == float16 ? 5e-3 : 1e-5));
      CHECK(torch::equal(logits, again(batch)));
      if (format != float32) CHECK(torch::equal(logits, model->forward(batch).logits));
      for (int64_t r = 0; r < rows; r += 3) {
        const auto part = [r = r](const torch::Tensor& t) { return t.slice(0, r, r + 1); };
        CHECK(torch::equal(file(text_batch(part(ids), part(mask), part(torch::zeros_like(ids)))), part(logits)));
      }
    }
  }
  at::set_num_threads(threads);

  const auto ids = torch::ones({2, 6}, torch::kLong);
  auto mask = torch::ones_like(ids);
  mask[1][0] = 0;
  const auto batch = text_batch(ids, mask, torch::zeros_like(ids));
  const auto expected = Model(exact)->forward(batch).logits;
  if (place == NormPlace::before) {  // its head reads the mean
    CHECK(((file(batch) - expected).norm() / expected.norm()).item<double>() < 0.1);
  } else {
    CHECK_THAT(message_of<UnsupportedError>([&] { file(batch); }),
               Catch::Contains("found 0 for the first token of text 1 and for all that it attends to"));
    CHECK(((model->forward(batch).logits - expected).norm() / expected.norm()).item<double>() < 0.1);
  }
}

TEST_CASE("a portable file has norms on both sides of attention and FFN; the runtime and the fused training say no") {
  const auto model = model_of_options(Positions::rotary, NormPlace::both);
  CHECK(runtime_lacks(model->config()) == "norms of what attention and FFN give");
  CHECK_FALSE(can_fuse(model->config()));
  const auto ids = torch::randint(1, 20, {3, 12}, torch::kLong);
  auto mask = torch::ones_like(ids);
  mask[1].slice(0, 7) = 0;
  const auto batch = text_batch(ids, mask, torch::zeros_like(ids));
  const auto expected = Model(model)->forward(batch).logits;
  check_close(script_logits(model_script(model).compile())(batch), expected, 1e-5);
  auto capped = model_of_options(Positions::rotary, NormPlace::before)->config();
  capped.layers[1].attention.score_cap = 5.0;
  CHECK(runtime_lacks(capped) == "attention whose scores have a cap");
  CHECK_FALSE(can_fuse(capped));
  // Behind each half stands a norm of its own: of other factors what it gives is another.
  const torch::NoGradGuard no_grad;
  for (const auto role : {Role::attention_result_norm, Role::mlp_result_norm}) {
    model->encoder->layers[0]->norm(role)->weight.mul_(2.0);
    CHECK((Model(model)->forward(batch).logits - expected).abs().max().item<float>() > 1e-3);
    model->encoder->layers[0]->norm(role)->weight.mul_(0.5);
  }
}

TEST_CASE("every family's folder is read without LibTorch, and computes what transformers does") {
  auto names = family_names();
  names.push_back("tiny");
  for (const auto& name : names) {
    INFO(name);
    const auto path = name == "tiny" ? "model/tiny" : "model/families/" + name;
    const auto network = read_network(golden(path));
    const runtime::Encoder encoder(network.state);
    const auto goldens = golden_tensors(path + ".safetensors");
    const auto batch = golden_batch(goldens);
    const auto &ids = batch.input_ids(), &mask = batch.attention_mask();
    const auto types = batch.token_type_ids().defined() ? batch.token_type_ids() : torch::zeros_like(ids);
    const auto logits = torch::empty_like(goldens.at("logits"));
    encoder.forward({ids.const_data_ptr<int64_t>(), mask.const_data_ptr<int64_t>(), types.const_data_ptr<int64_t>(),
                     ids.size(0), ids.size(1)},
                    logits.data_ptr<float>());
    check_close(logits, goldens.at("logits"), 1e-5);
    const c10::InferenceMode inference;
    const ops::Encoder fused(encoder_state(load_model(golden(path)).model));
    CHECK(torch::equal(fused.forward(ids, mask, types), logits));
  }
}

TEST_CASE("every option of a block is written as it is computed") {
  for (const auto positions : {Positions::none, Positions::rotary, Positions::alibi}) {
    for (const auto place : {NormPlace::before, NormPlace::after}) {
      auto model = model_of_options(positions, place);
      const c10::InferenceMode inference;
      auto batch = text_batch(torch::randint(1, 20, {3, 9}), torch::ones({3, 9}, torch::kLong),
                              torch::zeros({3, 9}, torch::kLong));
      const auto file = script_logits(model_script(model).compile());
      check_close(file(batch), model->forward(batch).logits, 1e-5);
      batch["attention_mask"].slice(0, 1, 2).slice(1, 5) = 0;
      check_close(file(batch), model->forward(batch).logits, 1e-5);
    }
  }
}

TEST_CASE("a decoder, alone or behind an encoder, is written as it is computed") {
  const c10::InferenceMode inference;
  for (const std::string name :
       {"bart", "bart_scaled", "llama", "qwen3", "gpt2", "mpt", "gemma2", "gemma3", "gemma3_own"}) {
    INFO(name);
    const auto expected = golden_tensors("model/decoders/" + name + ".safetensors");
    auto model = load_language_model(golden("model/decoders/" + name));
    auto file = language_script(model).compile();
    std::vector<c10::IValue> inputs{expected.at("input_ids"), expected.at("attention_mask")};
    const auto next = model->decoder ? expected.at("decoder_input_ids") : torch::Tensor();
    if (model->decoder) inputs.emplace_back(next);
    const auto logits = model->forward(inputs[0].toTensor(), inputs[1].toTensor(), next);
    check_close(file.forward(inputs).toTensor(), logits, 1e-5);
  }
}

TEST_CASE("files of both runtimes compute what transformers does, where an attention mask has zeros anywhere") {
  auto names = family_names();
  names.push_back("tiny");
  const auto goldens = golden_tensors("model/masks.safetensors");
  const c10::InferenceMode inference;
  for (const auto& name : names) {
    INFO(name);
    auto [model, batch] = with_odd_masks(name, goldens);
    const auto& expected = goldens.at(name + ".logits");
    const auto portable = script_logits(model_script(model).compile());
    check_close(portable(batch), expected, 2e-5);
    const ops::Encoder fused(encoder_state(model));
    const auto states = [&](const torch::Tensor& mask) {
      return fused.last_hidden_state(batch.input_ids(), mask, batch.token_type_ids());
    };
    check_close(states(batch.attention_mask()), goldens.at(name + ".states"), 1e-5);
    for (const auto type : {torch::kBool, torch::kFloat, torch::kInt}) {
      CHECK(torch::equal(states(batch.attention_mask().to(type)), states(batch.attention_mask())));
    }
    if (model->config().input.masks_queries) {
      const auto &ids = batch.input_ids(), &mask = batch.attention_mask(), &types = batch.token_type_ids();
      CHECK_THROWS_WITH(fused.forward(ids, mask, types),
                        Catch::Contains("attention_mask: found 0 for the first token of text 1"));
      const auto part = [](const torch::Tensor& t) { return t.slice(0, 0, 1); };
      check_close(fused.forward(part(ids), part(mask), part(types)), part(expected), 1e-5);
      continue;
    }
    check_close(fused.forward(batch.input_ids(), batch.attention_mask(), batch.token_type_ids()), expected, 1e-5);
  }
}

TEST_CASE("ModernBERT that was cut and quantized is the same in its folder and in its fused file") {
  using enum WeightFormat;
  const auto* name = GENERATE("modernbert", "modernbert_biases");
  const auto [format, activations, bound] =
      GENERATE(table<WeightFormat, ActivationScheme, double>({{float32, ActivationScheme::per_token, 1e-5},
                                                              {int8, ActivationScheme::per_token, 0.2},
                                                              {int8, ActivationScheme::static_per_tensor, 0.2},
                                                              {bfloat16, ActivationScheme::per_token, 0.05}}));
  INFO(name << ", " << enum_name(format) << ", " << static_cast<int>(activations));
  auto [exact, batch] = with_odd_masks(name, golden_tensors("model/masks.safetensors"));
  std::vector<torch::Tensor> kept;  // other heads and units in each layer
  for (const auto& group : exact->prunable_units()) {
    kept.push_back(torch::arange(static_cast<int64_t>(kept.size() / 2 % 2), group.count, 2));
  }
  prune::cut_units(*exact, kept);
  auto model = copy(exact);
  if (format != float32) {
    quantize::Formats formats{format, format, activations};
    if (activations == ActivationScheme::static_per_tensor) {
      formats.input_scales = quantize::calibrate(model, {}, {}, OneBatch(batch, 2), quiet_context({}));
    }
    quantize::quantize(model, formats);
  }
  const auto [file, again] = fused_files(model);
  const c10::InferenceMode inference;
  const auto expected = exact->forward(batch).logits, logits = file(batch);
  CHECK(((logits - expected).norm() / expected.norm()).item<double>() < bound);
  CHECK(torch::equal(logits, again(batch)));
  if (format != float32) CHECK(torch::equal(logits, model->forward(batch).logits));
}

TEST_CASE("heads that read all tokens have the same bits with any number of threads") {
  const auto before = at::get_num_threads();
  for (const auto* name : {"model/tiny", "model/families/electra", "model/families/albert", "model/families/deberta-v2",
                           "model/families/modernbert"}) {
    for (const auto task : {TaskType::masked_lm, TaskType::token_classification}) {
      INFO(name << " " << enum_name(task));
      at::manual_seed(3);
      TaskHead head{.task = task};
      if (task == TaskType::token_classification) head.labels = {"O", "B-A", "I-A"};
      auto model = load_model(golden(name), {.head = head, .new_head = true}).model;
      quantize::quantize(model, {});
      const ops::Encoder fused(encoder_state(model));
      const auto ids = torch::randint(5, 30, {3, 30}, torch::kLong), mask = torch::ones_like(ids),
                 types = torch::zeros_like(ids);
      at::set_num_threads(1);
      const auto expected = fused.last_hidden_state(ids, mask, types);
      for (int again = 0; again < 100; ++again) {
        at::set_num_threads(2 + again % 2);
        CHECK(torch::equal(fused.last_hidden_state(ids, mask, types), expected));
      }
    }
  }
  at::set_num_threads(before);
}

/// Threads of this process.
size_t thread_count() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

TEST_CASE("a fused file that is loaded starts no threads, and is at work in a fork") {
  auto config = tiny_model()->config();  // large enough for LibTorch to share its tensors among threads
  config.hidden_size = 256;
  config.layers = blocks({{4, 512}}, 64, config.layers.front());
  config.vocab_size = 2000;
  config.source = nullptr;
  Model model(config);
  at::manual_seed(1);
  model->initialize();
  model->eval();
  quantize::quantize(model, {});
  const TemporaryFolder folder;
  save_script(model_script(model, Runtime::fused), folder / "model.pt");
  const auto ids = torch::randint(5, 2000, {8, 40}, torch::kLong);
  const auto batch = text_batch(ids, torch::ones_like(ids), torch::zeros_like(ids));
  size_t before = 0, loaded = 0, called = 0;
  bool ended = false;
  int status = -1;
  // A thread of its own has no team yet, whatever ran in this process before.
  std::thread([&] {
    at::get_num_threads();
    omp_set_num_threads(3);
    before = thread_count();
    const auto file = script_logits(load_script(folder / "model.pt"));
    loaded = thread_count();
    const auto child = fork();
    if (child == 0) {
      const c10::InferenceMode inference;
      _exit(file(batch).size(0) == 8 ? 0 : 1);
    }
    for (int i = 0; i < 1000 && !ended; ++i) {
      ended = waitpid(child, &status, WNOHANG) == child;
      if (!ended) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    if (!ended) kill(child, SIGKILL);
    const c10::InferenceMode inference;
    file(batch);
    called = thread_count();
  }).join();
  CHECK(loaded == before);
  CHECK(ended);
  CHECK(status == 0);
  CHECK(called > loaded);  // so that threads would have been seen
}

TEST_CASE("input scales that the fused runtime cannot have are refused") {
  auto model = tiny_model();
  quantize_statically(model);
  auto state = encoder_state(model);
  state.tensors.insert_or_assign("layer.1.key.input_scale", torch::full({1}, 0.25f));
  CHECK_THROWS_WITH(ops::Encoder(state),
                    Catch::Contains("layer.1: query, key and value read one input") && Catch::Contains("0.25"));
  state = encoder_state(model);
  state.tensors.insert_or_assign("layer.2.output.input_scale", torch::zeros({1}));
  CHECK_THROWS_WITH(ops::Encoder(state), Catch::Contains("layer.2.output.input_scale: found 0"));
  state = encoder_state(model);
  const auto kept = ops::Encoder(state).state();
  CHECK(kept.tensors.size() == state.tensors.size());
  for (const auto& entry : state.tensors) CHECK(torch::equal(kept.tensors.at(entry.key()), entry.value()));
}

TEST_CASE("the fused runtime's file refuses what does not fit, in words") {
  auto model = tiny_model();
  const TemporaryFolder folder;
  save_script(model_script(model, Runtime::fused), folder / "model.pt");
  const auto file = script_logits(load_script(folder / "model.pt"));
  const auto batch_of = [](const torch::Tensor& ids) {
    return text_batch(ids, torch::ones_like(ids), torch::zeros_like(ids));
  };
  CHECK_THAT(message_of<UnsupportedError>([&] { file(batch_of(torch::zeros({1, 4096}, torch::kLong))); }),
             Catch::Contains("4096"));
  CHECK_THAT(message_of<UnsupportedError>([&] { file(batch_of(torch::full({1, 3}, 1 << 20, torch::kLong))); }),
             Catch::Contains("token id"));
  auto state = encoder_state(model);
  CHECK(state.tensors.erase("layer.1.output.weight") == 1);
  CHECK_THROWS_WITH(ops::Encoder(state), Catch::Contains("layer.1.output"));
  state = encoder_state(model);
  state.tensors.insert_or_assign("layer.0.key.weight", torch::zeros({3, 3}));
  CHECK_THROWS_WITH(ops::Encoder(state), Catch::Contains("layer.0.key: found 3 rows"));
  state = encoder_state(model);
  state.numbers.insert_or_assign("format", 7.0);
  CHECK_THROWS_WITH(ops::Encoder(state), Catch::Contains("format is 7"));
}

TEST_CASE("a file whose logits differ is refused with the difference") {
  auto model = tiny_model();
  const auto context = quiet_context({});
  const OneBatch source(golden_batch(golden_tensors("model/tiny.safetensors")));
  const auto own = [&](const Batch& batch) { return model->forward(batch).logits; };
  const auto parity = check_parity(own, own, source, {0.0, 0.0}, "model.pt", context);
  CHECK(parity.largest_difference == 0.0);
  CHECK(parity.file.total == 6);
  const auto off = [&](const Batch& batch) { return model->forward(batch).logits + 0.01; };
  CHECK_THAT(message_of<CheckpointError>([&] { check_parity(own, off, source, {}, "model.pt", context); }),
             Catch::Contains("model.pt") && Catch::Contains("0.01"));
  const auto times = [&](double by) {
    return [&, by](const Batch& batch) -> torch::Tensor { return model->forward(batch).logits * by; };
  };
  const auto large = times(1000.0), larger = times(1000.1);  // as float32 rounds numbers of such a size
  const auto relative = check_parity(large, larger, source, {.absolute = 1e-3, .relative = 1e-3}, "model.pt", context);
  CHECK(relative.relative_difference == Approx(1e-4).epsilon(0.02));
  CHECK_THROWS_AS(check_parity(large, larger, source, {.absolute = 1e-3, .relative = 0.0}, "model.pt", context),
                  CheckpointError);
  const auto broken = [&](const Batch& batch) { return model->forward(batch).logits / 0.0; };
  CHECK_THROWS_AS(check_parity(own, broken, source, {INFINITY, 1.0}, "model.pt", context), CheckpointError);
}

TEST_CASE("a metric that differs by rounding ends nothing: what a file and its model reach is told") {
  auto model = tiny_model();
  const auto context = quiet_context({});
  auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  batch["labels"] = torch::zeros_like(batch.labels());
  const OneBatch source(batch);
  // Two classes as good as each other: the smallest difference of logits is another answer.
  const auto tie = [](double more) {
    return [more](const Batch& texts) {
      return torch::tensor({{1.0, 1.0 + more, 0.0}}, torch::kFloat).repeat({texts.size(), 1});
    };
  };
  const auto parity = check_parity(tie(-1e-6), tie(1e-6), source, {}, "model.pt", context);
  CHECK(parity.model.value() != parity.file.value());
}

TEST_CASE("a file that is not TorchScript is a clear error") {
  const TemporaryFolder folder;
  CHECK_THAT(message_of<CheckpointError>([&] { load_script(folder / "none.pt"); }), Catch::Contains("no such file"));
  write_file(folder / "text.pt", "not a model");
  CHECK_THAT(message_of<CheckpointError>([&] { load_script(folder / "text.pt"); }), Catch::Contains("text.pt"));
  save_script(model_script(tiny_model()), folder / "model.pt");
  const auto whole = read_file(folder / "model.pt");
  for (const size_t size : {size_t{0}, size_t{10}, whole.size() / 2, whole.size() - 1}) {
    write_file(folder / "cut.pt", whole.substr(0, size));
    CHECK_THROWS_AS(load_script(folder / "cut.pt"), CheckpointError);
  }
}

TEST_CASE("a module of any kind can be written") {
  Script script({"x", "y"});
  const auto weight = torch::tensor({{1.0f, 2.0f}}), bias = torch::tensor({3.0f});
  const auto h = script.let(script.linear("head.dense", weight, bias, "x"));
  script.line("if bool(torch.all(y)):");
  script.line("  " + h + " = " + h + " + y");
  script.returns(h);
  const TemporaryFolder folder;
  save_script(script, folder / "m.pt");
  auto module = load_script(folder / "m.pt");
  const auto out = module.forward({torch::tensor({{1.0f, 1.0f}}), torch::ones({1})}).toTensor();
  CHECK(out.item<float>() == 7.0f);
}

TEST_CASE("a folder that is not there is an error that names the file") {
  CHECK_THAT(message_of<StorageError>([] { save_script(model_script(tiny_model()), "/nonexistent/model.pt"); }),
             Catch::Contains("/nonexistent/model.pt"));
}

}  // namespace
}  // namespace compression::exporter
