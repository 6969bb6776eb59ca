#include "compress/checkpoint/model_folder.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>

#include "compress/checkpoint/checkpoint.h"  // StateDict
#include "compress/checkpoint/json_file.h"   // read_json_file
#include "compress/checkpoint/name_table.h"  // to_canonical
#include "compress/workflow/error.h"         // CheckpointError, StorageError

namespace compression {
namespace {

namespace fs = std::filesystem;
using Labels = std::vector<std::string>;

/// Where each of the task's classes is in the checkpoint's head; empty if the classes are not the same.
std::vector<int64_t> head_order(const Labels& task, const Labels& checkpoint) {
  if (task.size() != checkpoint.size()) return {};
  std::vector<int64_t> order;
  bool unnamed = true;  // integers as labels, and transformers' names for classes that nobody named
  for (size_t i = 0; i < task.size(); ++i) {
    unnamed = unnamed && checkpoint[i] == fmt::format("LABEL_{}", i) && task[i] == std::to_string(i);
    const auto at = std::find(checkpoint.begin(), checkpoint.end(), task[i]);
    if (at != checkpoint.end()) order.push_back(at - checkpoint.begin());
  }
  if (unnamed) {
    order.resize(task.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  }
  return order.size() == task.size() ? order : std::vector<int64_t>{};
}

void reorder_head(Model& model, const std::vector<int64_t>& order) {
  const at::NoGradGuard no_grad;
  const auto index = torch::tensor(order);
  for (auto* tensor : {&model->head->classifier->weight, &model->head->classifier->bias}) {
    tensor->copy_(tensor->index_select(0, index).clone());
  }
}

}  // namespace

ModelConfig load_model_config(const fs::path& folder) {
  const auto file = folder / "config.json";
  return read_model_config(read_json_file(file), file.string());
}

LoadedModel load_model(const fs::path& folder, const LoadModelOptions& options) {
  auto config = load_model_config(folder);
  auto state = to_canonical(config.model_type, read_state_dict(folder));
  LoadedModel loaded;

  const auto name = checkpoint_names(config);
  const auto classifier = name("head.classifier.");
  const auto head = state.find(classifier + "weight");
  const bool has_head = head != state.end();
  if (has_head && config.labels.empty() && head->second.dim() == 2) {
    for (int64_t i = 0; i < head->second.size(0); ++i) config.labels.push_back(fmt::format("LABEL_{}", i));
  }
  std::vector<int64_t> order;
  if (options.labels) {
    if (has_head) order = head_order(*options.labels, config.labels);
    if (order.empty()) {
      if (!options.new_head) {
        throw CheckpointError(
            has_head ? fmt::format("{}: its head is for {} classes that are not the data's {}: [{}] and [{}]",
                                   folder.string(), config.labels.size(), options.labels->size(),
                                   fmt::join(config.labels, ", "), fmt::join(*options.labels, ", "))
                     : fmt::format("{}: has no classification head; fine-tune it first", folder.string()));
      }
      state.erase(classifier + "weight");
      state.erase(classifier + "bias");
      loaded.notes.push_back(
          fmt::format("a new head for {} classes{}", options.labels->size(),
                      has_head ? fmt::format(" in place of one for {} others", config.labels.size()) : ""));
    }
    config.labels = *options.labels;
  } else if (!has_head) {
    throw CheckpointError(
        fmt::format("{}: has no classification head ({}weight); fine-tune it first", folder.string(), classifier));
  }

  loaded.model = Model(config);
  LoadOptions load;
  load.source = folder.string();
  load.ignore = ignorable_names(config.model_type);
  load.name = name;
  if (order.empty() && options.new_head) load.allow_missing = {classifier};
  if (options.new_head) load.allow_missing.push_back(name("head.dense."));
  if (!load.allow_missing.empty()) loaded.model->initialize();
  const auto report = load_state_dict(*loaded.model, state, load);
  for (const auto& tensor : report.left_as_initialised) {
    if (!tensor.starts_with(classifier)) loaded.notes.push_back("new: " + tensor);
  }
  if (!order.empty()) reorder_head(loaded.model, order);
  for (auto& linear : loaded.model->linears()) linear->repack();
  loaded.model->eval();
  return loaded;
}

void copy_tokenizer(const Tokenizer& tokenizer, const fs::path& folder) {
  for (const auto& file : tokenizer.files()) {
    std::error_code error;
    fs::copy_file(tokenizer.folder() / file, folder / file, fs::copy_options::overwrite_existing, error);
    if (error)
      throw StorageError(fmt::format("{}: can't be copied: {}", (tokenizer.folder() / file).string(), error.message()));
  }
}

void save_model(const Model& model, const Tokenizer& tokenizer, const fs::path& folder) {
  write_text_file(folder / "config.json", write_model_config(model->config()).dump(2) + "\n");
  const auto name = checkpoint_names(model->config());
  StateDict state;
  for (const auto& [own, tensor] : state_dict(*model)) state[name(own)] = tensor;
  write_state_dict(folder, state);
  copy_tokenizer(tokenizer, folder);
}

}  // namespace compression
