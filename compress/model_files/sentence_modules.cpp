#include "compress/model_files/sentence_modules.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "compress/base/error.h"                   // CheckpointError
#include "compress/base/fields.h"                  // enum_name
#include "compress/base/json_file.h"               // read_json_file, excerpt
#include "compress/base/limits.h"                  // width
#include "compress/tokenizer/sentence_settings.h"  // read_sentence_settings

namespace compression {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// What we have no place for; caught where the modules are read.
struct Unsupported {
  std::string what;
};

struct Module {
  std::string type;  // as written
  std::string kind;  // its last part: "Pooling"
  fs::path path;     // relative to the folder; empty: the folder itself
};

std::vector<Module> read_modules(const fs::path& folder) {
  const fs::path file = folder / modules_name;
  if (!fs::exists(file)) return {};
  const json list = read_json_file(file);
  if (!list.is_array()) {
    throw CheckpointError(fmt::format("{}: found {}, expected an array of modules", file.string(), excerpt(list)));
  }
  std::vector<Module> modules;
  for (size_t i = 0; i < list.size(); ++i) {
    const auto text = [&](const char* key) {
      const json value = list[i].is_object() ? list[i].value(key, json()) : json();
      if (value.is_string()) return value.get<std::string>();
      throw CheckpointError(
          fmt::format("{}: [{}].{}: found {}, expected a string", file.string(), i, key, excerpt(value)));
    };
    Module module{text("type"), "", text("path")};
    module.kind = module.type.substr(module.type.rfind('.') + 1);
    const bool outside = module.path.is_absolute() || module.path.lexically_normal().native().rfind("..", 0) == 0;
    if (outside) {
      throw CheckpointError(fmt::format("{}: [{}].path: found {}, expected a folder in this one", file.string(), i,
                                        excerpt(json(module.path.string()))));
    }
    modules.push_back(std::move(module));
  }
  return modules;
}

json read_object(const fs::path& file) {
  json document = read_json_file(file);
  if (document.is_object()) return document;
  throw CheckpointError(fmt::format("{}: found {}, expected an object", file.string(), excerpt(document)));
}

json read_object_if_there(const fs::path& file) {
  return fs::exists(file) ? read_object(file) : json::object();
}

bool flag(const json& object, std::string_view key, bool otherwise, const fs::path& file) {
  const json value = object.value(std::string(key), json());
  if (value.is_null()) return otherwise;
  if (value.is_boolean()) return value.get<bool>();
  throw CheckpointError(fmt::format("{}: {}: found {}, expected true or false", file.string(), key, excerpt(value)));
}

Pooling pooling_of(const json& name, const fs::path& file) {
  std::string known;
  for (const auto& [pooling, own] : enum_names(Pooling{})) {
    if (name == own) return pooling;
    known += (known.empty() ? "" : ", ") + std::string(own);
  }
  throw Unsupported{fmt::format("{}: pooling_mode: found {}, supported: {}", file.string(), excerpt(name), known)};
}

std::vector<Pooling> read_pooling(const fs::path& file, bool has_prompt) {
  const json config = read_object(file);
  if (!flag(config, "include_prompt", true, file) && has_prompt) {
    throw Unsupported{fmt::format(
        "{}: include_prompt: found false with a prompt that each text gets, supported: true, or no default prompt",
        file.string())};
  }
  std::vector<Pooling> pooling;
  const json modes = config.value("pooling_mode", json());
  if (modes.is_string()) pooling.push_back(pooling_of(modes, file));
  for (const json& mode : modes.is_array() ? modes : json::array()) pooling.push_back(pooling_of(mode, file));
  if (!pooling.empty()) return pooling;
  for (const auto& [key, mode] : pooling_keys) {
    if (flag(config, key, false, file)) pooling.push_back(mode);
  }
  if (pooling.empty()) pooling.push_back(Pooling::mean);
  return pooling;
}

/// Modules can read and write other things than the text's vector.
void require_vector(const json& config, const fs::path& file) {
  for (const char* key : {"module_input_name", "module_output_name"}) {
    const json value = config.value(key, json());
    if (value.is_null() || value == "sentence_embedding") continue;
    throw Unsupported{
        fmt::format("{}: {}: found {}, supported: \"sentence_embedding\"", file.string(), key, excerpt(value))};
  }
}

EmbeddingStep read_dense(const fs::path& file) {
  const json config = read_object(file);
  require_vector(config, file);
  const auto size = [&](const char* key) {
    const json value = config.value(key, json());
    if (value.is_number_unsigned() && value >= 1 && value <= limits::width) return value.get<int64_t>();
    throw CheckpointError(fmt::format("{}: {}: found {}, expected a whole number from 1 to {}", file.string(), key,
                                      excerpt(value), limits::width));
  };
  EmbeddingStep step{.dense = true, .in = size("in_features"), .out = size("out_features")};
  step.bias = flag(config, "bias", true, file);
  if (flag(config, "use_residual", false, file)) {
    throw Unsupported{fmt::format("{}: use_residual: found true, supported: false", file.string())};
  }
  const json activation = config.value("activation_function", json("torch.nn.modules.activation.Tanh"));
  std::string known;
  for (const auto& [theirs, own] : module_activations) {
    if (activation == theirs) step.activation = own;
    if (activation == theirs) return step;
    known += (known.empty() ? "" : ", ") + std::string(theirs);
  }
  throw Unsupported{
      fmt::format("{}: activation_function: found {}, supported: {}", file.string(), excerpt(activation), known)};
}

/// That the first module is an encoder whose last hidden states are read.
void check_encoder(const fs::path& folder, const Module& module) {
  if (module.kind != "Transformer") {
    throw Unsupported{fmt::format("{}: [0].type: found \"{}\", supported: a Transformer first",
                                  (folder / modules_name).string(), module.type)};
  }
  const fs::path file = folder / module.path / "sentence_bert_config.json";
  const json config = read_object_if_there(file);
  const json task = config.value("transformer_task", json());
  if (!task.is_null() && task != "feature-extraction") {
    throw Unsupported{
        fmt::format("{}: transformer_task: found {}, supported: feature-extraction", file.string(), excerpt(task))};
  }
  const json output = config.value("/modality_config/text/method_output_name"_json_pointer, json());
  if (!output.is_null() && output != "last_hidden_state") {
    throw Unsupported{fmt::format("{}: modality_config.text.method_output_name: found {}, supported: last_hidden_state",
                                  file.string(), excerpt(output))};
  }
}

void read_options(const fs::path& folder, const std::vector<Module>& modules, EmbeddingOptions& options) {
  check_encoder(folder, modules.front());
  options.steps.clear();
  bool has_pooling = false;
  for (size_t i = 1; i < modules.size(); ++i) {
    const auto& [type, kind, path] = modules[i];
    const fs::path file = folder / path / "config.json";
    if (kind == "Pooling" && !has_pooling) {
      options.pooling = read_pooling(file, !read_sentence_settings(folder).prompt.empty());
      has_pooling = true;
    } else if (kind == "Dense" && has_pooling) {
      options.steps.push_back(read_dense(file));
    } else if (kind == "Normalize" && has_pooling) {
      require_vector(read_object_if_there(file), file);
      options.steps.emplace_back();
    } else {
      throw Unsupported{
          fmt::format("{}: [{}].type: found \"{}\", supported: Transformer, Pooling, then Dense and Normalize",
                      (folder / modules_name).string(), i, type)};
    }
  }
  if (!has_pooling) {
    throw Unsupported{
        fmt::format("{}: found no Pooling, supported: a module that pools", (folder / modules_name).string())};
  }
}

/// Whether the folder is of a model for sentences, not of one that compares pairs or gives words weights.
bool is_for_sentences(const fs::path& folder, const std::vector<Module>& modules) {
  const json type = read_object_if_there(folder / "config_sentence_transformers.json").value("model_type", json());
  if (type.is_string() && type != "SentenceTransformer") return false;
  return std::ranges::any_of(modules, [](const Module& module) { return module.kind == "Pooling"; });
}

}  // namespace

