// Times training on the texts of a folder:
//   train_throughput --model DIR --data DIR [--task finetune|distill] [--max-length N] [--batch-size N] [--epochs N]
//     [--max-steps N] [--skip N] [--learning-rate X] [--attention-dropout X] [--seed N] [--threads N]
//     [--precision auto|fp32|bf16|int16] [--unfused] [--keep-head] [--no-accuracy] [--save DIR] [--plan FILE] [--case
//     NAME]
// DIR of --data holds train.jsonl, validation.jsonl and test.jsonl with fields text and label. distill: the model is
// the teacher, the student starts as its layers 1, 3 and 5, and learns its logits at temperature 2. --max-steps: so
// many steps in all, on the batches that the epochs would begin with. --unfused: LibTorch's operators. --keep-head: the
// model has a head for the classes, and it stays. --save: the trained model's folder. --plan: the
// batches of each epoch, as lists of positions in train.jsonl. Prints one JSON line. bench/train_throughput.py runs it
// against loops in Python.
//
// A step is timed from its batch's collation to the end of the optimizer's step; the first --skip steps are not
// counted. Reading, tokenizing and evaluation are left out. The one pass of the teacher, whose logits are kept, is
// counted: its time is spread evenly over the steps of all epochs.

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/program.h"                       // run_program, texts_of
#include "compress/model_folder/model_folder.h"  // load_model, save_model
#include "compress/ops/waiting.h"                // WaitingThreads
#include "compress/train/precision.h"            // autocast_dtype, fused_arithmetic
#include "compress/train/trainer.h"              // train_model
#include "compress/workflow/machine.h"           // this_machine
#include "distill/objective.h"                   // DistillObjective
#include "distill/student.h"                     // keep_layers
#include "distill/teacher_outputs.h"             // teacher_outputs
#include "recipes/task_data.h"                   // TaskData

namespace {

using namespace compression;
using namespace compression::bench;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kUsage =
    "usage: train_throughput --model DIR --data DIR [--task finetune|distill] [--max-length N] [--batch-size N]\n"
    "       [--epochs N] [--max-steps N] [--skip N] [--learning-rate X] [--attention-dropout X] [--seed N]\n"
    "       [--threads N] [--precision auto|fp32|bf16|int16] [--unfused] [--keep-head] [--no-accuracy] [--save DIR]\n"
    "       [--plan FILE] [--case NAME]\n";

struct Options {
  std::string name;
  std::filesystem::path model, data, save, plan;
  bool distill = false;
  bool keep_head = false;
  bool accuracy = true;
  int64_t max_length = 128;
  int64_t max_steps = 0;
  int64_t skip = 5;
  int64_t seed = 0;
  int64_t threads = default_threads();
  TrainConfig train;
};

Precision precision(const std::string& text) {
  for (const auto& [value, name] : enum_names(Precision{})) {
    if (name == text) return value;
  }
  throw UsageError(fmt::format("--precision: found \"{}\", expected auto, fp32, bf16, fp16 or int16", text));
}

Options parse(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto& option = arguments[i];
    if (option == "--no-accuracy") {
      options.accuracy = false;
      continue;
    }
    if (option == "--unfused") {
      options.train.fused = false;
      continue;
    }
    if (option == "--keep-head") {
      options.keep_head = true;
      continue;
    }
    const auto text = [&]() -> const std::string& {
      if (i + 1 == arguments.size()) throw UsageError(option + ": needs a value");
      return arguments[++i];
    };
    const auto integer = [&](int64_t least) { return number<int64_t>(option, text(), least); };
    if (option == "--case") {
      options.name = text();
    } else if (option == "--model") {
      options.model = text();
    } else if (option == "--data") {
      options.data = text();
    } else if (option == "--save") {
      options.save = text();
    } else if (option == "--plan") {
      options.plan = text();
    } else if (option == "--task") {
      const auto& task = text();
      if (task != "finetune" && task != "distill") {
        throw UsageError(fmt::format("--task: found \"{}\", expected finetune or distill", task));
      }
      options.distill = task == "distill";
    } else if (option == "--precision") {
      options.train.precision = precision(text());
    } else if (option == "--max-length") {
      options.max_length = integer(3);
    } else if (option == "--batch-size") {
      options.train.batch_size = integer(1);
    } else if (option == "--epochs") {
      options.train.epochs = integer(1);
    } else if (option == "--max-steps") {
      options.max_steps = integer(0);
    } else if (option == "--skip") {
      options.skip = integer(0);
    } else if (option == "--seed") {
      options.seed = integer(0);
    } else if (option == "--threads") {
      options.threads = integer(1);
    } else if (option == "--learning-rate") {
      options.train.learning_rate = number<double>(option, text(), 0.0);
    } else if (option == "--attention-dropout") {
      options.train.attention_dropout = number<double>(option, text(), 0.0);
    } else {
      throw UsageError(option + ": no such option");
    }
  }
  if (options.model.empty() || options.data.empty()) throw UsageError("--model and --data are needed");
  Problems problems;
  validate(options.train, problems);
  for (const auto& [key, message] : problems.list()) throw UsageError(key + ": " + message);
  return options;
}

