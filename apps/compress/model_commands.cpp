// eval, inspect, tokenize, predict, bench

#include <fmt/format.h>
#include <torch/types.h>

#include <charconv>
#include <iostream>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "compress/checkpoint/json_file.h"     // read_json_file
#include "compress/checkpoint/model_folder.h"  // load_model_config
#include "compress/evaluate/cost.h"            // parameter_count
#include "compress/workflow/error.h"           // ConfigError
#include "compress/workflow/machine.h"         // this_machine
#include "datasets/dataset.h"                  // read_dataset
#include "datasets/encoded.h"                  // make_batch_source
#include "prune/importance.h"                  // read_importance
#include "recipes/benchmark.h"                 // measure_batch
#include "recipes/runnable.h"                  // open_model

namespace compression::app {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

void check_length(std::string_view option, int64_t length, const recipes::Runnable& model) {
  if (model.config && length > model.config->max_length()) {
    throw ConfigError(fmt::format("{}: found {}, but {} has positions for {} tokens", option, length,
                                  model.file.string(), model.config->max_length()));
  }
}

recipes::Runnable open(const ModelOptions& options, const Context& context) {
  auto model = recipes::open_model(options.model, options.tokenizer, context.device);
  if (model.device != context.device) {
    throw UnsupportedError(model.file.string() +
                           ": TorchScript files and int8 weights run on the CPU: leave --device out");
  }
  if (options.max_length) {
    check_length("--max-length", *options.max_length, model);
    model.max_length = *options.max_length;
  }
  return model;
}

/// How many classes a model without a config gives: by asking it.
int64_t class_count(const recipes::Runnable& model) {
  const c10::InferenceMode inference;
  const Batch one{.input_ids = torch::zeros({1, 2}, torch::kLong),
                  .attention_mask = torch::ones({1, 2}, torch::kLong),
                  .token_type_ids = torch::zeros({1, 2}, torch::kLong),
                  .labels = {},
                  .examples = {}};
  return model.logits(one.to(model.device)).size(1);
}

std::vector<std::string> class_names(const recipes::Runnable& model) {
  if (model.config && !model.config->labels.empty()) return model.config->labels;
  std::vector<std::string> names;
  for (int64_t i = 0; i < class_count(model); ++i) names.push_back(std::to_string(i));
  return names;
}

std::vector<std::string> read_lines(std::istream& in) {
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::pair<int64_t, int64_t> parse_shape(const std::string& text) {
  int64_t batch = 0, length = 0;
  const auto* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, batch);
  if (first.ec == std::errc() && first.ptr != end && *first.ptr == 'x') {
    const auto second = std::from_chars(first.ptr + 1, end, length);
    if (second.ec == std::errc() && second.ptr == end && batch > 0 && length > 0) return {batch, length};
  }
  throw ConfigError(fmt::format("--shapes: found \"{}\", expected BATCHxLENGTH, as in 32x128", text));
}

/// The shapes of the model that this one was cut from.
std::vector<LayerShape> unpruned_layers(const ModelConfig& config, const fs::path& folder) {
  auto source = config.source;
  source.erase("compress");
  return read_model_config(source, (folder / "config.json").string()).layers;
}

/// "########....  8 of 12"
std::string drawn(int64_t kept, int64_t all, int64_t width) {
  const auto full = static_cast<size_t>(std::clamp<int64_t>(kept * width / all, 1, width));
  return fmt::format("{}{} {:>4} of {}", std::string(full, '#'), std::string(static_cast<size_t>(width) - full, '.'),
                     kept, all);
}

}  // namespace

