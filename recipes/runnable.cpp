#include "recipes/runnable.h"

#include <fmt/format.h>

#include <concepts>
#include <nlohmann/json.hpp>

#include "compress/base/error.h"                   // CheckpointError
#include "compress/base/json_file.h"               // read_json_file
#include "compress/model_folder/fit.h"             // check_fit
#include "compress/model_folder/model_folder.h"    // load_model
#include "compress/tokenizer/sentence_settings.h"  // transformer_folder
#include "compress/workflow/own_folder.h"          // manifest_name
#include "export/script.h"                         // load_script, script_logits

namespace compression::recipes {
namespace {

namespace fs = std::filesystem;

/// What a recipe made the folder with, of what its users need again.
struct Trained {
  std::optional<int64_t> max_length;
  datasets::AnswerConfig answers;
};

/// A number or truth value of a manifest, where it has one of the kind.
template <class T>
void take(const nlohmann::json& from, std::string_view key, T& value) {
  const auto found = from.find(key);
  if (found == from.end()) return;
  if constexpr (std::same_as<T, bool>) {
    if (found->is_boolean()) value = found->get<bool>();
  } else if constexpr (std::same_as<T, std::optional<double>>) {
    if (found->is_number()) value = found->get<double>();
  } else {
    if (found->is_number_integer()) value = found->get<int64_t>();
  }
}

Trained trained_with(const fs::path& folder) {
  const auto file = folder / manifest_name;
  Trained trained;
  if (!fs::exists(file)) return trained;
  const auto manifest = read_json_file(file);
  if (!manifest.is_object()) return trained;
  take(manifest, "max_length", trained.max_length);
  const auto answers = manifest.find("answers");
  if (answers == manifest.end() || !answers->is_object()) return trained;
  datasets::AnswerConfig::fields(
      trained.answers, [&](std::string_view name, auto& value, std::string_view) { take(*answers, name, value); });
  try {
    check(trained.answers);
  } catch (const ConfigError& error) {
    throw CheckpointError(fmt::format("{}: answers.{}", file.string(), error.what()));
  }
  return trained;
}

}  // namespace

fs::path folder_of(const fs::path& path) {
  if (!fs::exists(path)) throw CheckpointError(path.string() + ": no such folder or file");
  if (fs::is_directory(path)) return path;
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

namespace {

/// check_fit() for the model's task.
std::vector<std::string> fit(const Runnable& model) {
  const auto labels = traits_of(model.config->task).labels;
  return check_fit(*model.tokenizer, *model.config, model.file,
                   {.pairs = labels == LabelKind::answers, .masks = labels == LabelKind::none});
}

void add(const std::vector<std::string>& lines, std::vector<std::string>& all) {
  all.insert(all.end(), lines.begin(), lines.end());
}

/// Weights that are finite may overflow on the way: no metric, class or score is to be made of what comes out then.
LogitsFunction checked(LogitsFunction logits, const fs::path& file) {
  return [logits = std::move(logits), name = file.string()](const Batch& batch) {
    auto outputs = logits(batch);
    if (outputs.isnan().any().item<bool>()) {
      throw CheckpointError(name + ": found NaN in what it gives for a text, expected numbers");
    }
    return outputs;
  };
}

/// Tokens that a text is cut to where nobody says.
int64_t longest_text(const Runnable& model, const std::optional<int64_t>& trained) {
  const auto positions = model.config ? model.config->max_length() : Runnable().max_length;
  const auto& of_tokenizer = model.tokenizer->max_length();
  const bool of_sentences = model.config && traits_of(model.config->task).head == HeadKind::embedding;
  if (const auto& own = model.tokenizer->sentence().max_length; of_sentences && own) {
    return std::min({positions, *own, trained.value_or(positions)});
  }
  return std::min(positions, trained ? *trained : of_tokenizer.value_or(positions));
}

}  // namespace

void require_pairs(const Runnable& model) {
  if (model.config) check_fit(*model.tokenizer, *model.config, model.file, {.pairs = true});
}

Runnable open_model(const fs::path& path, const std::optional<fs::path>& tokenizer, torch::Device device,
                    const std::optional<TaskHead>& head) {
  const auto folder = folder_of(path);
  const bool is_folder = fs::is_directory(path);
  const auto weights = transformer_folder(folder);
  Runnable runnable;
  if (!is_folder && path.extension() == ".safetensors") {
    throw CheckpointError(path.string() +
                          ": weights alone, expected the folder that they are in, or a TorchScript file");
  }
  const bool script = !is_folder || (!fs::exists(weights / "model.safetensors") && fs::exists(path / "model.pt"));
  runnable.file = !script ? weights / "model.safetensors" : is_folder ? path / "model.pt" : path;
  if (!script || fs::exists(folder / "config.json")) runnable.config = load_model_config(folder);
  std::optional<int64_t> rows;
  if (runnable.config) rows = runnable.config->vocab_size;
  runnable.tokenizer = load_tokenizer(tokenizer.value_or(folder), rows);
  runnable.warnings = runnable.tokenizer->warnings();
  if (runnable.config) add(fit(runnable), runnable.warnings);
  if (script) {
    exporter::ScriptUse use{.name = runnable.file.string()};
    if (runnable.config) use.head = TaskHead{runnable.config->labels, runnable.config->task};
    runnable.logits = exporter::script_logits(exporter::load_script(runnable.file), use);
  } else {
    auto loaded = load_model(path, {.head = head});
    auto& model = loaded.model;
    for (const auto& warning : loaded.warnings) runnable.warnings.push_back(path.string() + ": " + warning);
    if (model->config().linear_format != WeightFormat::int8) runnable.device = device;
    model->to(runnable.device);
    runnable.config = model->config();
    runnable.logits = [model = loaded.model](const Batch& batch) mutable { return model->forward(batch).logits; };
  }
  runnable.logits = checked(std::move(runnable.logits), runnable.file);
  const auto trained = trained_with(folder);
  runnable.max_length = longest_text(runnable, trained.max_length);
  runnable.answers = trained.answers;
  return runnable;
}

}  // namespace compression::recipes