/// The steps of a run, each from begin() to end().
class StepTimer {
 public:
  void begin() {
    running_ = true;
    start_ = Clock::now();
  }
  void count(double tokens) { tokens_ = tokens; }
  /// Without a begin() it does nothing: an evaluation reports progress too.
  void end() {
    if (!running_) return;
    running_ = false;
    steps_.push_back({std::chrono::duration<double>(Clock::now() - start_).count(), tokens_});
  }

  struct Step {
    double seconds, tokens;
  };
  const std::vector<Step>& steps() const { return steps_; }

 private:
  bool running_ = false;
  Clock::time_point start_;
  double tokens_ = 0.0;
  std::vector<Step> steps_;
};

/// The training batches, with a timer that starts as each is made; cut to so many of them if `max_steps` is not 0.
class TimedSource : public BatchSource {
 public:
  TimedSource(std::shared_ptr<const BatchSource> source, StepTimer& timer, int64_t max_steps)
      : source_(std::move(source)), timer_(timer), max_steps_(max_steps) {}

  int64_t size() const override { return source_->size(); }

  /// Where it is cut, one epoch holds all steps.
  std::vector<std::vector<int64_t>> plan(int64_t epoch) const override {
    if (max_steps_ == 0) return source_->plan(epoch);
    std::vector<std::vector<int64_t>> batches;
    for (int64_t whole = 0; static_cast<int64_t>(batches.size()) < max_steps_; ++whole) {
      for (auto& batch : source_->plan(whole)) batches.push_back(std::move(batch));
    }
    batches.resize(static_cast<size_t>(max_steps_));
    return batches;
  }

  Batch collate(std::span<const int64_t> examples, int64_t epoch) const override {
    timer_.begin();
    auto batch = source_->collate(examples, epoch);
    timer_.count(batch.attention_mask().sum().item<double>());
    return batch;
  }

 private:
  std::shared_ptr<const BatchSource> source_;
  StepTimer& timer_;
  int64_t max_steps_;
};

/// Times the batches of the training split. Without accuracy, one text is enough to validate on.
class TimedData : public DataProvider {
 public:
  TimedData(const DataProvider& data, StepTimer& timer, int64_t max_steps, bool accuracy)
      : data_(data), timer_(timer), max_steps_(max_steps), accuracy_(accuracy) {}

  bool has(Split split) const override { return data_.has(split); }
  const TaskHead& head() const override { return data_.head(); }
  int64_t max_length() const override { return data_.max_length(); }
  std::shared_ptr<const BatchSource> batches(Split split, const Tokenizer& tokenizer,
                                             const BatchOptions& options) const override {
    auto changed = options;
    if (split == Split::validation && !accuracy_) changed.max_examples = 1;
    auto source = data_.batches(split, tokenizer, changed);
    if (split != Split::train) return source;
    return std::make_shared<TimedSource>(std::move(source), timer_, max_steps_);
  }

 private:
  const DataProvider& data_;
  StepTimer& timer_;
  int64_t max_steps_;
  bool accuracy_;
};

/// A folder that is gone with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    auto name = (std::filesystem::temp_directory_path() / "train_throughput-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder can be made");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Bytes, from the process's status: Linux counts them.
int64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  }
  return 0;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// What the steps after the first `skip` come to; `extra` seconds a step are added.
