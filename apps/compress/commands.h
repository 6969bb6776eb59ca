#pragma once
// One function a command. Each returns an exit code and throws Error for the rest (main.cpp).

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "compress/model/generate.h"    // GenerateOptions
#include "compress/workflow/context.h"  // Context

namespace compression::app {

/// docs/cli.md lists them for CI jobs.
enum ExitCode : int { success = 0, internal_error = 1, bad_input = 2, goal_missed = 3, storage = 4, interrupted = 130 };

struct RecipeOptions {
  std::filesystem::path recipe;
  std::vector<std::string> overrides;  // --set
};

struct ModelOptions {
  std::filesystem::path model;
  std::optional<std::filesystem::path> tokenizer;
  std::optional<int64_t> max_length;
};

/// Of question answering: what is given goes before what the model's folder says.
struct AnswerOptions {
  std::optional<int64_t> stride;
  bool unanswerable = false;
  std::optional<std::string> threshold;  // a number, or of eval: best
  std::optional<int64_t> n_best, longest;
  int64_t candidates = 0;  // of predict: so many are in the JSON
};

struct EvalOptions {
  ModelOptions model;
  std::filesystem::path data;
  std::optional<std::string> format, text, text_pair, label, metric;
  AnswerOptions answers;
  bool no_header = false;
  std::optional<bool> quotes;
  int64_t batch_size = 32;
};

struct PredictOptions {
  ModelOptions model;
  std::vector<std::string> texts;  // standard input, a text a line, if empty
  bool pairs = false;              // each is two texts with a tab between
  AnswerOptions answers;
};

struct BenchOptions {
  ModelOptions model;                                     // its max_length has no meaning here
  std::vector<std::string> shapes = {"1x128", "32x128"};  // batch x length
  double seconds = 2.0;
  int64_t instances = 1;
};

struct GenerateCommand {
  ModelOptions model;                // its max_length has no meaning here
  std::vector<std::string> prompts;  // standard input, a prompt a line, if empty
  GenerateOptions options;           // without the ends
};

struct InspectOptions {
  std::filesystem::path model;  // may be empty with `kernels`
  bool kernels = false;
};

struct ExplainOptions {
  RecipeOptions recipe;
  std::optional<std::string> keys;
};

int run_command(const RecipeOptions& options, Context& context, bool json);
int validate_command(const RecipeOptions& options, bool json);
int explain_command(const ExplainOptions& options, bool json);
int eval_command(const EvalOptions& options, Context& context, bool json);
/// Of a decoder.
int eval_language_command(const EvalOptions& options, Context& context, bool json);
int inspect_command(const InspectOptions& options, bool json);
int tokenize_command(const ModelOptions& options, const Context& context, bool json);
int predict_command(const PredictOptions& options, Context& context, bool json);
int generate_command(const GenerateCommand& options, Context& context, bool json);
int bench_command(const BenchOptions& options, Context& context, bool json);

}  // namespace compression::app
