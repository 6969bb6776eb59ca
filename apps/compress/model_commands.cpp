// eval, inspect, tokenize, predict, bench

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "commands.h"
#include "compress/base/byte_size.h"                      // shown_bytes
#include "compress/base/error.h"                          // ConfigError
#include "compress/base/json_file.h"                      // read_json_file
#include "compress/base/limits.h"                         // text_bytes
#include "compress/base/message.h"                        // json_text, printable
#include "compress/base/number.h"                         // number_of
#include "compress/checkpoint/checkpoint.h"               // open_checkpoint
#include "compress/checkpoint/gguf.h"                     // gguf_file
#include "compress/families/families.h"                   // find_family
#include "compress/families/model_config.h"               // foreign_head, read_model_config
#include "compress/kernels/bfloat16_choice.h"             // bfloat16_choice
#include "compress/kernels/linear.h"                      // int8_kernel
#include "compress/model_folder/language_model_folder.h"  // load_language_config
#include "compress/model_folder/model_folder.h"           // check_weights, load_model_config
#include "compress/pipeline/pipeline.h"                   // Pipeline
#include "compress/spec/cost.h"                           // parameter_count
#include "compress/storage/storage.h"                     // storage_of
#include "compress/task/task.h"                           // default_metric, check_metric
#include "compress/tokenizer/sentence_settings.h"         // transformer_folder
#include "compress/workflow/machine.h"                    // this_machine
#include "datasets/dataset.h"                             // read_dataset
#include "datasets/encoded.h"                             // make_batch_source
#include "datasets/examples.h"                            // encode_examples
#include "input.h"                                        // read_lines
#include "prune/importance.h"                             // read_importance
#include "prune/sparse.h"                                 // layer_zeros
#include "recipes/benchmark.h"                            // measure_instances
#include "recipes/runnable.h"                             // open_model
#include "recipes/text.h"                                 // in_quotes

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

recipes::Runnable open(const ModelOptions& options, const Context& context,
                       recipes::Compute compute = recipes::Compute::module) {
  auto model = recipes::open_model(options.model, options.tokenizer, context.device, std::nullopt, compute);
  for (const auto& warning : model.warnings) context.logger->warn("{}", warning);
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
  const auto zeros = torch::zeros({1, 2}, torch::kLong);
  const auto one = text_batch(zeros, torch::ones_like(zeros), zeros);
  const auto logits = model.logits(one.to(model.device));
  if (logits.dim() != 2) {
    throw UnsupportedError(fmt::format("{}: its output for a text has {} dimensions, expected 2: [batch, classes]",
                                       model.file.string(), logits.dim()));
  }
  return logits.size(1);
}

/// What the config says; a file without one is taken for a classifier.
TaskHead head_of(const recipes::Runnable& model) {
  if (model.config) return {model.config->labels, model.config->task};
  TaskHead head;
  for (int64_t i = 0, count = class_count(model); i < count; ++i) head.labels.push_back(std::to_string(i));
  return head;
}

Metric metric_of(const EvalOptions& options, const TaskHead& head) {
  if (!options.metric) return default_metric(head);
  for (const auto& [metric, name] : enum_names(Metric{})) {
    if (name != *options.metric) continue;
    try {
      check_metric(metric, head);
    } catch (const ConfigError& error) {
      throw ConfigError(fmt::format("--metric: {}", error.what()));
    }
    return metric;
  }
  throw ConfigError(fmt::format("--metric: found {}, expected a metric of {} (docs/tasks.md)",
                                recipes::in_quotes(*options.metric), enum_name(head.task)));
}

/// Which answers are looked for: what the model's folder says, and what the options say otherwise. `best`: whether
/// --threshold may be it, which leaves the threshold out.
AnswerConfig answers_for(const AnswerOptions& options, const recipes::Runnable& model, const TaskHead& head,
                         bool best) {
  auto answers = model.answers;
  const bool any =
      options.unanswerable || options.threshold || options.n_best || options.longest || options.candidates > 0;
  if (any && traits_of(head.task).labels != LabelKind::answers) {
    throw ConfigError(
        fmt::format("--unanswerable, --threshold, --n-best, --longest and --candidates are for question answering, and "
                    "{} is for {}",
                    model.file.string(), enum_name(head.task)));
  }
  answers.unanswerable = answers.unanswerable || options.unanswerable || options.threshold;
  answers.n_best = options.n_best.value_or(answers.n_best);
  answers.longest = options.longest.value_or(answers.longest);
  if (!options.threshold) {
    if (answers.unanswerable && !answers.threshold) answers.threshold = 0.0;
    return answers;
  }
  answers.threshold = number_of<double>(*options.threshold);
  const bool is_number = answers.threshold && std::isfinite(*answers.threshold);
  if (!is_number && !(best && *options.threshold == "best")) {
    throw ConfigError(fmt::format("--threshold: found {}, expected a number{}", recipes::in_quotes(*options.threshold),
                                  best ? " or best" : ""));
  }
  return answers;
}

