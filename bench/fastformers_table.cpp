// FastFormers' table (arXiv 2010.13382): seconds for all test texts, one a call, after each step of the chain.
//   fastformers_table --data test.jsonl [--length 512] [--threads N] NAME=MODEL[,padded][,instances=N]...
// MODEL is a stage's folder, a model folder or a model.pt. Texts are cut to --length tokens; `padded` computes all of
// them at that length, as a server of fixed shapes does. With `instances`, so many texts are under way at once
// (compress/evaluate/instances.h). Steps run one after the other, each once over all texts, after a warm-up.
// bench/fastformers_table.yaml makes the models. Prints a table in Markdown, a row as soon as it is known; speed-ups
// count from the first step.

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "bench/program.h"                // run_program
#include "compress/base/error.h"          // ConfigError
#include "compress/evaluate/instances.h"  // run_instances
#include "datasets/encoded.h"             // make_batch_source
#include "datasets/examples.h"            // labels_of
#include "recipes/runnable.h"             // open_model

namespace {

using namespace compression;
using namespace compression::bench;

constexpr std::string_view kUsage =
    "usage: fastformers_table --data test.jsonl [--length 512] [--threads N] NAME=MODEL[,padded][,instances=N]...\n";

struct Step {
  std::string name;
  std::filesystem::path model;
  bool padded = false;
  int64_t instances = 1;
};

struct Options {
  std::filesystem::path data;
  int64_t length = 512, threads = default_threads();
  std::vector<Step> steps;
};

Step parse_step(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UsageError(fmt::format("found \"{}\", expected NAME=MODEL[,padded][,instances=N]", text));
  }
  Step step{.name = text.substr(0, equals)};
  auto rest = text.substr(equals + 1);
  const auto take = [&] {
    const auto comma = rest.find(',');
    const auto part = rest.substr(0, comma);
    rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
    return part;
  };
  step.model = take();
  while (!rest.empty()) {
    const auto part = take();
    const std::string instances = "instances=";
    if (part == "padded") {
      step.padded = true;
    } else if (part.starts_with(instances)) {
      step.instances = number<int64_t>("instances", part.substr(instances.size()), 1);
    } else {
      throw UsageError(fmt::format("{}: found \"{}\", expected padded or instances=N", step.name, part));
    }
  }
  return step;
}

Options parse(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto& option = arguments[i];
    if (!option.starts_with("--")) {
      options.steps.push_back(parse_step(option));
      continue;
    }
    if (++i == arguments.size()) throw UsageError(option + ": a value is missing");
    const auto& value = arguments[i];
    if (option == "--data") {
      options.data = value;
    } else if (option == "--length") {
      options.length = number<int64_t>(option, value, 8);
    } else if (option == "--threads") {
      options.threads = number<int64_t>(option, value, 1);
    } else {
      throw UsageError(option + ": no such option");
    }
  }
  if (options.data.empty() || options.steps.empty()) throw UsageError("--data and a step are needed");
  return options;
}

/// One text, of which all tokens up to `length` are computed.
Batch padded(const Batch& batch, int64_t length, int64_t pad_id) {
  const auto widen = [&](const torch::Tensor& t, int64_t value) {
    return torch::constant_pad_nd(t, {0, length - t.size(1)}, value);
  };
  auto wide = batch;
  wide["input_ids"] = widen(batch.input_ids(), pad_id);
  wide["attention_mask"] = widen(batch.attention_mask(), 0);
  wide["token_type_ids"] = widen(batch.token_type_ids(), 0);
  return wide;
}

struct Measured {
  double seconds = 0.0, accuracy = 0.0;
};

Measured measure(const Step& step, const Options& options) {
  const auto model = recipes::open_model(step.model);
  if (!model.config) throw ConfigError(fmt::format("{}: no config.json beside it", step.model.string()));
  const TaskHead head{.labels = model.config->labels, .task = model.config->task};
  const auto data = datasets::read_dataset({.path = options.data}, /*labelled=*/true, head.task);
  const auto length = std::min(options.length, model.config->max_length());
  const auto source =
      datasets::make_batch_source(datasets::encode_examples(data, datasets::labels_of(data, head), head,
                                                            Metric::accuracy, *model.tokenizer, {.max_length = length}),
                                  model.tokenizer->pad_id(), {.batch_size = 1});
  std::vector<Batch> texts;
  for (const auto& examples : source->plan(0)) {
    const auto text = source->collate(examples);
    texts.push_back(step.padded ? padded(text, length, model.tokenizer->pad_id()) : text);
  }
  std::vector<int64_t> guesses(texts.size());
  const auto answer = [&](size_t i) { guesses[i] = model.logits(texts[i]).argmax(-1).item<int64_t>(); };
  std::atomic<size_t> next{0};
  {
    const c10::InferenceMode inference;
    for (size_t i = 0; i < std::min<size_t>(3, texts.size()); ++i) answer(i);  // warm-up
  }
  const auto start = std::chrono::steady_clock::now();
  run_instances(step.instances, [&](int64_t) {
    const c10::InferenceMode inference;
    for (auto i = next++; i < texts.size(); i = next++) answer(i);
  });
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  int64_t correct = 0;
  for (size_t i = 0; i < texts.size(); ++i) correct += guesses[i] == texts[i].labels().item<int64_t>() ? 1 : 0;
  return {taken.count(), static_cast<double>(correct) / static_cast<double>(texts.size())};
}

int run(const Options& options) {
  at::set_num_threads(static_cast<int>(options.threads));
  std::cout << fmt::format("{}, one text a call, up to {} tokens, {} threads\n\n", options.data.string(),
                           options.length, options.threads)
            << "| step | seconds | speed-up | accuracy |\n|---|---:|---:|---:|\n"
            << std::flush;
  double first = 0.0;
  for (const auto& step : options.steps) {
    const auto [seconds, accuracy] = measure(step, options);
    if (first == 0.0) first = seconds;
    std::cout << fmt::format("| {} | {:.2f} | {:.1f} | {:.2f} |\n", step.name, seconds, first / seconds, 100 * accuracy)
              << std::flush;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return run_program(argc, argv, kUsage, parse, run);
}
