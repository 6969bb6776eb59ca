// Models for embedding in TorchScript files.
#include "export/model_script.h"
#include "tests/support.h"

namespace compression::exporter {
namespace {

using namespace testing;

TEST_CASE("model.pt of a model for embedding pools, projects and divides as the model does") {
  using Steps = std::vector<EmbeddingStep>;
  const auto dense = [](int64_t in, int64_t out, Activation activation, bool bias = true) {
    return EmbeddingStep{.dense = true, .in = in, .out = out, .bias = bias, .activation = activation};
  };
  const EmbeddingStep norm;
  std::vector<EmbeddingOptions> all;
  std::vector<Pooling> every;
  for (const auto& [pooling, name] : enum_names(Pooling{})) {
    all.push_back({.pooling = {pooling}, .steps = Steps{}});
    every.push_back(pooling);
  }
  all.push_back({.pooling = every, .steps = {norm}});
  all.push_back({.pooling = {Pooling::mean, Pooling::cls}, .steps = {dense(24, 7, Activation::tanh), norm}});
  for (const auto& [activation, name] : enum_names(Activation{})) {
    all.push_back({.steps = {norm, dense(12, 5, activation), dense(5, 3, activation, /*bias=*/false)}});
  }
  at::manual_seed(3);
  for (const auto& options : all) {
    auto config = load_model_config(golden("sentence/model"));
    config.embedding = options;
    Model model(config);
    model->initialize();
    model->eval();
    const TemporaryFolder folder;
    const auto file_of = [&](Runtime runtime) {
      save_script(model_script(model, runtime), folder / "model.pt");
      return script_logits(load_script(folder / "model.pt"));
    };
    const auto file = file_of(Runtime::portable), fused = file_of(Runtime::fused);
    const c10::InferenceMode inference;
    for (const auto& [rows, length] : {std::pair{1, 1}, {3, 9}, {2, 32}}) {
      const auto ids = torch::randint(0, 34, {rows, length}, torch::kLong);
      auto mask = torch::ones_like(ids);
      if (rows > 1) mask[1].slice(0, length / 2) = 0;
      const auto batch = text_batch(ids, mask, torch::zeros_like(ids));
      const auto own = model->forward(batch).logits;
      CHECK(own.sizes() == torch::IntArrayRef({rows, config.embedding_width()}));
      check_close(file(batch), own, 1e-5);
      check_close(fused(batch), own, 1e-5);
    }
  }
}

}  // namespace
}  // namespace compression::exporter