/// Lines as the task reads them: pairs of texts are parted by a tab.
std::vector<TextInput> inputs_of(const std::vector<std::string>& lines, LabelKind labels, bool pairs) {
  std::vector<TextInput> inputs;
  for (size_t i = 0; i < lines.size(); ++i) {
    inputs.push_back({lines[i], std::nullopt});
    if (!pairs && labels != LabelKind::answers) continue;
    const auto tab = lines[i].find('\t');
    if (tab == std::string::npos) {
      throw DataError(fmt::format("predict: text {} has no tab, expected {}", i + 1,
                                  pairs ? "two texts with one between" : "the question, a tab and the context"));
    }
    inputs.back() = {lines[i].substr(0, tab), lines[i].substr(tab + 1)};
    if (labels != LabelKind::cosine) continue;
    inputs.push_back({*std::exchange(inputs.back().pair, std::nullopt), std::nullopt});  // each has its vector
  }
  return inputs;
}

constexpr int64_t max_tokens = 1'000'000;  // of a call
constexpr size_t max_shapes = 1000;

struct Shape {
  std::string text;
  int64_t batch = 0, length = 0;
};

Shape parse_shape(const std::string& text) {
  const auto parted = std::min(text.find('x'), text.size());
  const auto batch = number_of<int64_t>(std::string_view(text).substr(0, parted));
  const auto length = number_of<int64_t>(std::string_view(text).substr(std::min(parted + 1, text.size())));
  if (!batch || !length || *batch < 1 || *length < 1) {
    throw ConfigError(fmt::format("--shapes: found {}, expected BATCHxLENGTH, as in 32x128", recipes::in_quotes(text)));
  }
  if (*batch <= max_tokens / *length) return {text, *batch, *length};
  throw ConfigError(
      fmt::format("--shapes: found {}, expected at most {} tokens a call", recipes::in_quotes(text), max_tokens));
}

/// All of them, before any is measured.
std::vector<Shape> parse_shapes(const std::vector<std::string>& texts, const recipes::Runnable& model) {
  if (texts.size() > max_shapes) {
    throw ConfigError(fmt::format("--shapes: found {} shapes, expected at most {}", texts.size(), max_shapes));
  }
  std::vector<Shape> shapes;
  for (const auto& text : texts) {
    shapes.push_back(parse_shape(text));
    check_length("--shapes", shapes.back().length, model);
  }
  return shapes;
}

void print_kernels(const json& kernels) {
  std::cout << fmt::format("kernels of the fused runtime on {}\n", describe(this_machine()));
  for (const auto& [number, kernel] : kernels.items()) {
    std::cout << fmt::format("  {}: {}\n", number, kernel.get<std::string>());
  }
}

/// What the fused runtime computes bf16 weights of so many inputs with: "AVX-512 BF16; of 384 inputs bf16 (0.61 ms;
/// fp32 0.84 ms); of 1536 inputs fp32 (0.90 ms; bf16 1.20 ms)".
std::string bfloat16_kernels(const std::set<int64_t>& inputs) {
  std::string text = kernels::bfloat16_kernel();
  for (const auto in : inputs) {
    const auto choice = kernels::bfloat16_choice(in);
    const bool wide = choice.number == kernels::Number::float32;
    text += fmt::format("; of {} inputs {} ({:.2f} ms; {} {:.2f} ms)", in, wide ? "fp32" : "bf16",
                        wide ? choice.float32_ms : choice.bfloat16_ms, wide ? "bf16" : "fp32",
                        wide ? choice.bfloat16_ms : choice.float32_ms);
  }
  return text;
}

json kernels_for(const std::set<int64_t>& inputs) {
  return {{"int8", kernels::int8_kernel()}, {"bf16", bfloat16_kernels(inputs)}};
}

/// The shapes of the model that this one was cut from.
std::vector<BlockSpec> unpruned_layers(const ModelConfig& config, const fs::path& folder) {
  auto source = config.source;
  source.erase("pruned_heads");
  if (source.contains("compress") && source["compress"].is_object())
    source["compress"].erase("layers");  // the size of a head is needed still
  return read_model_config(source, (folder / "config.json").string()).layers;
}

