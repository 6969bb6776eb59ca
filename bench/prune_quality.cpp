// What pruning without training costs in accuracy, as a table method x budget:
//   prune_quality --teacher DIR --data DIR [--budgets 1.5,2,3.6] [--importance first_order,...]
//     [--allocation uniform,global,macs] [--rounds 1,8] [--reconstruct none,rescale,least_squares,layerwise]
//     [--per-text no,yes]
//     [--score-texts N] [--calibration-texts N] [--damping X] [--max-length N] [--batch-size N] [--seed N] [--threads
//     N]
// DIR of --teacher is a classifier, that of --data holds train.jsonl, validation.jsonl and test.jsonl with fields text
// and label. Budgets are of the encoder's multiply-adds: 1.5 keeps 2/3 of the heads and FFN units of every layer, 2 a
// half, 3.6 a third of the heads and a quarter of the FFN units, 6 and 12 a sixth and a twelfth of both; allocation
// macs gives each the same multiply-adds.
// Every combination of what the options list is a row. Scores and reconstruction are on training texts. Prints a table
// in Markdown, a row as soon as it is known: choices are to be made on the validation texts.

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "bench/program.h"                       // run_program, texts_of
#include "compress/evaluate/evaluate.h"          // evaluate
#include "compress/model_folder/model_folder.h"  // load_model
#include "compress/spec/cost.h"                  // encoder_macs
#include "prune/reconstruct.h"                   // reconstruct
#include "prune/rounds.h"                        // prune_in_rounds
#include "recipes/task_data.h"                   // TaskData

