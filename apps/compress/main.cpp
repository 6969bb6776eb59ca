// The compress command: options, signals, and the one place where errors become exit codes.

#include <spdlog/spdlog.h>
#include <torch/cuda.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>

#include "commands.h"
#include "compress/base/error.h"            // Error
#include "compress/base/failure.h"          // failure_text
#include "compress/base/files.h"            // refused
#include "compress/base/message.h"          // one_line
#include "compress/base/number.h"           // number_of
#include "compress/kernels/kept_choices.h"  // keep_choices
#include "compress/kernels/waiting.h"       // WaitingThreads
#include "compress/workflow/machine.h"      // default_threads, use_threads, keep_freed_memory
#include "options.h"                        // between
#include "process.h"
#include "recipes/text.h"  // in_quotes, listed, did_you_mean
#include "serve_command.h"
#include "terminal.h"

namespace compression::app {
namespace {

std::atomic<bool> stop{false};

struct Settings {
  int threads = 0;  // 0: not given
  std::string device = "cpu";
  std::string log_level = "info";
  double tell_every = 30.0;
  bool json = false;
};

Context make_context(const Settings& settings) {
  Context context;
  context.logger = make_logger(settings.log_level);
  print_scripts_to_errors();
  if (settings.device == "cuda") {
    if (!torch::cuda::is_available()) {
      throw UnsupportedError(
          "--device cuda: this machine has no CUDA device that this LibTorch can use; leave --device out to run on the "
          "CPU");
    }
    context.device = torch::kCUDA;
  }
  const int threads = settings.threads > 0 ? settings.threads : default_threads();
  use_threads(threads);
  if (const auto usable = usable_processors(); threads > usable) {
    context.logger->warn("{}: {} threads on {} processor{} that this process may use: they wait for each other",
                         settings.threads > 0 ? "--threads" : "OMP_NUM_THREADS", threads, usable,
                         usable == 1 ? "" : "s");
  }
  if (settings.log_level != "off") context.progress = make_progress(context.logger, settings.tell_every);
  context.stop = &stop;
  return context;
}

void add_model(CLI::App& command, ModelOptions& options, bool reads_texts = true) {
  command.add_option("model", options.model, "Folder of a stage or of Hugging Face form, or a model.pt")->required();
  command.add_option("--tokenizer", options.tokenizer,
                     "Folder with the tokenizer's files, if they are not beside the model");
  if (!reads_texts) return;
  command.add_option("--max-length", options.max_length, "Tokens that a text is cut to, special ones included")
      ->check(CLI::Range(1, 1 << 20));
}

void add_answers(CLI::App& command, AnswerOptions& options) {
  const std::string of = "Of question answering: ";
  command.add_option("--stride", options.stride, of + "tokens that windows share")->check(CLI::Range(0, 1 << 20));
  command.add_flag("--unanswerable", options.unanswerable, of + "questions may have no answer, as in SQuAD 2.0");
  command.add_option("--threshold", options.threshold,
                     of + "no answer where the first token's logits are by more than this above those of the best "
                          "answer; implies --unanswerable [what the recipe chose, else 0]; of eval also best");
  command
      .add_option("--n-best", options.n_best,
                  of + "starts and ends of a window to look at, and answers to compare [20]")
      ->check(CLI::Range(1, 1000));
  command.add_option("--longest", options.longest, of + "tokens of the longest answer [30]")
      ->check(CLI::Range(1, 100000));
}

void add_recipe(CLI::App& command, RecipeOptions& options, bool required = true) {
  command.add_option("recipe", options.recipe, "YAML file (docs/recipe.md)")->required(required);
  command.add_option("--set", options.overrides, "KEY=VALUE, in place of what the recipe says; may be given again")
      ->take_all();
}

/// CLI11 says of an unknown command that one is missing.
std::string usage_problem(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> left = app.remaining();
  if (!app.get_subcommands().empty() || left.empty()) return error.what();
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  std::vector<std::string> names;
  for (const CLI::App* command : commands) names.push_back(command->get_name());
  const std::vector<std::string_view> known(names.begin(), names.end());
  return "found " + recipes::in_quotes(left.front()) + ", expected a command: " + recipes::listed(known) +
         recipes::did_you_mean(left.front(), known);
}

/// The options of the program and of its commands. A command is a function that adds it with its options.
class CommandLine {
 public:
  CommandLine() {
    app_.require_subcommand(1);
    app_.fallthrough();
    app_.set_version_flag("--version", COMPRESS_VERSION);
    app_.footer(
        "Exit codes: 0 done, 1 internal error, 2 bad input, 3 a goal was missed, 4 the disk refused, 130 interrupted.");
    add_settings();
    add_run();
    add_validate();
    add_explain();
    add_eval();
    add_inspect();
    add_tokenize();
    add_predict();
    add_generate();
    add_bench();
    add_server();
  }
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  /// Throws ConfigError for what is wrong with the arguments, and whatever the command throws.
  int run(int argc, char** argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      if (error.get_exit_code() == 0) return app_.exit(error);  // --help, --version
      throw ConfigError(one_line(usage_problem(app_, error)) + "; compress --help tells more");
    }
    if (app_.got_subcommand("serve")) settings_.tell_every = 0.0;  // it has no end that could be told of
    auto context = make_context(settings_);
    const kernels::WaitingThreads waiting;
    context.checkpoints.seconds = checkpoint_every_;
    catch_stop_signals(stop, app_.got_subcommand("run"));
    return actions_.at(app_.get_subcommands().front())(context, settings_.json);
  }