/// "########....  8 of 12"
std::string drawn(int64_t kept, int64_t all, int64_t width) {
  const auto full = static_cast<size_t>(kept == 0 ? 0 : std::clamp<int64_t>(kept * width / all, 1, width));
  return fmt::format("{}{} {:>4} of {}", std::string(full, '#'), std::string(static_cast<size_t>(width) - full, '.'),
                     kept, all);
}

}  // namespace

int eval_command(const EvalOptions& options, Context& context, bool as_json) {
  if (is_language_model(options.model.model)) return eval_language_command(options, context, as_json);
  datasets::FileConfig file{.path = options.data,
                            .format = options.format,
                            .text = options.text,
                            .text_pair = options.text_pair,
                            .label = options.label};
  file.header = !options.no_header;
  file.quotes = options.quotes;
  const auto model = open(options.model, context, recipes::Compute::packed);
  const auto head = head_of(model);
  const auto metric = metric_of(options, head);
  const auto answers = answers_for(options.answers, model, head, /*best=*/true);
  const auto data = datasets::read_dataset(file, /*labelled=*/true, head.task);
  datasets::require_answers(data, answers);
  const bool pairs = std::ranges::any_of(data.inputs, [](const TextInput& input) { return input.pair.has_value(); });
  if (pairs && traits_of(head.task).labels != LabelKind::cosine) recipes::require_pairs(model);
  for (const auto& warning : data.warnings) context.logger->warn("{}", warning);
  if (const auto note = datasets::label_note(data, head); !note.empty()) {
    context.logger->warn("{}: {}", data.path.string(), note);
  }
  const auto examples =
      datasets::encode_examples(data, datasets::labels_of(data, head), head, metric, *model.tokenizer,
                                {.max_length = model.max_length, .stride = options.answers.stride, .answers = answers});
  const auto source =
      datasets::make_batch_source(examples, model.tokenizer->pad_id(), {.batch_size = options.batch_size});
  const auto result = evaluate(model.logits, *source, context);
  std::cout << (as_json ? json_text(json(result)) : describe(result)) << '\n';
  return success;
}

