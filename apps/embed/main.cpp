// A program with a model, data and a training loop of its own, which makes the model small with the parts of compress:
// distils it, scores and cuts its hidden units, distils again, and writes TorchScript. Exits with 1 if a step is off.

#include <torch/torch.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "compress/model/units.h"  // Prunable, UnitGroup
#include "distill/objective.h"     // DistillationLoss
#include "export/script.h"         // Script
#include "prune/cut.h"             // choose_units, cut_units
#include "prune/importance.h"      // score_units

namespace {

using torch::Tensor;
namespace distill = compression::distill;
namespace exporter = compression::exporter;
namespace prune = compression::prune;

constexpr int64_t kHeight = 10, kWidth = 9, kPixels = kHeight * kWidth, kClasses = 10, kBatch = 64;

/// x + out(silu(gate(x)) * value(x))
struct GatedBlockImpl : torch::nn::Module {
  GatedBlockImpl(int64_t width, int64_t units)
      : gate(register_module("gate", torch::nn::Linear(width, units))),
        value(register_module("value", torch::nn::Linear(width, units))),
        out(register_module("out", torch::nn::Linear(units, width))) {}

  Tensor forward(const Tensor& x) {
    auto units = torch::silu(gate(x)) * value(x);
    if (mask.defined()) units = units * mask;
    return x + out(units);
  }

  torch::nn::Linear gate, value, out;
  Tensor mask;
};
TORCH_MODULE(GatedBlock);

/// Reads a digit from a small noisy picture.
struct ReaderImpl : torch::nn::Module, compression::Prunable {
  ReaderImpl(int64_t width, int64_t layers, int64_t units)
      : embed(register_module("embed", torch::nn::Linear(kPixels, width))),
        head(register_module("head", torch::nn::Linear(width, kClasses))) {
    for (int64_t i = 0; i < layers; ++i) {
      blocks.push_back(register_module("block" + std::to_string(i), GatedBlock(width, units)));
    }
  }

  Tensor forward(const Tensor& pixels) {
    auto x = embed(pixels);
    for (auto& block : blocks) x = block(x);
    return head(x);
  }

  std::vector<compression::UnitGroup> prunable_units() override {
    std::vector<compression::UnitGroup> groups;
    for (auto& block : blocks) {
      groups.push_back({.kind = compression::UnitKind::intermediate,
                        .layer = static_cast<int64_t>(groups.size()),
                        .count = block->gate->weight.size(0),
                        .rows = {block->gate->weight, block->gate->bias, block->value->weight, block->value->bias},
                        .columns = {block->out->weight},
                        .mask = &block->mask});
    }
    return groups;
  }

  int64_t parameter_count() const {
    int64_t count = 0;
    for (const auto& parameter : parameters()) count += parameter.numel();
    return count;
  }