nlohmann::json summary(const std::vector<StepTimer::Step>& steps, int64_t skip, double extra) {
  const auto skipped = std::min(static_cast<size_t>(skip), steps.size() - 1);
  double tokens = 0.0, seconds = 0.0;
  std::vector<double> each;
  for (size_t i = skipped; i < steps.size(); ++i) {
    tokens += steps[i].tokens;
    each.push_back(steps[i].seconds + extra);
    seconds += each.back();
  }
  return {{"steps", steps.size()},  //
          {"timed_steps", each.size()},
          {"tokens", tokens},
          {"seconds", seconds},
          {"tokens_per_second", tokens / seconds},
          {"ms_per_step", 1e3 * median(each)}};
}

int run(const Options& options) {
  at::set_num_threads(static_cast<int>(options.threads));
  const ops::WaitingThreads waiting;  // as the command has it
  const TemporaryFolder work;
  auto context = quiet_context(options.seed);
  context.work_folder = work.path();

  const recipes::TaskData data({}, texts_of(options.data, options.max_length));
  const auto tokenizer = load_tokenizer(options.model);

  at::manual_seed(context.seed);
  auto model =
      load_model(options.model, {.head = data.head(), .new_head = !options.distill && !options.keep_head}).model;
  const auto texts = data.batches(Split::train, *tokenizer, {.batch_size = options.train.batch_size});
  const auto steps_of_epochs = static_cast<int64_t>(texts->plan(0).size()) * options.train.epochs;

  std::unique_ptr<Objective> objective = std::make_unique<LabelObjective>(model);
  double teacher_seconds = 0.0;
  auto teacher = model;
  if (options.distill) model = distill::keep_layers(teacher, {1, 3, 5});
  const auto precision = choose_precision(options.train, *model, *texts, context);
  if (options.distill) {  // as the distillation stage does
    const distill::DistillationLoss loss({distill::LossConfig{}}, {}, {});
    auto chosen = options.train;
    chosen.precision = precision.precision;
    teacher->set_fused(fused_arithmetic(chosen, context.device));
    const auto start = Clock::now();
    const auto kept = distill::teacher_outputs(teacher, false, *texts, autocast_dtype(precision.precision), context);
    teacher_seconds = std::chrono::duration<double>(Clock::now() - start).count();
    objective = std::make_unique<distill::DistillObjective>(
        model, std::vector<distill::Teacher>{{.model = teacher, .loss = loss, .outputs = kept}});
  }

  StepTimer timer;
  context.progress = [&](int64_t, int64_t, std::string_view) { timer.end(); };
  const TimedData timed(data, timer, options.max_steps, options.accuracy);
  auto train = options.train;
  if (options.max_steps > 0) train.epochs = 1;
  if (!options.plan.empty()) {
    const auto source = timed.batches(Split::train, *tokenizer,
                                      {.batch_size = train.batch_size, .shuffle = true, .seed = context.seed});
    auto plan = nlohmann::json::array();
    for (int64_t epoch = 0; epoch < train.epochs; ++epoch) plan.push_back(source->plan(epoch));
    std::ofstream(options.plan) << plan;
  }
  const auto result = train_model(model, *objective, *tokenizer, timed, train, context, precision);
  const auto peak = peak_memory();

  auto line = summary(timer.steps(), options.skip, teacher_seconds / static_cast<double>(steps_of_epochs));
  line["case"] = options.name;
  line["precision"] = enum_name(precision.precision);
  line["precision_chosen"] = choice_json(precision);
  line["seed"] = options.seed;
  line["teacher_seconds"] = teacher_seconds;
  line["peak_memory"] = peak;
  if (options.accuracy) {
    const auto logits = [&](const Batch& batch) { return model->forward(batch).logits; };
    line["validation_accuracy"] = result.checks[result.best].validation.value();
    line["test_accuracy"] = evaluate(logits, *data.batches(Split::test, *tokenizer, {}), context).value();
  }
  line["machine"] = machine_json(this_machine());
  if (!options.save.empty()) {
    std::filesystem::create_directories(options.save);
    save_model(model, *tokenizer, options.save);
  }
  std::cout << line << '\n';
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return compression::bench::run_program(argc, argv, kUsage, parse, run);
}
