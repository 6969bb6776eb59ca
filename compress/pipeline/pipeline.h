#pragma once
// Text in, what a model says of it out: tokenizer, model and answers together, without LibTorch.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/engine/engine.h"           // Engine, TokenRow, Outputs
#include "compress/pipeline/answer_finder.h"  // AnswerConfig
#include "compress/pipeline/prediction.h"     // Prediction
#include "compress/spec/task.h"               // TaskHead
#include "compress/tokenizer/tokenizer.h"     // TextInput, Tokenizer

namespace compression {

/// Absent: what the model's folder says.
struct PipelineOptions {
  std::optional<std::filesystem::path> tokenizer = {};  // a folder in place of the model's
  std::optional<int64_t> max_length = {};               // tokens that a text, or a window of a context, is cut to
  std::optional<int64_t> stride = {};                   // tokens that windows share; a third where nobody says
  std::optional<AnswerConfig> answers = {};
};

/// Immutable: any number of threads may call it.
class Pipeline {
 public:
  /// What a pipeline is made of, whoever computes.
  struct Parts {
    std::function<Outputs(std::span<const TokenRow>)> outputs;  // as Engine::run()
    std::shared_ptr<const Tokenizer> tokenizer;
    TaskHead head;
    int64_t max_length = 512;
    std::optional<int64_t> stride = {};
    AnswerConfig answers = {};
    std::string no_pairs = {};     // why two texts together can't be read; empty: they can
    std::string source = "texts";  // what messages call the texts: "texts:2: found ..." of the second
  };

  explicit Pipeline(Parts parts) : parts_(std::move(parts)) {}

  /// A stage's folder, or one of Hugging Face's, with the task, the length, the prompt and the answers that its files
  /// say; computed by an Engine. Throws CheckpointError (also where model and tokenizer do not fit), UnsupportedError,
  /// ConfigError for a max_length that the model has no positions for.
  static Pipeline load(const std::filesystem::path& folder, const PipelineOptions& options = {});

  /// One a text. Of question answering `text` is the question and `pair` the context; other tasks read a pair as two
  /// texts together, and those of tags and of embedding read one. A text of tags is split into words at white space;
  /// one of masked words has the tokenizer's mask in it. Texts are bytes of UTF-8, as Tokenizer::encode() reads them.
  /// Throws DataError that names the text: one without tokens, with a token that the model has no row for, too large,
  /// or without what the task reads; CheckpointError.
  std::vector<Prediction> run(std::span<const TextInput> texts) const;

  /// shown() of one of its predictions.
  Answer answer(const Prediction& prediction, const TextInput& input, int64_t candidates = 0) const {
    return shown(prediction, parts_.head, input, parts_.answers, candidates);
  }

  const TaskHead& head() const { return parts_.head; }
  const Tokenizer& tokenizer() const { return *parts_.tokenizer; }
  int64_t max_length() const { return parts_.max_length; }
  const AnswerConfig& answers() const { return parts_.answers; }

  /// What computes a pipeline that was loaded; null where somebody else does.
  const std::shared_ptr<const Engine>& engine() const { return engine_; }

  /// What is odd in the folder that was loaded, a line each.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  std::string place(size_t text) const;
  void check(std::span<const TextInput> texts) const;
  void check_encodings(std::span<const Encoding> encodings, std::span<const size_t> texts) const;
  Outputs outputs_of(std::span<const Encoding> encodings) const;
  std::vector<Prediction> texts(std::span<const TextInput> texts) const;
  std::vector<Prediction> tags(std::span<const TextInput> texts) const;
  std::vector<Prediction> questions(std::span<const TextInput> texts) const;
  std::vector<Prediction> masks(std::span<const TextInput> texts) const;

  Parts parts_;
  std::shared_ptr<const Engine> engine_ = nullptr;
  std::vector<std::string> warnings_ = {};
};

/// Why two texts together can't be given to a model with the tokenizer; empty: they can.
std::string pairs_problem(const Tokenizer& tokenizer, const ModelConfig& config, const std::filesystem::path& model);

/// check_fit() for the model's task (model_files/fit.h).
std::vector<std::string> check_fit_for_task(const Tokenizer& tokenizer, const ModelConfig& config,
                                            const std::filesystem::path& model);

}  // namespace compression