  torch::nn::Linear embed, head;
  std::vector<GatedBlock> blocks;
};
TORCH_MODULE(Reader);

struct Digits {
  Tensor pixels;  // [count, kPixels]
  Tensor labels;  // [count]
};

/// 5x7 digits, each somewhere on a larger canvas, under noise.
Digits draw_digits(int64_t count) {
  constexpr uint8_t columns[kClasses][5] = {// the lowest bit is the top pixel
                                            {0x3E, 0x51, 0x49, 0x45, 0x3E}, {0x00, 0x42, 0x7F, 0x40, 0x00},
                                            {0x42, 0x61, 0x51, 0x49, 0x46}, {0x21, 0x41, 0x45, 0x4B, 0x31},
                                            {0x18, 0x14, 0x12, 0x7F, 0x10}, {0x27, 0x45, 0x45, 0x45, 0x39},
                                            {0x3C, 0x4A, 0x49, 0x49, 0x30}, {0x01, 0x71, 0x09, 0x05, 0x03},
                                            {0x36, 0x49, 0x49, 0x49, 0x36}, {0x06, 0x49, 0x49, 0x29, 0x1E}};
  auto pixels = 0.3 * torch::randn({count, kHeight, kWidth});
  const auto labels = torch::randint(kClasses, {count}, torch::kLong);
  const auto tops = torch::randint(kHeight - 7 + 1, {count}), lefts = torch::randint(kWidth - 5 + 1, {count});
  auto pixel = pixels.accessor<float, 3>();
  for (int64_t i = 0; i < count; ++i) {
    const auto top = tops[i].item<int64_t>(), left = lefts[i].item<int64_t>(), digit = labels[i].item<int64_t>();
    for (int64_t x = 0; x < 5; ++x) {
      for (int64_t y = 0; y < 7; ++y) pixel[i][top + y][left + x] += static_cast<float>(columns[digit][x] >> y & 1);
    }
  }
  return {pixels.flatten(1), labels};
}

/// A user's own training loop.
void train(Reader& model, const Digits& data, int epochs, const std::function<Tensor(const Digits&)>& loss_of) {
  torch::optim::AdamW optimizer(model->parameters(), torch::optim::AdamWOptions(3e-3).weight_decay(0.01));
  for (int epoch = 0; epoch < epochs; ++epoch) {
    for (auto& group : optimizer.param_groups()) group.options().set_lr(3e-3 * (epochs - epoch) / epochs);
    for (const auto& rows : torch::randperm(data.labels.size(0)).split(kBatch)) {
      optimizer.zero_grad();
      loss_of({data.pixels.index_select(0, rows), data.labels.index_select(0, rows)}).backward();
      optimizer.step();
    }
  }
}

Tensor logits_of(Reader& model, const Tensor& pixels) {
  const torch::NoGradGuard no_grad;
  return model(pixels);
}

double accuracy(const Tensor& logits, const Digits& data) {
  return logits.argmax(1).eq(data.labels).to(torch::kDouble).mean().item<double>();
}

double largest_difference(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>();
}

exporter::Script as_script(const Reader& model) {
  exporter::Script script({"pixels"});
  const auto linear = [&](const std::string& name, const torch::nn::Linear& layer, const std::string& x) {
    return script.let(script.linear(name, layer->weight, layer->bias, x));
  };
  auto x = linear("embed", model->embed, "pixels");
  for (size_t i = 0; i < model->blocks.size(); ++i) {
    const auto& block = model->blocks[i];
    const auto name = "block" + std::to_string(i);
    const auto gate = linear(name + ".gate", block->gate, x), value = linear(name + ".value", block->value, x);
    const auto out = linear(name + ".out", block->out, "torch.silu(" + gate + ") * " + value);
    x = script.let(x + " + " + out);
  }
  script.returns(linear("head", model->head, x));
  return script;
}

void expect(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error("expected " + what);
}

void run(const std::filesystem::path& file) {
  torch::manual_seed(17);
  torch::set_num_threads(1);  // sums in the same order everywhere
  const auto training = draw_digits(12000), test = draw_digits(4000);
  const auto report = [&](const char* step, Reader& model) {
    const auto share = accuracy(logits_of(model, test.pixels), test);
    std::printf("%-10s accuracy %.3f   %6ld parameters\n", step, share, static_cast<long>(model->parameter_count()));
    return share;
  };

  Reader teacher(64, 3, 192);
  train(teacher, training, 8,
        [&](const Digits& batch) { return torch::cross_entropy_loss(teacher(batch.pixels), batch.labels); });
  const auto teacher_accuracy = report("teacher", teacher);
  expect(teacher_accuracy > 0.9, "a teacher that reads nine digits of ten");

  Reader student(48, 2, 96);
  const distill::DistillationLoss loss({{.type = distill::LossType::logits, .weight = 0.9, .temperature = 3.0},
                                        {.type = distill::LossType::labels, .weight = 0.1}},
                                       {.layers = 2, .hidden_size = 48}, {.layers = 3, .hidden_size = 64});
  const auto from_teacher = [&](const Digits& batch) {
    return loss({student(batch.pixels)}, {logits_of(teacher, batch.pixels)}, batch.labels, /*mask=*/{});
  };
  train(student, training, 8, from_teacher);
  const auto student_accuracy = report("student", student);
  expect(student_accuracy > teacher_accuracy - 0.03, "a student within 3 points of its teacher");

  int64_t next = 0;  // scored on examples that were trained on, never on the test
  const auto importance = prune::score_units(*student, [&]() -> std::optional<Tensor> {
    if (next == 2048) return std::nullopt;
    const Digits batch = {training.pixels.narrow(0, next, kBatch), training.labels.narrow(0, next, kBatch)};
    next += kBatch;
    return from_teacher(batch);
  });
  const auto kept = prune::choose_units(importance, {.intermediate_size = 32});
  prune::mask_units(*student, kept);
  const auto masked = logits_of(student, test.pixels);
  prune::cut_units(*student, kept);
  const auto difference = largest_difference(masked, logits_of(student, test.pixels));
  report("cut", student);
  std::printf("           differs from the masked model by %.1e\n", difference);
  expect(difference < 1e-5, "a cut model that computes what the masked one did");

  train(student, training, 8, from_teacher);
  const auto recovered_accuracy = report("recovered", student);
  expect(recovered_accuracy > student_accuracy - 0.03, "a pruned student within 3 points of the whole one");

  exporter::save_script(as_script(student), file);
  auto loaded = exporter::load_script(file);
  const auto from_file = loaded.forward({test.pixels}).toTensor();
  const auto error = largest_difference(from_file, logits_of(student, test.pixels));
  std::printf("%-10s accuracy %.3f   %6ld bytes, differs by %.1e\n", "exported", accuracy(from_file, test),
              static_cast<long>(std::filesystem::file_size(file)), error);
  expect(error < 1e-5, "a file that computes what the model does");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc > 1 ? argv[1] : "digits.pt");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "embed: %s\n", error.what());
    return 1;
  }
}