namespace {

std::string task_of(const ModelConfig& config) {
  if (!find_family(config.model_type).is_decoder()) return std::string(enum_name(config.task));
  if (config.language_head != LanguageHead::none) return "language modelling";
  const auto other = foreign_head(config);
  return other.empty() ? "a decoder without a head" : fmt::format("a decoder, read without the head of {}", other);
}

/// The files that a model's weights are in; none where there are no weights that we read. Throws as open_checkpoint().
TensorFiles weights_of(const fs::path& model) {
  std::error_code ignored;
  const auto folder = fs::is_directory(model, ignored) ? transformer_folder(model) : model;
  const auto there = [&](const char* name) { return fs::exists(folder / name, ignored); };
  const bool has_weights = there("model.safetensors") || there("model.safetensors.index.json") || gguf_file(folder);
  return has_weights ? open_checkpoint(folder) : TensorFiles();
}

/// By encoding, its tensors and their bytes.
json stored_as(const TensorFiles& files) {
  struct Amount {
    int64_t tensors = 0;
    uint64_t bytes = 0;
  };
  std::map<std::string, Amount> amounts;
  for (const auto& [name, file] : files) {
    const auto& info = file->info(name);
    auto& amount = amounts[std::string(file->encoding(name))];
    ++amount.tensors;
    amount.bytes += info.end - info.begin;
  }
  json stored = json::object();
  for (const auto& [encoding, of] : amounts) stored[encoding] = {{"tensors", of.tensors}, {"bytes", of.bytes}};
  return stored;
}

/// What a folder's files say of its model, for reading by programs.
json facts_of(const fs::path& model, const fs::path& folder, const ModelConfig& config) {
  const auto weights = weights_of(model);
  const auto length = std::min<int64_t>(config.max_length(), 128);
  json out = {{"model_type", config.model_type},
              {"hidden_size", config.hidden_size},
              {"attention_head_size", config.attention_head_size()},
              {"vocab_size", config.vocab_size},
              {"task", task_of(config)},
              {"labels", config.labels},
              {"parameters", parameter_count(config)},
              {"macs", encoder_macs(config, length)},
              {"macs_length", length}};
  if (!find_family(config.model_type).is_decoder()) {  // whose weights are as their file has them
    out["linear_format"] = enum_name(config.linear_format);
    out["embedding_format"] = enum_name(config.embedding_format);
  }
  if (config.sparsity) out["sparsity_pattern"] = enum_name(*config.sparsity);
  const auto add_layers = [&](const char* key, const std::vector<BlockSpec>& layers) {
    for (const auto& layer : layers) {
      auto& shape = out[key].emplace_back();
      shape = {{"num_attention_heads", layer.attention.heads}, {"intermediate_size", layer.mlp.units}};
      if (layer.attention.group > 1) shape["num_key_value_heads"] = layer.attention.kv_heads();
      if (layer.attention.head_size != config.attention_head_size()) {
        shape["attention_head_size"] = layer.attention.head_size;
      }
      if (layer.cross) shape["cross_attention_heads"] = layer.cross->heads;
    }
  };
  add_layers("layers", config.layers);
  add_layers("decoder_layers", config.decoder);
  if (!weights.empty()) out["stored"] = stored_as(weights);
  for (const auto& [name, file] : weights) out["files"][file->path().filename().string()] = fs::file_size(file->path());
  if (fs::exists(folder / "model.pt")) out["files"]["model.pt"] = fs::file_size(folder / "model.pt");
  if (fs::exists(folder / "compress.json")) out["manifest"] = read_json_file(folder / "compress.json");
  if (fs::exists(folder / "importance.json")) out["importance"] = read_json_file(folder / "importance.json");
  return out;
}

void print_facts(const json& facts, const ModelConfig& config, const fs::path& folder) {
  const auto stacks = config.decoder.empty()
                          ? fmt::format("{} layers", config.layers.size())
                          : fmt::format("{} layers and a decoder of {}", config.layers.size(), config.decoder.size());
  auto heads = fmt::format("heads of {}", config.attention_head_size());
  if (!config.decoder.empty() && config.decoder.front().attention.head_size != config.attention_head_size()) {
    heads += fmt::format(", of {} in the decoder", config.decoder.front().attention.head_size);
  }
  std::cout << fmt::format("{}: {}, hidden size {}, {}, {}; {}{}\n", printable(folder.string()),
                           printable(config.model_type), config.hidden_size, stacks, heads, printable(task_of(config)),
                           config.labels.size() > 1 ? fmt::format(", {} classes", config.labels.size()) : "");
  std::vector<std::string> weights;
  if (facts.contains("linear_format")) {
    weights.push_back(fmt::format("linear layers {}, embeddings {}", facts["linear_format"].get<std::string>(),
                                  facts["embedding_format"].get<std::string>()));
  }
  if (facts.contains("sparsity_pattern")) {
    weights.push_back(fmt::format("zeros in pattern {}", facts["sparsity_pattern"].get<std::string>()));
  }
  weights.push_back(fmt::format("{:.2f} M parameters", facts.at("parameters").get<double>() / 1e6));
  weights.push_back(fmt::format("{:.1f} M multiply-adds for {} tokens", facts.at("macs").get<double>() / 1e6,
                                facts.at("macs_length").get<int64_t>()));
  std::cout << fmt::format("weights: {}\n", fmt::join(weights, "; "));
  if (facts.contains("stored")) {
    std::vector<std::string> parts;
    for (const auto& [encoding, of] : facts["stored"].items()) {
      parts.push_back(fmt::format("{} {} in {} tensors", encoding, shown_bytes(of.at("bytes").get<int64_t>(), 2),
                                  of.at("tensors").get<int64_t>()));
    }
    std::cout << fmt::format("stored: {}\n", fmt::join(parts, ", "));
  }
  if (facts.contains("files")) {
    for (const auto& [name, bytes] : facts["files"].items()) {
      std::cout << fmt::format("{}: {}\n", name, shown_bytes(bytes.get<int64_t>(), 2));
    }
  }
  if (!facts.contains("manifest")) return;
  const auto& manifest = facts["manifest"];
  const auto text = [&](const char* key) {
    const auto pointer = json::json_pointer(key);
    const bool there = manifest.contains(pointer) && manifest[pointer].is_string();
    return there ? one_line(manifest[pointer].get<std::string>(), 80) : "?";
  };
  std::cout << fmt::format("made by stage {} ({}) of recipe {}\n", text("/stage/id"), text("/stage/kind"),
                           text("/recipe"));
}

void print_layers(const ModelConfig& config, const fs::path& folder) {
  const auto whole = unpruned_layers(config, folder);
  std::cout << fmt::format("{:>5}  {:<28}  {}\n", "layer", "heads", "FFN units");
  for (size_t i = 0; i < config.layers.size(); ++i) {
    std::cout << fmt::format("{:>5}  {:<28}  {}\n", i,
                             drawn(config.layers[i].attention.heads, whole[i].attention.heads, 12),
                             drawn(config.layers[i].mlp.units, whole[i].mlp.units, 24));
  }
  for (size_t i = 0; i < config.decoder.size(); ++i) {
    const auto [heads, units] = std::pair(config.decoder[i].attention.heads, config.decoder[i].mlp.units);
    std::cout << fmt::format("{:>5}  {:<28}  {}\n", config.layers.size() + i, drawn(heads, heads, 12),
                             drawn(units, units, 24));
  }
}

/// What the zeros of a model's linear layers are worth on this machine, a layer each.
json zeros_facts(const fs::path& folder) {
  auto model = load_model(folder).model;
  auto facts = json::array();
  for (const auto& zeros : prune::layer_zeros(model)) {
    facts.push_back({{"name", zeros.name},
                     {"layer", zeros.layer},
                     {"out", zeros.out},
                     {"in", zeros.in},
                     {"density", zeros.density},
                     {"words", zeros.words},
                     {"kernel", zeros.choice.fewest_rows > 0 ? "sparse" : "dense"},
                     {"fewest_rows", zeros.choice.fewest_rows},
                     {"speedup", zeros.choice.speedup}});
  }
  return facts;
}

/// Layer by layer, what all linear layers of it have together.
void print_zeros(const json& facts, bool int8) {
  struct Together {
    int64_t linears = 0, sparse = 0, fewest_rows = 0;
    double weights = 0.0, stay = 0.0, words = 0.0, time = 0.0;
  };
  std::map<int64_t, Together> layers;
  for (const auto& zeros : facts) {
    auto& layer = layers[zeros.at("layer")];
    const auto weights = zeros.at("out").get<double>() * zeros.at("in").get<double>();
    const auto rows = zeros.at("fewest_rows").get<int64_t>();
    ++layer.linears;
    layer.sparse += rows > 0 ? 1 : 0;
    layer.fewest_rows = std::max(layer.fewest_rows, rows);
    layer.weights += weights;
    layer.stay += weights * zeros.at("density").get<double>();
    layer.words += weights * zeros.at("words").get<double>();
    layer.time += weights / zeros.at("speedup").get<double>();
  }
  std::cout << fmt::format("zeros, and what int8 products gain from them on this machine{}:\n",
                           int8 ? "" : " (these weights are not int8: they are multiplied with their zeros)");
  std::cout << fmt::format("{:>5}  {:>9}  {:>11}  {:<34}  {}\n", "layer", "not 0", "words not 0", "kernel",
                           "times faster");
  bool gains = false;
  for (const auto& [i, layer] : layers) {
    const auto kernel = layer.sparse == 0
                            ? std::string("dense")
                            : fmt::format("sparse for {} of {}, from {} {} on", layer.sparse, layer.linears,
                                          layer.fewest_rows, layer.fewest_rows == 1 ? "token" : "tokens");
    gains |= layer.sparse > 0;
    std::cout << fmt::format("{:>5}  {:>7.1f} %  {:>9.1f} %  {:<34}  {:.2f}\n", i, 100.0 * layer.stay / layer.weights,
                             100.0 * layer.words / layer.weights, kernel, layer.weights / layer.time);
  }
  if (!gains) {
    std::cout << fmt::format(
        "nothing is gained: a kernel leaves out {} neighbouring inputs of an output that are all 0, and too few are\n",
        kernels::sparse_word());
  }
}

void print_importance(const prune::Importance& importance) {
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
}

void inspect_machine(bool as_json) {
  const auto kernels = kernels_for({384, 768, 3072});
  if (!as_json) return print_kernels(kernels);
  std::cout << json_text(json{{"kernels", kernels}, {"machine", machine_json(this_machine())}}, 2) << '\n';
}

}  // namespace