namespace {

using namespace compression;
using namespace compression::bench;
using namespace compression::prune;

constexpr std::string_view kUsage =
    "usage: prune_quality --teacher DIR --data DIR [--budgets 1.5,2,3.6] [--importance first_order,...]\n"
    "       [--allocation uniform,global,macs] [--rounds 1,8] [--reconstruct none,rescale,least_squares,layerwise]\n"
    "       [--per-text no,yes] [--score-texts N] [--calibration-texts N] [--damping X] [--max-length N]\n"
    "       [--batch-size N] [--seed N] [--threads N]\n";

/// Shares of a layer that a budget keeps.
struct Shares {
  double heads, units;
};
const std::map<std::string, Shares> kBudgets = {{"1.5", {2.0 / 3, 2.0 / 3}},
                                                {"2", {0.5, 0.5}},
                                                {"3.6", {1.0 / 3, 0.25}},
                                                {"6", {1.0 / 6, 1.0 / 6}},
                                                {"12", {1.0 / 12, 1.0 / 12}}};

struct Options {
  std::filesystem::path teacher, data;
  std::vector<std::string> budgets = {"1.5", "2", "3.6"}, importance = {"first_order"}, allocation = {"uniform"},
                           rounds = {"1"}, reconstruct = {"none"}, per_text = {"no"};
  int64_t score_texts = 1024, calibration_texts = 2048, max_length = 64, batch_size = 32, seed = 0;
  int64_t threads = default_threads();
  double damping = ReconstructConfig{}.damping;
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

template <class E>
E named(const std::string& option, const std::string& text) {
  for (const auto& [value, name] : enum_names(E{})) {
    if (name == text) return value;
  }
  throw UsageError(fmt::format("{}: found \"{}\", which is none of them", option, text));
}

Options parse(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i + 1 < arguments.size(); i += 2) {
    const auto &option = arguments[i], &value = arguments[i + 1];
    const auto integer = [&](int64_t least) { return number<int64_t>(option, value, least); };
    if (option == "--teacher") {
      options.teacher = value;
    } else if (option == "--data") {
      options.data = value;
    } else if (option == "--budgets") {
      options.budgets = split(value);
    } else if (option == "--importance") {
      options.importance = split(value);
    } else if (option == "--allocation") {
      options.allocation = split(value);
    } else if (option == "--rounds") {
      options.rounds = split(value);
    } else if (option == "--reconstruct") {
      options.reconstruct = split(value);
    } else if (option == "--per-text") {
      options.per_text = split(value);
    } else if (option == "--score-texts") {
      options.score_texts = integer(0);
    } else if (option == "--calibration-texts") {
      options.calibration_texts = integer(0);
    } else if (option == "--damping") {
      options.damping = number<double>(option, value, 1e-12);
    } else if (option == "--max-length") {
      options.max_length = integer(3);
    } else if (option == "--batch-size") {
      options.batch_size = integer(1);
    } else if (option == "--seed") {
      options.seed = integer(0);
    } else if (option == "--threads") {
      options.threads = integer(1);
    } else {
      throw UsageError(option + ": no such option");
    }
  }
  if (arguments.size() % 2 != 0) throw UsageError(arguments.back() + ": needs a value");
  if (options.teacher.empty() || options.data.empty()) throw UsageError("--teacher and --data are needed");
  return options;
}

/// A row of the table, as settings of the pruning stage.
struct Method {
  std::string budget, allocation;
  ScoreConfig score;
  Reconstruction reconstruct;
  int64_t rounds;
};

std::vector<Method> methods(const Options& options) {
  std::vector<Method> all;
  for (const auto& budget : options.budgets) {
    if (!kBudgets.contains(budget))
      throw UsageError(fmt::format("--budgets: found \"{}\", expected 1.5, 2, 3.6, 6 or 12", budget));
    for (const auto& importance : options.importance) {
      for (const auto& per_text : options.per_text) {
        for (const auto& allocation : options.allocation) {
          for (const auto& rounds : options.rounds) {
            for (const auto& reconstruct : options.reconstruct) {
              ScoreConfig score;
              score.importance = named<ImportanceMethod>("--importance", importance);
              score.per_text = per_text == "yes";
              all.push_back({budget, allocation, score, named<Reconstruction>("--reconstruct", reconstruct),
                             number<int64_t>("--rounds", rounds, 1)});
            }
          }
        }
      }
    }
  }
  return all;
}

BudgetConfig budget_config(const Method& method, const ModelConfig& whole, int64_t length) {
  const auto [head_share, unit_share] = kBudgets.at(method.budget);
  auto smaller = whole;
  for (auto& layer : smaller.layers) {
    layer.attention.heads = std::llround(head_share * static_cast<double>(layer.attention.heads));
    layer.mlp.units = std::llround(unit_share * static_cast<double>(layer.mlp.units));
  }
  BudgetConfig budget;
  if (method.allocation == "macs") {
    budget.macs_reduction =
        static_cast<double>(encoder_macs(whole, length)) / static_cast<double>(encoder_macs(smaller, length));
  } else {
    budget.allocation = named<Allocation>("--allocation", method.allocation);
    budget.heads = smaller.layers.front().attention.heads;
    budget.intermediate_size = smaller.layers.front().mlp.units;
  }
  return budget;
}

int run(const Options& options) {
  at::set_num_threads(static_cast<int>(options.threads));
  auto context = quiet_context(options.seed);
  const recipes::TaskData data({}, texts_of(options.data, options.max_length));
  const auto tokenizer = load_tokenizer(options.teacher);
  auto teacher = load_model(options.teacher, {.head = data.head()}).model;
  const auto texts = [&](int64_t count, int64_t batch_size) {
    return data.batches(Split::train, *tokenizer,
                        {.batch_size = batch_size, .seed = context.seed, .max_examples = count});
  };
  const auto scored = texts(options.score_texts, options.batch_size);
  const auto calibration = texts(options.calibration_texts, 32);

  const auto accuracy = [&](Model& model, Split split) {
    model->set_fused(Arithmetic::float32);
    const auto logits = [&](const Batch& batch) { return model->forward(batch).logits; };
    const auto reached = evaluate(logits, *data.batches(split, *tokenizer, {}), context).value();
    model->set_fused(std::nullopt);
    return 100 * reached;
  };
  const auto teacher_validation = accuracy(teacher, Split::validation), teacher_test = accuracy(teacher, Split::test);
  fmt::print("teacher: validation {:.2f}, test {:.2f}\n\n", teacher_validation, teacher_test);
  fmt::print(
      "| budget | scores | kept | rounds | reconstruction | multiply-adds | validation | test | drop | seconds |\n");
  fmt::print("|---|---|---|---:|---|---:|---:|---:|---:|---:|\n");
  for (const auto& method : methods(options)) {
    const auto start = std::chrono::steady_clock::now();
    auto model = copy(teacher);
    LabelObjective objective(model);
    const Budget budget(model, budget_config(method, teacher->config(), options.max_length), options.max_length);
    prune_in_rounds(
        model, budget, method.rounds,
        [&] {
          return score_units(model, objective, *scored, context, {method.score.importance, method.score.per_text});
        },
        [&](const auto& kept) {
          reconstruct(model, teacher, kept, *calibration, method.reconstruct, options.damping, context);
        });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const auto validation = accuracy(model, Split::validation), test = accuracy(model, Split::test);
    fmt::print("| {}x | {}{} | {} | {} | {} | {:.2f}x | {:.2f} | {:.2f} | {:.2f} | {:.0f} |\n", method.budget,
               enum_name(method.score.importance), method.score.per_text ? ", per text" : "", method.allocation,
               method.rounds, enum_name(method.reconstruct),
               static_cast<double>(encoder_macs(teacher->config(), options.max_length)) /
                   static_cast<double>(encoder_macs(model->config(), options.max_length)),
               validation, test, teacher_test - test, seconds.count());
    std::cout.flush();
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return compression::bench::run_program(argc, argv, kUsage, parse, run);
}