int eval_command(const EvalOptions& options, Context& context, bool as_json) {
  datasets::FileConfig file{.path = options.data, .format = options.format, .text_pair = options.text_pair};
  if (options.text) file.text = *options.text;
  if (options.label) file.label = *options.label;
  file.header = !options.no_header;
  const auto model = open(options.model, context);
  const auto data = datasets::read_dataset(file);
  const auto labels = datasets::label_ids(data, class_names(model));
  const auto source =
      datasets::make_batch_source(model.tokenizer->encode_batch(data.inputs, {.max_length = model.max_length}), labels,
                                  model.tokenizer->pad_id(), {.batch_size = options.batch_size});
  const auto result = evaluate(model.logits, *source, context);
  if (as_json) {
    std::cout << json{{"accuracy", result.accuracy()},
                      {"correct", result.correct},
                      {"total", result.total},
                      {"loss", result.loss}}
                     .dump()
              << '\n';
  } else {
    std::cout << fmt::format("accuracy {:.4f} ({} of {}), loss {:.4f}\n", result.accuracy(), result.correct,
                             result.total, result.loss);
  }
  return success;
}

int inspect_command(const InspectOptions& options, bool as_json) {
  const auto folder = recipes::folder_of(options.model);
  const auto config = load_model_config(folder);
  const auto length = std::min<int64_t>(config.max_length(), 128);
  json out = {{"model_type", config.model_type},
              {"hidden_size", config.hidden_size},
              {"attention_head_size", config.attention_head_size},
              {"vocab_size", config.vocab_size},
              {"labels", config.labels},
              {"linear_format", enum_name(config.linear_format)},
              {"embedding_format", enum_name(config.embedding_format)},
              {"parameters", parameter_count(config)},
              {"macs", encoder_macs(config, length)},
              {"macs_length", length}};
  for (const auto& layer : config.layers) {
    out["layers"].push_back(
        {{"num_attention_heads", layer.num_attention_heads}, {"intermediate_size", layer.intermediate_size}});
  }
  for (const auto* name : {"model.safetensors", "model.pt"}) {
    if (fs::exists(folder / name)) out["files"][name] = fs::file_size(folder / name);
  }
  if (fs::exists(folder / "compress.json")) out["manifest"] = read_json_file(folder / "compress.json");
  const auto scores_file = folder / "importance.json";
  prune::Importance importance;
  if (fs::exists(scores_file)) {
    const auto scores = read_json_file(scores_file);
    importance = prune::read_importance(scores, scores_file.string());
    out["importance"] = scores;
  }
  if (as_json) {
    std::cout << out.dump(2) << '\n';
    return success;
  }
  std::cout << fmt::format("{}: {}, hidden size {}, {} layers, heads of {}, {} classes\n", folder.string(),
                           config.model_type, config.hidden_size, config.layers.size(), config.attention_head_size,
                           config.labels.size());
  std::cout << fmt::format(
      "weights: linear layers {}, embeddings {}; {:.2f} M parameters; {:.1f} M multiply-adds for {} tokens\n",
      enum_name(config.linear_format), enum_name(config.embedding_format),
      static_cast<double>(parameter_count(config)) / 1e6, static_cast<double>(encoder_macs(config, length)) / 1e6,
      length);
  if (out.contains("files")) {
    for (const auto& [name, bytes] : out["files"].items()) {
      std::cout << fmt::format("{}: {:.2f} MB\n", name, bytes.get<double>() / 1e6);
    }
  }
  if (out.contains("manifest")) {
    const auto stage = out["manifest"].value("stage", json::object());
    std::cout << fmt::format("made by stage {} ({}) of recipe {}\n", stage.value("id", "?"), stage.value("kind", "?"),
                             out["manifest"].value("recipe", "?"));
  }
  const auto whole = unpruned_layers(config, folder);
  std::cout << fmt::format("{:>5}  {:<28}  {}\n", "layer", "heads", "FFN units");
  for (size_t i = 0; i < config.layers.size(); ++i) {
    std::cout << fmt::format("{:>5}  {:<28}  {}\n", i,
                             drawn(config.layers[i].num_attention_heads, whole[i].num_attention_heads, 12),
                             drawn(config.layers[i].intermediate_size, whole[i].intermediate_size, 24));
  }
  if (!importance.empty()) std::cout << "importance before the cut, best unit first:\n";
  for (const auto& group : importance) {
    const auto sorted = std::get<0>(group.scores.sort(0, true));
    std::vector<float> values(sorted.data_ptr<float>(), sorted.data_ptr<float>() + sorted.numel());
    if (values.size() > 12) {  // of many units, their distribution
      const auto at = [&](double share) {
        return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
      };
      values = {at(0), at(0.1), at(0.25), at(0.5), at(0.75), at(0.9), at(1)};
    }
    std::cout << fmt::format("{:>5} {:<13}{} {:.4g}\n", group.layer, enum_name(group.kind),
                             group.scores.numel() > 12 ? " 0/10/25/50/75/90/100 %:" : "", fmt::join(values, " "));
  }
  return success;
}

