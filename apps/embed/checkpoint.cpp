// A Hugging Face checkpoint in a program with a training loop of its own: loads it, scores its heads and FFN units with
// a loss of its own, cuts them, distils what is left in its own loop, quantizes it, writes TorchScript, and saves one
// folder that `compress predict` takes. Exits with 1 if a step is off.
//   checkpoint FOLDER OUTPUT

#include <torch/torch.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "compress/model_folder/model_folder.h"  // load_model, save_model
#include "compress/tokenizer/tokenizer.h"        // load_tokenizer
#include "datasets/encoded.h"                    // make_batch
#include "distill/objective.h"                   // DistillationLoss
#include "export/model_script.h"                 // model_script, load_script
#include "prune/cut.h"                           // choose_units, cut_units
#include "quantize/convert.h"                    // quantize

namespace {

namespace fs = std::filesystem;
using namespace compression;
using torch::Tensor;

/// Texts as a model reads them, padded to the longest.
Batch batch_of(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  std::vector<TextInput> inputs;
  for (const auto& text : texts) inputs.push_back({text, {}});
  return datasets::make_batch(tokenizer.encode_batch(inputs, {.max_length = 32}), tokenizer.pad_id());
}

/// Short texts of the vocabulary's own words.
std::vector<Batch> some_batches(const Tokenizer& tokenizer) {
  const std::vector<std::string> words = {"the", "and", "of", "a", "in", "to", "is", "it"};
  std::vector<Batch> batches;
  for (int b = 0; b < 8; ++b) {
    std::vector<std::string> texts;
    for (int i = 0; i < 16; ++i) {
      std::string text;
      const auto picked = torch::randint(static_cast<int64_t>(words.size()), {4 + i % 8}, torch::kLong);
      for (int64_t w = 0; w < picked.size(0); ++w) text += words[static_cast<size_t>(picked[w].item<int64_t>())] + " ";
      texts.push_back(text);
    }
    batches.push_back(batch_of(tokenizer, texts));
  }
  return batches;
}

void expect(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(std::string("expected ") + what);
}

void run(const fs::path& folder, const fs::path& output) {
  torch::manual_seed(7);
  auto teacher = load_model(folder).model;
  const auto tokenizer = load_tokenizer(folder);
  const auto batches = some_batches(*tokenizer);

  // The loss is the program's own: here, how far the student's answers are from the teacher's, on logits and hidden
  // states.
  auto student = copy(teacher);
  const distill::DistillationLoss loss(
      {{.type = distill::LossType::logits, .temperature = 2.0}, {.type = distill::LossType::hidden_states}},
      distill::shape_of(student), distill::shape_of(teacher));
  const auto loss_on = [&](const Batch& batch) {
    ModelOutput target;
    {
      const torch::NoGradGuard no_grad;
      target = teacher->forward(batch, loss.capture());
    }
    return loss(student->forward(batch, loss.capture()), target, {}, batch.attention_mask);
  };

  // Scored on cross-entropy with its own answers, half of the heads and of the FFN units go.
  size_t next = 0;
  const auto importance = prune::score_units(*student, [&]() -> std::optional<Tensor> {
    if (next == batches.size()) return std::nullopt;
    const auto& batch = batches[next++];
    const auto logits = student->forward(batch).logits;
    return torch::nn::functional::cross_entropy(logits, logits.argmax(1));
  });
  const auto& whole = teacher->config().layers.front();
  prune::cut_units(*student, prune::choose_units(importance, {.heads = whole.attention.heads / 2,
                                                              .intermediate_size = whole.mlp.units / 2}));
  const auto mean_loss = [&] {
    const torch::NoGradGuard no_grad;
    double sum = 0.0;
    for (const auto& batch : batches) sum += loss_on(batch).item<double>();
    return sum / static_cast<double>(batches.size());
  };
  const double cut = mean_loss();

  student->train();
  student->set_dropout(0.0, 0.0);
  torch::optim::AdamW optimizer(student->parameters(), torch::optim::AdamWOptions(1e-3));
  for (int epoch = 0; epoch < 10; ++epoch) {
    for (const auto& batch : batches) {
      optimizer.zero_grad();
      loss_on(batch).backward();
      optimizer.step();
    }
  }
  student->eval();
  const double recovered = mean_loss();
  std::printf("loss after the cut %.4f, distilled %.4f\n", cut, recovered);
  expect(recovered < 0.8 * cut, "a loss that distillation brings down by a fifth");

  quantize::quantize(student, {});
  save_model(student, *tokenizer, output);
  exporter::save_script(exporter::model_script(student, exporter::Runtime::fused), output / "model.pt");

  auto again = load_model(output).model;
  const auto file = exporter::script_logits(exporter::load_script(output / "model.pt"));
  const torch::NoGradGuard no_grad;
  const auto logits = again->forward(batches.front()).logits;
  expect(torch::equal(logits, student->forward(batches.front()).logits),
         "a saved folder that computes what the model does");
  expect(torch::equal(file(batches.front()), logits), "a fused file that computes what its folder does");
  expect(again->config().labels == teacher->config().labels, "the teacher's labels");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: checkpoint FOLDER OUTPUT\n");
    return 2;
  }
  try {
    run(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "checkpoint: %s\n", error.what());
    return 1;
  }
}