int inspect_command(const InspectOptions& options, bool as_json) {
  if (options.model.empty()) {
    inspect_machine(as_json);
    return success;
  }
  const auto folder = recipes::folder_of(options.model);
  const bool is_folder = fs::exists(folder / "config.json") || !gguf_file(options.model);
  std::vector<std::string> warnings;
  const auto config = is_folder ? load_model_config(folder, &warnings) : load_language_config(options.model, &warnings);
  if (!find_family(config.model_type).is_decoder()) check_weights(folder, config);
  auto facts = facts_of(is_folder ? folder : fs::path(options.model), folder, config);
  if (!warnings.empty()) facts["warnings"] = warnings;
  if (config.sparsity && fs::exists(folder / "model.safetensors")) facts["zeros"] = zeros_facts(folder);
  const auto importance = facts.contains("importance")
                              ? prune::read_importance(facts["importance"], (folder / "importance.json").string())
                              : prune::Importance();
  if (options.kernels) {
    int64_t widest = config.hidden_size;
    for (const auto& layer : config.layers) widest = std::max(widest, layer.mlp.units);
    facts["kernels"] = kernels_for({config.hidden_size, widest});
  }
  if (as_json) {
    std::cout << json_text(facts, 2) << '\n';
    return success;
  }
  if (options.kernels) print_kernels(facts["kernels"]);
  print_facts(facts, config, folder);
  print_layers(config, folder);
  if (facts.contains("zeros")) print_zeros(facts["zeros"], storage_of(config.linear_format).quantizes_inputs());
  print_importance(importance);
  for (const auto& warning : warnings) std::cout << fmt::format("warning: {}\n", printable(warning));
  return success;
}

