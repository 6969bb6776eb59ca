#include "compress/checkpoint/model_folder.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "compress/checkpoint/checkpoint.h"  // StateDict
#include "compress/checkpoint/json_file.h"   // read_json_file
#include "compress/checkpoint/name_table.h"  // to_canonical
#include "compress/workflow/error.h"         // CheckpointError, StorageError
#include "compress/workflow/fields.h"        // enum_name

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

/// A tensor that every checkpoint with the config's head has; empty for a head without tensors.
std::string head_tensor(const ModelConfig& config) {
  if (config.task == TaskType::embedding) return "";
  const bool words = config.task == TaskType::masked_lm;
  return checkpoint_names(config)(words ? "head.dense." : "head.classifier.") + "weight";
}

/// A classifier that config.json says nothing of.
void find_classifier(const StateDict& state, ModelConfig& config) {
  if (config.task != TaskType::embedding) return;
  auto with_head = config;
  with_head.task = TaskType::classification;
  const auto found = state.find(head_tensor(with_head));
  if (found == state.end() || found->second.dim() != 2) return;
  config.task = with_head.task;
  for (int64_t i = 0; i < found->second.size(0); ++i) config.labels.push_back(fmt::format("LABEL_{}", i));
}

/// Why a checkpoint's head is not the one that is wanted.
std::string misfit(const TaskHead& wanted, const ModelConfig& config, bool has_head) {
  if (!has_head || (wanted.task != config.task && config.task == TaskType::embedding)) {
    return fmt::format("has no head for {}; fine-tune it first", enum_name(wanted.task));
  }
  if (wanted.task != config.task) {
    return fmt::format("its head is for {}, not for {}; fine-tune it first", enum_name(config.task),
                       enum_name(wanted.task));
  }
  return fmt::format("its head is for {} classes that are not the data's {}: [{}] and [{}]", config.labels.size(),
                     wanted.labels.size(), fmt::join(config.labels, ", "), fmt::join(wanted.labels, ", "));
}

std::string new_head_note(const TaskHead& wanted, const ModelConfig& config, bool had_head) {
  const auto of_what = [](TaskType task, size_t labels) {
    return labels == 0 || task == TaskType::regression ? std::string(enum_name(task))
                                                       : fmt::format("{} classes", labels);
  };
  auto text = fmt::format("a new head for {}", of_what(wanted.task, wanted.labels.size()));
  if (!had_head) return text;
  if (wanted.task == config.task) return text + fmt::format(" in place of one for {} others", config.labels.size());
  return text + fmt::format(" in place of one for {}", enum_name(config.task));
}

void check_input_scales(Model& model, const std::string& folder) {
  for (const auto& [name, linear] : model->named_linears()) {
    if (!linear->input_scale.defined()) continue;
    const auto scale = linear->input_scale.item<float>();
    if (std::isfinite(scale) && scale > 0.0f) continue;
    throw CheckpointError(
        fmt::format("{}: {}.input_scale: found {}, expected a finite number above 0", folder, name, scale));
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
  find_classifier(state, config);
  LoadedModel loaded;
  const bool has_head = head_tensor(config).empty() || state.contains(head_tensor(config));
  const auto wanted = options.head.value_or(TaskHead{config.labels, config.task});
  std::vector<int64_t> order;
  bool fits = wanted.task == TaskType::embedding || (has_head && wanted.task == config.task);
  if (fits && !wanted.labels.empty() && wanted.task != TaskType::regression) {
    order = head_order(wanted.labels, config.labels);
    fits = !order.empty();
  }
  if (!fits && !options.new_head) {
    throw CheckpointError(fmt::format("{}: {}", folder.string(), misfit(wanted, config, has_head)));
  }
  if (!fits) {
    const auto old = head_tensor(config);
    loaded.notes.push_back(new_head_note(wanted, config, !old.empty() && has_head));
    if (!old.empty() && config.task != TaskType::masked_lm) {
      state.erase(old);
      state.erase(old.substr(0, old.rfind('.')) + ".bias");
    }
  }
  config.task = wanted.task;
  if (config.task != TaskType::regression || !fits) config.labels = wanted.labels;

  loaded.model = Model(config);
  const auto name = checkpoint_names(config);
  if (config.task == TaskType::masked_lm && !state.contains(name("head.bias"))) {
    if (const auto bias = state.find(name("head.decoder.") + "bias"); bias != state.end()) {
      state[name("head.bias")] = bias->second;  // one tensor of two names
    }
  }
  LoadOptions load;
  load.source = folder.string();
  load.ignore = ignorable_names(config.model_type);
  load.name = name;
  if (options.new_head) {
    load.allow_missing = {name("head.dense.")};
    if (!fits && config.task == TaskType::masked_lm) {
      load.allow_missing.insert(load.allow_missing.end(), {name("head.LayerNorm."), name("head.bias")});
    } else if (!fits) {
      load.allow_missing.push_back(name("head.classifier."));
    }
    loaded.model->initialize();
  }
  const auto report = load_state_dict(*loaded.model, state, load);
  for (const auto& tensor : report.left_as_initialised) {
    if (!tensor.starts_with(name("head.classifier."))) loaded.notes.push_back("new: " + tensor);
  }
  if (!order.empty()) reorder_head(loaded.model, order);
  check_input_scales(loaded.model, folder.string());
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
