#include "recipes/runnable.h"

#include <torch/types.h>

#include <algorithm>

#include "compress/base/error.h"                   // CheckpointError, UnsupportedError
#include "compress/families/families.h"            // refuse_gguf, require_encoder
#include "compress/model_files/fit.h"              // check_fit
#include "compress/model_folder/model_folder.h"    // load_model
#include "compress/pipeline/pipeline.h"            // check_fit_for_task
#include "compress/pipeline/trained.h"             // trained_with, longest_text
#include "compress/tokenizer/sentence_settings.h"  // transformer_folder
#include "datasets/encoded.h"                      // make_batch_source
#include "export/script.h"                         // load_script, script_logits

namespace compression::recipes {

namespace fs = std::filesystem;

fs::path folder_of(const fs::path& path) {
  if (!fs::exists(path)) throw CheckpointError(path.string() + ": no such folder or file");
  if (fs::is_directory(path)) return path;
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

namespace {

void add(const std::vector<std::string>& lines, std::vector<std::string>& all) {
  all.insert(all.end(), lines.begin(), lines.end());
}

/// Weights that are finite may overflow on the way: no metric, class or score is to be made of what comes out then.
LogitsFunction checked(LogitsFunction logits, const fs::path& file) {
  return [logits = std::move(logits), name = file.string()](const Batch& batch) {
    auto outputs = logits(batch);
    if (!outputs.isfinite().all().item<bool>()) {
      throw CheckpointError(name + ": found NaN or an infinity in what it gives for a text, expected finite numbers");
    }
    return outputs;
  };
}

/// Null where it has no kernels for the folder.
std::shared_ptr<const Engine> engine_of(const fs::path& folder) {
  try {
    return Engine::load(folder);
  } catch (const UnsupportedError&) {
    return nullptr;
  }
}

/// As a model of LibTorch's: of texts that are padded at their ends, and of labelled tokens alone where there are some.
LogitsFunction engine_logits(std::shared_ptr<const Engine> engine) {
  return [engine = std::move(engine)](const Batch& batch) {
    const auto longs = [](const torch::Tensor& t) { return t.to(torch::kLong).contiguous(); };
    const auto ids = longs(batch.input_ids()), types = longs(batch.token_type_ids());
    const auto lengths = longs(batch.attention_mask().sum(1));
    const auto width = ids.size(1);
    const auto& task = traits_of(engine->config().task);
    const bool of_text = task.is_of_text();
    const bool labelled = batch.labels().defined() && (task.head == HeadKind::tokens || task.head == HeadKind::words);
    const auto labels = labelled ? longs(batch.labels()) : torch::Tensor();
    std::vector<TokenRow> rows;
    for (int64_t r = 0; r < ids.size(0); ++r) {
      const auto length = static_cast<size_t>(lengths.const_data_ptr<int64_t>()[r]);
      auto& row = rows.emplace_back(TokenRow{{ids.const_data_ptr<int64_t>() + r * width, length},
                                             {types.const_data_ptr<int64_t>() + r * width, length}});
      if (!labelled) continue;
      row.tokens.emplace();
      for (int64_t t = 0; t < width; ++t) {
        if (labels.const_data_ptr<int64_t>()[r * width + t] != ignored_label) row.tokens->push_back(t);
      }
    }
    const auto outputs = engine->run(rows);
    const auto found =
        torch::from_blob(const_cast<float*>(outputs.values.data()), {outputs.rows(), outputs.width}, torch::kFloat);
    if (of_text || labelled) return found.clone();
    const auto all = torch::zeros({ids.size(0), width, outputs.width}, torch::kFloat);
    for (int64_t r = 0; r < ids.size(0); ++r) {
      const auto first = outputs.begin[static_cast<size_t>(r)], last = outputs.begin[static_cast<size_t>(r) + 1];
      all[r].slice(0, 0, last - first).copy_(found.slice(0, first, last));
    }
    return all;
  };
}

void append(Outputs part, Outputs& all) {
  all.width = part.width;
  const auto before = all.rows();
  for (size_t i = 1; i < part.begin.size(); ++i) all.begin.push_back(before + part.begin[i]);
  all.values.insert(all.values.end(), part.values.begin(), part.values.end());
}

/// What the model gives for rows of tokens, whoever computes.
Outputs outputs_of(const Runnable& model, bool of_text, std::span<const TokenRow> rows, const Context& context) {
  Outputs outputs;
  if (model.engine) {
    constexpr size_t at_once = 256;
    for (size_t first = 0; first < rows.size(); first += at_once) {
      context.check_stop();
      append(model.engine->run(rows.subspan(first, std::min(at_once, rows.size() - first))), outputs);
      context.progress(static_cast<int64_t>(std::min(first + at_once, rows.size())), static_cast<int64_t>(rows.size()),
                       "computing");
    }
    return outputs;
  }
  std::vector<Encoding> encodings;
  for (const auto& row : rows) {
    auto& encoding = encodings.emplace_back();
    encoding.input_ids.assign(row.ids.begin(), row.ids.end());
    encoding.token_type_ids.assign(row.types.begin(), row.types.end());
    const auto tokens = row.tokens ? row.tokens->size() : row.ids.size();
    outputs.begin.push_back(outputs.rows() + (of_text ? 1 : static_cast<int64_t>(tokens)));
  }
  const auto source = datasets::make_batch_source(std::move(encodings), {}, model.tokenizer->pad_id(), {});
  each_output(model.logits, *source, context, [&](const Batch& batch, const torch::Tensor& given) {
    const auto logits = given.to(torch::kFloat).contiguous();
    outputs.width = logits.size(-1);
    outputs.values.resize(static_cast<size_t>(outputs.rows() * outputs.width));
    for (int64_t r = 0; r < batch.size(); ++r) {
      const auto text = static_cast<size_t>(batch.examples[r].item<int64_t>());
      const auto* own = logits[r].const_data_ptr<float>();
      auto* to = outputs.values.data() + outputs.begin[text] * outputs.width;
      if (of_text || !rows[text].tokens) {
        std::copy_n(own, (outputs.begin[text + 1] - outputs.begin[text]) * outputs.width, to);
        continue;
      }
      for (const auto token : *rows[text].tokens) to = std::copy_n(own + token * outputs.width, outputs.width, to);
    }
  });
  return outputs;
}

}  // namespace

void require_pairs(const Runnable& model) {
  if (model.config) check_fit(*model.tokenizer, *model.config, model.file, {.pairs = true});
}

Pipeline pipeline_of(const Runnable& model, const TaskHead& head, const AnswerConfig& answers,
                     std::optional<int64_t> stride, const Context& context) {
  const bool of_text = traits_of(head.task).is_of_text();
  return Pipeline({.outputs = [&model, of_text, &context](
                                  std::span<const TokenRow> rows) { return outputs_of(model, of_text, rows, context); },
                   .tokenizer = model.tokenizer,
                   .head = head,
                   .max_length = model.max_length,
                   .stride = stride,
                   .answers = answers,
                   .no_pairs = model.config ? pairs_problem(*model.tokenizer, *model.config, model.file) : "",
                   .source = "predict"});
}

Runnable open_model(const fs::path& path, const std::optional<fs::path>& tokenizer, torch::Device device,
                    const std::optional<TaskHead>& head, Compute compute) {
  const auto folder = folder_of(path);
  const bool is_folder = fs::is_directory(path);
  const auto weights = transformer_folder(folder);
  Runnable runnable;
  if (!is_folder && path.extension() == ".safetensors") {
    throw CheckpointError(path.string() +
                          ": weights alone, expected the folder that they are in, or a TorchScript file");
  }
  refuse_gguf(path);
  const bool script = !is_folder || (!fs::exists(weights / "model.safetensors") && fs::exists(path / "model.pt"));
  runnable.file = !script ? weights / "model.safetensors" : is_folder ? path / "model.pt" : path;
  if (!script || fs::exists(folder / "config.json")) runnable.config = load_model_config(folder);
  if (runnable.config) require_encoder(runnable.config->model_type, path.string());
  std::optional<int64_t> rows;
  if (runnable.config) rows = runnable.config->vocab_size;
  runnable.tokenizer = load_tokenizer(tokenizer.value_or(folder), rows);
  runnable.warnings = runnable.tokenizer->warnings();
  if (runnable.config) {
    add(check_fit_for_task(*runnable.tokenizer, *runnable.config, runnable.file), runnable.warnings);
  }
  if (script) {
    exporter::ScriptUse use{.name = runnable.file.string()};
    if (runnable.config) use.head = TaskHead{runnable.config->labels, runnable.config->task};
    runnable.logits = exporter::script_logits(exporter::load_script(runnable.file), use);
  } else if (compute == Compute::packed && device.is_cpu() && !head && (runnable.engine = engine_of(path))) {
    for (const auto& warning : runnable.engine->warnings()) runnable.warnings.push_back(path.string() + ": " + warning);
    runnable.config = runnable.engine->config();
    runnable.logits = engine_logits(runnable.engine);
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
  runnable.max_length = longest_text(runnable.config, *runnable.tokenizer, trained);
  runnable.answers = trained.answers;
  return runnable;
}

}  // namespace compression::recipes
