#pragma once
// A model that can be run, wherever it comes from: a stage's folder, a Hugging Face folder, or a model.pt.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/engine/engine.h"           // Engine
#include "compress/evaluate/evaluate.h"       // LogitsFunction
#include "compress/pipeline/answer_finder.h"  // AnswerConfig
#include "compress/pipeline/pipeline.h"       // Pipeline
#include "compress/spec/config.h"             // ModelConfig
#include "compress/tokenizer/tokenizer.h"     // Tokenizer

namespace compression::recipes {

/// What computes a model's outputs. packed: an Engine where it has kernels for the folder and the device is the CPU,
/// and no head is asked for; else, and always with `module`, LibTorch.
enum class Compute { module, packed };

struct Runnable {
  LogitsFunction logits;
  std::shared_ptr<const Engine> engine;  // what computes them, where it is not LibTorch; else null
  std::shared_ptr<const Tokenizer> tokenizer;
  std::optional<ModelConfig> config;  // absent for a model.pt without config.json beside it
  std::filesystem::path file;         // with the weights
  int64_t max_length = 512;           // tokens: what the recipe trained with, else what the folder's files allow
  AnswerConfig answers;               // of question_answering: what the recipe trained with, with its threshold
  std::vector<std::string>
      warnings;  // of load_model(), the tokenizer's files, and tokens that the model has no row for
  torch::Device device = torch::kCPU;  // where its inputs have to be
};

/// `path`: a folder with model.safetensors or with model.pt, or a TorchScript file. `tokenizer`: a folder in place of
/// the one that the model is in. TorchScript files and int8 weights run on the CPU, others on `device`. `head`: the
/// task and the order of classes, of weights in a folder (LoadModelOptions); their own if absent. Throws
/// CheckpointError (also where model and tokenizer do not fit: compress/model_files/fit.h), UnsupportedError.
Runnable open_model(const std::filesystem::path& path,
                    const std::optional<std::filesystem::path>& tokenizer = std::nullopt,
                    torch::Device device = torch::kCPU, const std::optional<TaskHead>& head = std::nullopt,
                    Compute compute = Compute::module);

/// The model as a pipeline for the head. Between batches it asks the context whether to stop. Both have to outlive it.
Pipeline pipeline_of(const Runnable& model, const TaskHead& head, const AnswerConfig& answers,
                     std::optional<int64_t> stride, const Context& context);

/// For those who give it two texts together. Throws CheckpointError if it can't read such pairs.
void require_pairs(const Runnable& model);

/// The folder that a model is in: `path` itself, or that of the file. Throws CheckpointError if there is no such thing.
std::filesystem::path folder_of(const std::filesystem::path& path);

}  // namespace compression::recipes