int tokenize_command(const ModelOptions& options, const Context& context, bool as_json) {
  const auto tokenizer = load_tokenizer(options.tokenizer ? *options.tokenizer : recipes::folder_of(options.model));
  for (const auto& line : tokenizer->warnings()) context.logger->warn("{}", line);
  const EncodeOptions encode{.max_length = options.max_length.value_or(0)};
  constexpr size_t at_once = 4096;
  std::vector<TextInput> inputs;
  size_t bytes = 0;
  const auto flush = [&] {
    for (const auto& encoding : tokenizer->encode_batch(inputs, encode)) {
      if (as_json) {
        std::cout << json_text(json{{"input_ids", encoding.input_ids}, {"token_type_ids", encoding.token_type_ids}})
                  << '\n';
      } else {
        std::cout << fmt::format("{}\n", fmt::join(encoding.input_ids, " "));
      }
    }
    inputs.clear();
    bytes = 0;
  };
  for (std::string line; next_line(std::cin, line);) {
    inputs.push_back({line, std::nullopt});
    bytes += line.size();
    if (inputs.size() == at_once || bytes >= limits::text_bytes) flush();
  }
  flush();
  return success;
}

int predict_command(const PredictOptions& options, Context& context, bool as_json) {
  const auto texts = options.texts.empty() ? read_lines(std::cin) : options.texts;
  if (texts.empty()) throw DataError("predict: no text; give texts as arguments or on standard input, one a line");
  const auto model = open(options.model, context, recipes::Compute::packed);
  const auto head = head_of(model);
  const auto labels = traits_of(head.task).labels;
  if (options.pairs && labels != LabelKind::cosine) recipes::require_pairs(model);
  const auto config = answers_for(options.answers, model, head, /*best=*/false);
  const auto pipeline = recipes::pipeline_of(model, head, config, options.answers.stride, context);
  const auto inputs = inputs_of(texts, labels, options.pairs);
  const auto predictions = pipeline.run(inputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto [text, object] = pipeline.answer(predictions[i], inputs[i], options.answers.candidates);
    std::cout << (as_json ? json_text(object) : text) << '\n';
  }
  return success;
}

int bench_command(const BenchOptions& options, Context& context, bool as_json) {
  constexpr int64_t per_processor =
      32;  // with many more, threads or memory for them may run out in libgomp, which ends us
  if (const auto most = per_processor * usable_processors(); options.instances > most) {
    throw ConfigError(fmt::format("--instances: found {}, expected at most {}: {} for each processor",
                                  options.instances, most, per_processor));
  }
  const auto model = open(options.model, context);
  const auto shapes = parse_shapes(options.shapes, model);
  const auto machine = this_machine();
  json rows = json::array();
  if (!as_json) std::cout << fmt::format("{}\non {}\n", printable(model.file.string()), describe(machine));
  for (const auto& [shape, batch, length] : shapes) {
    const auto [timing, texts] = recipes::measure_instances(model, batch, length, options.seconds, options.instances);
    rows.push_back({{"batch", batch},
                    {"length", length},
                    {"instances", options.instances},
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
    std::cout << json_text(json{{"model", model.file.string()}, {"machine", machine_json(machine)}, {"results", rows}},
                           2)
              << '\n';
  }
  return success;
}

}  // namespace compression::app