void read_sentence_modules(const fs::path& folder, ModelConfig& config) {
  const auto modules = read_modules(folder);
  if (modules.empty() || !is_for_sentences(folder, modules)) return;
  if (traits_of(config.task).head == HeadKind::words) config.task = headless_task;
  try {
    read_options(folder, modules, config.embedding);
  } catch (const Unsupported& unsupported) {
    config.embedding.unsupported = unsupported.what;
  }
}

bool leaves_out_prompts(const fs::path& folder) {
  return std::ranges::any_of(read_modules(folder), [&](const Module& module) {
    const fs::path file = folder / module.path / "config.json";
    return module.kind == "Pooling" && !flag(read_object_if_there(file), "include_prompt", true, file);
  });
}

std::vector<fs::path> step_folders(const fs::path& folder) {
  std::vector<fs::path> folders;
  for (const auto& module : read_modules(folder)) {
    if (module.kind == "Dense" || module.kind == "Normalize") folders.push_back(folder / module.path);
  }
  return folders;
}

std::vector<fs::path> module_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& module : read_modules(folder)) {
    if (module.path.empty() || !fs::is_directory(folder / module.path)) continue;
    for (const auto& entry : fs::directory_iterator(folder / module.path)) {
      if (entry.is_regular_file()) files.push_back(module.path / entry.path().filename());
    }
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace compression