 private:
  using Action = std::function<int(Context& context, bool json)>;

  CLI::App& add(const char* name, const char* purpose, Action action) {
    auto* command = app_.add_subcommand(name, purpose);
    actions_[command] = std::move(action);
    return *command;
  }

  void add_settings() {
    app_.add_option("--threads", settings_.threads,
                    "Threads; if absent OMP_NUM_THREADS, else as many as processors that the process may use")
        ->check(CLI::Range(1, max_threads));
    app_.add_option("--device", settings_.device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}));
    app_.add_option("--log-level", settings_.log_level, "trace, debug, info, warning, error or off")
        ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error", "off"}));
    app_.add_option(
            "--tell-every", settings_.tell_every,
            "Seconds without a line, after which one tells how far the work is, where no bar is drawn; 0: none [30]")
        ->check(between(0.0, 86400.0));
    app_.add_flag("--json", settings_.json, "Results as JSON on standard output");
  }

  void add_run() {
    auto& run = add("run", "Run a recipe's stages and write a report",
                    [this](Context& context, bool json) { return run_command(run_, context, json); });
    add_recipe(run, run_);
    run.add_option("--checkpoint-every", checkpoint_every_,
                   "Seconds between saved states of a training, to go on from after a kill [60]; 0: as often as "
                   "possible")
        ->check(between(0.0, 1e9));
  }

  void add_validate() {
    auto& validate = add("validate", "Check a recipe and the files that it names, without doing anything",
                         [this](Context&, bool json) { return validate_command(validate_, json); });
    add_recipe(validate, validate_);
  }

  void add_explain() {
    auto& explain =
        add("explain", "Show a recipe with every default filled in and what a run would do; or what keys mean",
            [this](Context&, bool json) { return explain_command(explain_, json); });
    add_recipe(explain, explain_.recipe, false);
    explain.add_option("--keys", explain_.keys,
                       "Explain the keys of a section or stage kind: recipe, data, distill, ...");
    explain.callback([this] {
      if (!explain_.keys && explain_.recipe.recipe.empty()) throw CLI::RequiredError("recipe or --keys");
    });
  }

  void add_eval() {
    auto& eval = add("eval", "A model's metrics on labelled texts (docs/tasks.md)",
                     [this](Context& context, bool json) { return eval_command(eval_, context, json); });
    add_model(eval, eval_.model);
    eval.add_option("--data", eval_.data, "JSONL, CSV, TSV, CoNLL or SQuAD file")->required();
    eval.add_option("--format", eval_.format, "jsonl, csv, tsv, glue, conll or squad, if the name does not tell");
    eval.add_option("--text", eval_.text, "Field or column of the text");
    eval.add_option("--text-pair", eval_.text_pair, "Field or column of the second text");
    eval.add_option("--label", eval_.label, "Field or column of the label");
    eval.add_option("--metric", eval_.metric, "The metric that is shown first; the task's first if absent");
    add_answers(eval, eval_.answers);
    eval.add_flag("--no-header", eval_.no_header, "The first line of a CSV or TSV is data; name columns by number");
    eval.add_flag_function(
        "--quotes,!--no-quotes", [this](int64_t given) { eval_.quotes = given > 0; },
        "Whether fields of a CSV or TSV may be in quotes; of a CSV they may, of a TSV quotes are letters");
    eval.add_option("--batch-size", eval_.batch_size, "Texts a call [32]")->check(CLI::Range(1, 65536));
  }

  void add_inspect() {
    auto& inspect = add("inspect", "What a model is made of: layers, sizes, formats, importance scores",
                        [this](Context&, bool json) { return inspect_command(inspect_, json); });
    inspect.add_option("model", inspect_.model, "Folder, or a model.pt in one");
    inspect.add_flag("--kernels", inspect_.kernels, "What the fused runtime computes with on this machine");
    inspect.callback([this] {
      if (!inspect_.kernels && inspect_.model.empty()) throw CLI::RequiredError("model or --kernels");
    });
  }

  void add_tokenize() {
    auto& tokenize = add("tokenize", "Token ids of each line of standard input",
                         [this](Context& context, bool json) { return tokenize_command(tokenize_, context, json); });
    add_model(tokenize, tokenize_);
  }

  void add_predict() {
    auto& predict = add("predict", "What a model says of each text",
                        [this](Context& context, bool json) { return predict_command(predict_, context, json); });
    add_model(predict, predict_.model);
    predict.add_option("texts", predict_.texts,
                       "Texts; lines of standard input if absent. For question answering: question, tab, context");
    predict.add_flag("--pairs", predict_.pairs, "Each text is a pair, with a tab between");
    add_answers(predict, predict_.answers);
    predict
        .add_option("--candidates", predict_.answers.candidates,
                    "Of question answering: so many of the compared answers are in the JSON, best first [0]")
        ->check(CLI::Range(1, 1000));
  }

  void add_generate() {
    auto& generate = add("generate", "Continue texts with a decoder (docs/models.md)",
                         [this](Context& context, bool json) { return generate_command(generate_, context, json); });
    add_model(generate, generate_.model, /*reads_texts=*/false);
    auto& options = generate_.options;
    generate.add_option("prompts", generate_.prompts, "Beginnings of texts; lines of standard input if absent");
    generate.add_option("--max-tokens", options.max_new_tokens, "Tokens of a continuation at most [128]")
        ->check(CLI::Range(0, 1 << 20));
    generate
        .add_option("--temperature", options.temperature, "0: the likeliest token each time, else tokens are drawn [0]")
        ->check(between(0.0, 100.0));
    generate.add_option("--top-k", options.top_k, "Drawn of so many likeliest tokens; 0: of all [0]")
        ->check(CLI::Range(0, 1 << 20));
    generate
        .add_option("--top-p", options.top_p, "Drawn of the likeliest tokens that have so much of the probability [1]")
        ->check(between(0.0, 1.0));
    generate.add_option("--seed", options.seed, "Of what is drawn [17]");
  }

  void add_bench() {
    auto& bench = add("bench", "Latency and throughput of a model on this machine",
                      [this](Context& context, bool json) { return bench_command(bench_, context, json); });
    add_model(bench, bench_.model, /*reads_texts=*/false);
    bench.add_option("--shapes", bench_.shapes, "BATCHxLENGTH, comma separated [1x128,32x128]")->delimiter(',');
    bench.add_option("--seconds", bench_.seconds, "Time for each shape [2]")->check(between(0.1, 3600.0));
    bench
        .add_option("--instances", bench_.instances,
                    "Calls at once, each with its share of the threads, at most 32 for each processor [1]")
        ->check(CLI::Range(1, 1024));
  }

  void add_server() {
    auto& command = add("serve", "Answer requests over HTTP with one model or several (docs/serving.md)",
                        [this](Context& context, bool json) {
                          if (context.device != torch::kCPU)
                            throw UnsupportedError("serve computes on the CPU: leave --device out");
                          const auto threads = settings_.threads > 0 ? settings_.threads : default_threads();
                          return serve_command(serve_, threads, json,
                                               [&](const std::string& line) { context.logger->warn("{}", line); });
                        });
    add_serve(command, serve_);
  }

  CLI::App app_{"Makes transformers small and fast: distil, prune, quantize, export."};
  std::map<const CLI::App*, Action> actions_;
  Settings settings_;
  double checkpoint_every_ = Checkpoints{}.seconds;
  RecipeOptions run_, validate_;
  ExplainOptions explain_;
  EvalOptions eval_;
  InspectOptions inspect_;
  ModelOptions tokenize_;
  PredictOptions predict_;
  GenerateCommand generate_;
  BenchOptions bench_;
  ServeArguments serve_;
};

