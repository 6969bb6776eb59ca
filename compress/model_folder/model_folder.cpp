#include "compress/model_folder/model_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "compress/base/error.h"         // CheckpointError, StorageError
#include "compress/base/fields.h"        // enum_name
#include "compress/base/files.h"         // make_folder
#include "compress/base/json_file.h"     // read_json_file
#include "compress/base/limits.h"        // labels
#include "compress/families/families.h"  // find_family, require_encoder
#include "compress/families/model_config.h"  // has_label_names, head_of_classes, named_task, read_model_config, write_model_config
#include "compress/families/name_table.h"  // canonical_name, canonical_names, checkpoint_names, names_in_file, unknown_layers
#include "compress/model_files/checkpoint_head.h"         // settle_head
#include "compress/model_files/sentence_modules.h"        // read_sentence_modules
#include "compress/model_folder/joined.h"                 // put_together, take_apart
#include "compress/model_folder/language_model_folder.h"  // load_language_config
#include "compress/model_folder/sentence_transformers.h"  // read_dense_weights
#include "compress/spec/weights.h"                        // number_count
#include "compress/state_dict/state_dict.h"               // StoredState
#include "compress/task/labels.h"                         // class_order
#include "compress/tokenizer/sentence_settings.h"         // transformer_folder
#include "compress/workflow/context.h"                    // Context

