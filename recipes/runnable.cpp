#include "recipes/runnable.h"

#include "compress/checkpoint/json_file.h"     // read_json_file
#include "compress/checkpoint/model_folder.h"  // load_model
#include "compress/workflow/error.h"           // CheckpointError
#include "export/script.h"                     // load_script, script_logits

namespace compression::recipes {
namespace {

namespace fs = std::filesystem;

/// What the recipe cut its texts to, if a recipe made the folder.
std::optional<int64_t> trained_length(const fs::path& folder) {
  const auto file = folder / "compress.json";
  if (!fs::exists(file)) return std::nullopt;
  const auto manifest = read_json_file(file);
  const auto found = manifest.find("max_length");
  if (found == manifest.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<int64_t>();
}

}  // namespace

fs::path folder_of(const fs::path& path) {
  if (!fs::exists(path)) throw CheckpointError(path.string() + ": no such folder or file");
  if (fs::is_directory(path)) return path;
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

Runnable open_model(const fs::path& path, const std::optional<fs::path>& tokenizer, torch::Device device) {
  const auto folder = folder_of(path);
  const bool is_folder = fs::is_directory(path);
  Runnable runnable;
  const bool script = !is_folder || (!fs::exists(path / "model.safetensors") && fs::exists(path / "model.pt"));
  if (script) {
    runnable.file = is_folder ? path / "model.pt" : path;
    runnable.logits = exporter::script_logits(exporter::load_script(runnable.file));
    if (fs::exists(folder / "config.json")) runnable.config = load_model_config(folder);
  } else {
    auto model = load_model(path).model;
    if (model->config().linear_format != WeightFormat::int8) runnable.device = device;
    model->to(runnable.device);
    runnable.file = path / "model.safetensors";
    runnable.config = model->config();
    runnable.logits = [model](const Batch& batch) mutable { return model->forward(batch).logits; };
  }
  runnable.tokenizer = load_tokenizer(tokenizer.value_or(folder));
  if (runnable.config) runnable.max_length = runnable.config->max_length();
  if (const auto length = trained_length(folder)) runnable.max_length = std::min(runnable.max_length, *length);
  return runnable;
}

}  // namespace compression::recipes