int fail(const std::exception& error, ExitCode code) {
  std::istringstream problems(failure_text(error));
  for (std::string line; std::getline(problems, line);) std::cerr << "compress: " << line << '\n';
  return code;
}

/// Throws StorageError if what was printed has not reached standard output.
void flush_output() {
  if (std::cout) errno = 0;
  std::cout.flush();
  if (!std::cout) throw StorageError(refused("standard output", "can't be written", errno));
}

}  // namespace
}  // namespace compression::app

int main(int argc, char** argv) {
  using namespace compression;
  app::open_standard_files();
  app::let_large_writes_fail();
  std::ios::sync_with_stdio(false);
  keep_freed_memory();
  kernels::keep_choices(kernels::usual_choices_file());
  try {
    const int code = app::CommandLine().run(argc, argv);
    app::flush_output();
    return code;
  } catch (const Interrupted& error) {
    return app::fail(error, app::interrupted);
  } catch (const StorageError& error) {
    return app::fail(error, app::storage);
  } catch (const Error& error) {
    return app::fail(error, app::bad_input);
  } catch (const std::filesystem::filesystem_error& error) {
    return app::fail(error, error.code() == std::errc::filename_too_long ? app::bad_input : app::storage);
  } catch (const std::exception& error) {
    return app::fail(error, app::internal_error);
  }
}