namespace compression {
namespace {

namespace fs = std::filesystem;
using Labels = std::vector<std::string>;

/// Takes the head that is wanted where the checkpoint has it besides the one that config.json names.
void take_head(const TensorShapes& shapes, const TaskHead& wanted, ModelConfig& config) {
  const auto kind = traits_of(wanted.task).head;
  if (kind == head_of(config) || !has_head(shapes, config, kind)) return;
  auto head = head_there(shapes, config, kind);
  if (head.task == wanted.task) take(std::move(head), config);
}

/// One tensor of two names stands under either of them.
void complete_ties(const ModelConfig& config, StoredState& state) {
  const auto words = canonical_name(config, Role::words);
  const auto decoder = head_module(config, HeadKind::words, "decoder");
  if (const auto found = state.find(decoder + "weight"); found != state.end() && !state.contains(words)) {
    state.emplace(words, found->second);
  }
  if (const auto found = state.find(decoder + "bias"); found != state.end() && head_of(config) == HeadKind::words) {
    state.insert_or_assign(checkpoint_names(config)("head.bias"),
                           found->second);  // the one of the two that is computed with
  }
}

/// Throws UnsupportedError if the words that are guessed have a matrix of their own.
void check_tied(const ModelConfig& config, const StoredState& state, const std::string& folder) {
  const auto words = state.find(canonical_name(config, Role::words));
  const auto decoder = state.find(head_module(config, HeadKind::words, "decoder") + "weight");
  if (head_of(config) != HeadKind::words || words == state.end() || decoder == state.end()) return;
  if (words->second.sizes() == decoder->second.sizes() &&
      at::equal(words->second.read().to(torch::kFloat), decoder->second.read().to(torch::kFloat))) {
    return;
  }
  throw UnsupportedError(
      fmt::format("{}: found {} that is not the word embeddings, supported for masked language "
                  "modelling: a decoder that is tied to them",
                  folder, decoder->first));
}

/// Whether the head is for a number, which has one label.
bool is_number(const TaskHead& head) {
  return traits_of(head.task).labels == LabelKind::number;
}

/// How a checkpoint's head, which the config names, serves the one that is wanted.
struct HeadFit {
  bool is_there, fits;
  std::vector<int64_t> order;  // of the wanted classes among the checkpoint's; empty where it is not asked for
};

/// `classes`: whether those that are wanted are known.
HeadFit fit_head(const TensorShapes& shapes, const TaskHead& wanted, const ModelConfig& config, bool classes) {
  HeadFit fit{.is_there = has_head(shapes, config, head_of(config)), .fits = false, .order = {}};
  fit.fits = wanted.task == headless_task || (fit.is_there && wanted.task == config.task);
  if (fit.fits && is_number(wanted)) {
    fit.fits = config.labels.size() == 1;
  } else if (fit.fits && classes && !wanted.labels.empty()) {
    fit.order = class_order(wanted, config.labels);
    fit.fits = !fit.order.empty();
  }
  return fit;
}

/// Why a checkpoint's head is not the one that is wanted.
std::string misfit(const TaskHead& wanted, const ModelConfig& config, bool is_there) {
  if (!is_there || (wanted.task != config.task && config.task == headless_task)) {
    return fmt::format("has no head for {}; fine-tune it first", enum_name(wanted.task));
  }
  if (wanted.task != config.task) {
    return fmt::format("its head is for {}, not for {}; fine-tune it first", enum_name(config.task),
                       enum_name(wanted.task));
  }
  if (is_number(wanted)) {
    return fmt::format("found {} with {} labels, supported: one label", enum_name(wanted.task), config.labels.size());
  }
  return fmt::format("its head is for {} classes that are not the data's {}: [{}] and [{}]", config.labels.size(),
                     wanted.labels.size(), fmt::join(config.labels, ", "), fmt::join(wanted.labels, ", "));
}

std::string new_head_note(const TaskHead& wanted, const ModelConfig& config, bool had_head) {
  const bool of_classes = !wanted.labels.empty() && !is_number(wanted);
  auto text = fmt::format("a new head for {}", of_classes ? fmt::format("{} classes", wanted.labels.size())
                                                          : std::string(enum_name(wanted.task)));
  if (!had_head) return text;
  if (wanted.task == config.task) return text + fmt::format(" in place of one for {} others", config.labels.size());
  return text + fmt::format(" in place of one for {}", enum_name(config.task));
}

TensorShapes shapes_of(const StoredState& state) {
  TensorShapes shapes;
  for (const auto& [name, tensor] : state) shapes[name] = tensor.sizes().vec();
  return shapes;
}

/// The tensors by their canonical names, and those that they have in the file.
std::pair<StoredState, CanonicalNames> canonical_state(const std::string& model_type, const TensorFiles& files,
                                                       const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& [name, file] : files) names.push_back(name);
  try {
    auto canonical = canonical_names(model_type, names);
    auto state = renamed(stored_state(files), canonical.of);
    return {std::move(state), std::move(canonical)};
  } catch (const CheckpointError& error) {
    throw CheckpointError(fmt::format("{}: {}", folder.string(), error.what()));
  }
}

/// Puts the rows of the head's last layer in the order of the wanted classes; their names are the checkpoint's, unless
/// nobody named them.
Labels take_classes(const std::vector<int64_t>& order, const TaskHead& wanted, const ModelConfig& config,
                    StoredState& state, std::vector<std::string>& warnings) {
  const auto rows = torch::tensor(order, torch::kLong);
  for (const auto* leaf : {"weight", "bias"}) {
    const auto found = state.find(head_module(config, head_of(config), "classifier") + leaf);
    const bool fits = found != state.end() && !found->second.sizes().empty() &&
                      found->second.sizes().front() == static_cast<int64_t>(config.labels.size());
    if (fits) found->second = found->second.read().index_select(0, rows);
  }
  if (order.size() < config.labels.size()) {
    warnings.push_back(fmt::format("of its {} classes the {} of the data are kept: {}", config.labels.size(),
                                   order.size(), fmt::join(wanted.labels, ", ")));
  }
  if (are_unnamed(config.labels)) return wanted.labels;
  Labels labels;
  for (const auto id : order) labels.push_back(config.labels[static_cast<size_t>(id)]);
  if (const auto note = label_note(wanted.labels, config.labels); !note.empty()) warnings.push_back(note);
  return labels;
}

/// A model of the config is made before its tensors are compared with those that were read: it must not be much larger.
void check_amount(const ModelConfig& config, const StoredState& state, const fs::path& folder) {
  constexpr double spare = 1 << 24;  // a new head, and sizes whose misfit is told by tensor
  double found = 0.0;
  for (const auto& [name, tensor] : state) found += static_cast<double>(tensor.numel());
  const auto expected = number_count(config);
  if (expected <= 2.0 * found + spare) return;
  throw CheckpointError(
      fmt::format("{}: found sizes that make {:.3g} parameters, expected those of the weights, {:.3g}",
                  (folder / "config.json").string(), expected, found));
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

ModelConfig load_model_config(const fs::path& folder, std::vector<std::string>* warnings) {
  const auto files = transformer_folder(folder);
  const auto file = files / "config.json";
  auto config = read_model_config(read_json_file(file), file.string());
  if (find_family(config.model_type).is_decoder()) return load_language_config(folder, warnings);
  std::error_code ignored;
  if (fs::exists(files / "model.safetensors", ignored) || fs::exists(files / "model.safetensors.index.json", ignored)) {
    try {
      auto note = settle_head(canonical_shapes(config.model_type, read_tensor_shapes(files)), config);
      if (!note.empty() && warnings != nullptr) warnings->push_back(std::move(note));
    } catch (const CheckpointError&) {
      return config;  // who reads the weights is told
    }
  }
  read_sentence_modules(folder, config);
  return config;
}

void check_weights(const fs::path& folder, const ModelConfig& config) {
  const auto files = transformer_folder(folder);
  std::error_code ignored;
  const bool has_weights =
      fs::exists(files / "model.safetensors", ignored) || fs::exists(files / "model.safetensors.index.json", ignored);
  if (!has_weights) return;
  auto [state, names] = canonical_state(config.model_type, open_checkpoint(files), files);
  complete_ties(config, state);
  take_apart(config, state, files.string());
  const auto canonical = checkpoint_names(config), in_file = names_in_file(config);
  std::set<std::string> missing, misfit;
  for (const auto& weight : weights(config)) {
    const auto name = canonical(weight.name);
    const auto found = state.find(name);
    std::vector<int64_t> sizes;
    for (const auto& axis : weight.axes) sizes.push_back(axis.size);
    if (found == state.end()) {
      if (!weight.name.starts_with("head.")) missing.insert(in_file(name));
    } else if (found->second.sizes() != sizes) {
      misfit.insert(fmt::format("{}: found [{}], expected [{}]", in_file(name), fmt::join(found->second.sizes(), ", "),
                                fmt::join(sizes, ", ")));
    }
  }
  std::vector<std::string> problems;
  const auto add = [&](const std::set<std::string>& all, std::string_view what) {
    if (!all.empty()) problems.push_back(counted({all.begin(), all.end()}, what));
  };
  add(missing, "tensors missing");
  add(misfit, "tensors that do not fit");
  if (!problems.empty()) throw CheckpointError(fmt::format("{}: {}", files.string(), fmt::join(problems, "; ")));
}

std::string head_misfit(const fs::path& folder, ModelConfig config, const TaskHead& wanted) {
  const auto shapes = canonical_shapes(config.model_type, read_tensor_shapes(transformer_folder(folder)));
  take_head(shapes, wanted, config);
  const auto fit = fit_head(shapes, wanted, config, true);
  return fit.fits ? "" : misfit(wanted, config, fit.is_there);
}

LoadedModel load_model(const fs::path& folder, const LoadModelOptions& options) {
  const auto files = transformer_folder(folder);
  LoadedModel loaded;
  refuse_gguf(folder);
  const auto config_file = files / "config.json";
  auto config = read_model_config(read_json_file(config_file), config_file.string(), &loaded.warnings);
  for (auto& warning : loaded.warnings) warning = "config.json: " + warning;
  require_encoder(config.model_type, folder.string());
  const auto tensor_files = open_checkpoint(files);
  auto [state, names] = canonical_state(config.model_type, tensor_files, files);
  const auto shapes = shapes_of(state);
  if (auto note = settle_head(shapes, config); !note.empty() && !options.head) {
    loaded.warnings.push_back(std::move(note));
  }
  read_sentence_modules(folder, config);
  if (options.head) take_head(shapes, *options.head, config);
  complete_ties(config, state);
  if (!names.prefix.empty()) {
    loaded.warnings.push_back(fmt::format("tensors are read without their prefix \"{}\"", names.prefix));
  }

  const auto wanted = options.head.value_or(TaskHead{config.labels, config.task});
  const auto [is_there, fits, order] = fit_head(shapes, wanted, config, options.head.has_value());
  auto labels = fits && is_number(wanted) ? config.labels : wanted.labels;
  if (!order.empty()) labels = take_classes(order, wanted, config, state, loaded.warnings);
  if (!fits && !options.new_head) {
    throw CheckpointError(fmt::format("{}: {}", folder.string(), misfit(wanted, config, is_there)));
  }
  if (!fits) loaded.notes.push_back(new_head_note(wanted, config, config.task != headless_task && is_there));
  if (const auto warning = foreign_class_warning(config); !options.head && !warning.empty()) {
    loaded.warnings.push_back(warning);
  }
  config.task = wanted.task;
  config.labels = std::move(labels);
  if (fits) check_tied(config, state, folder.string());
  if (!fits && head_of(config) != HeadKind::words) {  // what has the name of the new head's last layer
    for (const auto* leaf : {"weight", "bias"}) state.erase(head_module(config, head_of(config), "classifier") + leaf);
  }

  take_apart(config, state, files.string());
  if (const auto warning = unknown_layers_warning(config); !warning.empty()) {
    loaded.warnings.push_back(warning);
    for (const auto& layer : unknown_layers(config)) std::erase(config.unquantized, layer);
  }
  const auto name = checkpoint_names(config);
  if (head_of(config) == HeadKind::embedding) read_dense_weights(folder, config, name, state);
  check_amount(config, state, files);
  loaded.model = Model(config);
  LoadOptions load;
  load.source = folder.string();
  load.ignore = ignorable_names(config.model_type);
  load.allow_unexpected = true;
  load.name = name;
  std::map<std::string, std::string> written;  // the names in the file
  for (const auto& [theirs, canonical] : names.of) written.emplace(canonical, theirs);
  const auto in_file = [&, whole = names_in_file(config)](const std::string& part) {
    const auto canonical = whole(part);
    const auto found = written.find(canonical);
    return found == written.end() ? canonical : found->second;
  };
  load.shown = names_in_file(config);
  load.place = [&](const std::string& canonical) {
    const auto found = tensor_files.find(in_file(canonical));
    const auto& file = found == tensor_files.end() ? files : found->second->path();
    return fmt::format("{}: tensor {}", file.string(), in_file(canonical));
  };
  if (options.new_head) {
    load.allow_missing = {name("head.dense.")};
    if (!fits) {
      const auto* last = head_of(config) == HeadKind::words ? "head.bias" : "head.classifier.";
      load.allow_missing.insert(load.allow_missing.end(), {name("head.LayerNorm."), name(last)});
    }
    load.initialize = [&] { loaded.model->initialize(); };
  }
  const auto report = load_state_dict(*loaded.model, state, load);
  for (const auto& tensor : report.left_as_initialised) {
    if (!tensor.starts_with(name("head.classifier."))) loaded.notes.push_back("new: " + tensor);
  }
  std::vector<std::string> excess;
  for (const auto& tensor : report.unexpected) excess.push_back(in_file(tensor));
  if (auto warning = excess_warning(excess); !warning.empty()) loaded.warnings.push_back(std::move(warning));
  check_input_scales(loaded.model, folder.string());
  loaded.model->eval();
  return loaded;
}

LoadedModel load_model(const fs::path& folder, const LoadModelOptions& options, const Context& context) {
  auto loaded = load_model(folder, options);
  for (const auto& note : loaded.notes) context.logger->info("{}: {}", folder.string(), note);
  for (const auto& warning : loaded.warnings) context.logger->warn("{}: {}", folder.string(), warning);
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
  const auto name = checkpoint_names(model->config());
  const bool of_sentences = head_of(model->config()) == HeadKind::embedding;
  const auto all = state_dict(*model);
  StateDict state;
  for (const auto& [own, tensor] : all) {
    if (!of_sentences || !own.starts_with("head.")) state[name(own)] = tensor;
    if (const auto odd = not_finite(tensor); !odd.empty()) {
      throw DataError(fmt::format(
          "tensor {}: found {} in the model that was made, expected finite numbers: it is not saved", name(own), odd));
    }
  }
  put_together(model->config(), state);
  make_folder(folder);
  write_text_file(folder / "config.json", write_model_config(model->config()).dump(2) + "\n");
  write_state_dict(folder, state);
  copy_tokenizer(tokenizer, folder);
  if (of_sentences) write_sentence_modules(model->config(), tokenizer, all, folder);
}

}  // namespace compression