int tokenize_command(const ModelOptions& options, bool as_json) {
  const auto tokenizer = load_tokenizer(options.tokenizer ? *options.tokenizer : recipes::folder_of(options.model));
  const EncodeOptions encode{.max_length = options.max_length.value_or(0)};
  constexpr size_t at_once = 4096;
  std::vector<TextInput> inputs;
  const auto flush = [&] {
    for (const auto& encoding : tokenizer->encode_batch(inputs, encode)) {
      if (as_json) {
        std::cout << json{{"input_ids", encoding.input_ids}, {"token_type_ids", encoding.token_type_ids}}.dump()
                  << '\n';
      } else {
        std::cout << fmt::format("{}\n", fmt::join(encoding.input_ids, " "));
      }
    }
    inputs.clear();
  };
  for (std::string line; std::getline(std::cin, line);) {
    inputs.push_back({line, std::nullopt});
    if (inputs.size() == at_once) flush();
  }
  flush();
  return success;
}

int predict_command(const PredictOptions& options, Context& context, bool as_json) {
  const auto texts = options.texts.empty() ? read_lines(std::cin) : options.texts;
  if (texts.empty()) throw DataError("predict: no text; give texts as arguments or on standard input, one a line");
  const auto model = open(options.model, context);
  std::vector<TextInput> inputs;
  for (const auto& text : texts) inputs.push_back({text, std::nullopt});
  const auto source = datasets::make_batch_source(
      model.tokenizer->encode_batch(inputs, {.max_length = model.max_length}), {}, model.tokenizer->pad_id(), {});
  const auto probabilities = torch::softmax(predict(model.logits, *source, context), -1);
  const auto names = class_names(model);
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto row = probabilities[static_cast<int64_t>(i)];
    const auto best = row.argmax().item<int64_t>();
    const auto score = row[best].item<double>();
    const auto& name = names.at(static_cast<size_t>(best));
    if (as_json) {
      json scores;
      for (size_t c = 0; c < names.size(); ++c) scores[names[c]] = row[static_cast<int64_t>(c)].item<double>();
      std::cout << json{{"label", name}, {"score", score}, {"scores", scores}}.dump() << '\n';
    } else {
      std::cout << fmt::format("{}\t{:.4f}\n", name, score);
    }
  }
  return success;
}

int bench_command(const BenchOptions& options, Context& context, bool as_json) {
  const auto model = open(options.model, context);
  const auto machine = this_machine();
  json rows = json::array();
  if (!as_json) std::cout << fmt::format("{}\non {}\n", model.file.string(), describe(machine));
  for (const auto& shape : options.shapes) {
    const auto [batch, length] = parse_shape(shape);
    check_length("--shapes", length, model);
    const auto timing = recipes::measure_batch(model, batch, length, options.seconds);
    const double texts = static_cast<double>(batch) * 1e3 / timing.median_ms;
    rows.push_back({{"batch", batch},
                    {"length", length},
                    {"median_ms", timing.median_ms},
                    {"spread_ms", {timing.low_ms, timing.high_ms}},
                    {"runs", timing.runs},
                    {"texts_per_second", texts}});
    if (!as_json) {
      std::cout << fmt::format("{:>8}: {:.3f} ms a call ({:.3f} to {:.3f}, {} runs), {:.1f} texts/s\n", shape,
                               timing.median_ms, timing.low_ms, timing.high_ms, timing.runs, texts);
    }
  }
  if (as_json) {
    std::cout << json{{"model", model.file.string()}, {"machine", machine_json(machine)}, {"results", rows}}.dump(2)
              << '\n';
  }
  return success;
}

}  // namespace compression::app
