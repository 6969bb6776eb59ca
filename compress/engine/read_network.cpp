#include "compress/engine/read_network.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "compress/base/error.h"                   // CheckpointError, UnsupportedError
#include "compress/base/fields.h"                  // enum_name
#include "compress/base/json_file.h"               // read_json_file
#include "compress/checkpoint/checkpoint.h"        // open_checkpoint, counted, excess_warning, is_listed
#include "compress/engine/network_state.h"         // network_state, runtime_lacks
#include "compress/families/families.h"            // refuse_gguf, require_encoder
#include "compress/families/model_config.h"        // read_model_config
#include "compress/families/name_table.h"          // canonical_name, canonical_names, checkpoint_names, parts_of_joined
#include "compress/kernels/linear.h"               // add_row
#include "compress/model_files/checkpoint_head.h"  // settle_head
#include "compress/model_files/sentence_modules.h"  // read_sentence_modules, step_folders
#include "compress/spec/heads/embedding.h"          // EmbeddingHead
#include "compress/storage/storage.h"               // storage_of
#include "compress/tokenizer/sentence_settings.h"   // transformer_folder

namespace compression {
namespace {

namespace fs = std::filesystem;

bool is_floating(DType type) {
  return type == DType::float32 || type == DType::float16 || type == DType::bfloat16 || type == DType::float64;
}

HostTensor as_float32(const HostTensor& tensor) {
  if (tensor.dtype == DType::float32 || !is_floating(tensor.dtype)) return tensor;
  const auto count = tensor.count();
  auto [floats, memory] = new_tensor(DType::float32, tensor.shape);
  auto* to = reinterpret_cast<float*>(memory);
  if (tensor.dtype == DType::float64) {
    std::copy_n(tensor.as<double>(), count, to);
  } else {
    std::fill_n(to, count, -0.0f);  // to which every number may be added, and stays what it is
    kernels::add_row(tensor.dtype, tensor.data.get(), 1.0f, count, to);
  }
  return floats;
}

/// How the description says that it is stored.
WeightFormat format_of(const WeightSpec& weight, const ModelConfig& config, const std::string& module) {
  if (weight.is_table()) return config.embedding_format;
  const bool is_left_out = std::ranges::find(config.unquantized, module) != config.unquantized.end();
  return weight.is_linear() && !is_left_out ? config.linear_format : WeightFormat::float32;
}

std::vector<int64_t> sizes_of(const WeightSpec& weight) {
  std::vector<int64_t> sizes;
  for (const auto& axis : weight.axes) sizes.push_back(axis.size);
  return sizes;
}

void check_packable(const ModelConfig& config, const fs::path& folder) {
  if (const auto lacks = runtime_lacks(config); !lacks.empty()) {
    throw UnsupportedError(fmt::format("{}: the runtime has no kernels for {}", folder.string(), lacks));
  }
  const bool quantizes = storage_of(config.linear_format).quantizes_inputs();
  if (quantizes && config.activations == ActivationScheme::per_tensor) {
    throw UnsupportedError(fmt::format(
        "{}: its int8 activations have one scale for all texts of a call, supported: one a token, or static ones",
        folder.string()));
  }
  if (head_of(config) == HeadKind::embedding) EmbeddingHead::check(config);
}

/// That the head is there which config.json names, with as many labels as its task has.
void check_head(const TensorShapes& shapes, const ModelConfig& config, const fs::path& folder) {
  if (config.task != headless_task && !has_head(shapes, config, head_of(config))) {
    throw CheckpointError(
        fmt::format("{}: has no head for {}; fine-tune it first", folder.string(), enum_name(config.task)));
  }
  if (traits_of(config.task).labels == LabelKind::number && config.labels.size() != 1) {
    throw CheckpointError(fmt::format("{}: found {} with {} labels, supported: one label", folder.string(),
                                      enum_name(config.task), config.labels.size()));
  }
}

}  // namespace

NetworkFolder::NetworkFolder(const fs::path& folder) : folder_(folder), files_(transformer_folder(folder)) {
  refuse_gguf(folder_);
  const auto config_file = files_ / "config.json";
  config_ = read_model_config(read_json_file(config_file), config_file.string(), &warnings_);
  for (auto& warning : warnings_) warning = "config.json: " + warning;
  require_encoder(config_.model_type, folder_.string());
  find_tensors();
  check_packable(config_, folder_);
  canonical_ = checkpoint_names(config_);
  words_ = canonical_name(config_, Role::words);
  take_apart();
  if (head_of(config_) == HeadKind::embedding) find_steps();
  for (auto& weight : weights(config_)) {
    const auto name = weight.name;
    weights_.emplace(name, std::move(weight));
  }
  check_tensors();
  if (const auto warning = unknown_layers_warning(config_); !warning.empty()) warnings_.push_back(warning);
  if (head_of(config_) == HeadKind::words) check_tied();
  tell_excess();
}

void NetworkFolder::find_tensors() {
  const auto tensors = open_checkpoint(files_);
  file_ = tensors.empty() ? files_ / "model.safetensors" : tensors.begin()->second->path();
  std::vector<std::string> names;
  TensorShapes shapes;
  for (const auto& [name, file] : tensors) names.push_back(name);
  CanonicalNames canonical;
  try {
    canonical = canonical_names(config_.model_type, names);
  } catch (const CheckpointError& error) {
    throw CheckpointError(fmt::format("{}: {}", files_.string(), error.what()));
  }
  for (const auto& [name, own] : canonical.of) {
    const Place place{tensors.at(name), name};
    const auto [found, added] = places_.emplace(own, place);
    if (!added) {
      const auto one = read_at(found->second), other = read_at(place);
      if (one.dtype != other.dtype || one.shape != other.shape ||
          std::memcmp(one.data.get(), other.data.get(), static_cast<size_t>(one.bytes())) != 0) {
        throw CheckpointError(
            fmt::format("{}: tensor {}: found two tensors of this name that differ, one of them as {}", files_.string(),
                        own, name));
      }
    }
    shapes[own] = shape_at(place);
  }
  if (auto note = settle_head(shapes, config_); !note.empty()) warnings_.push_back(std::move(note));
  read_sentence_modules(folder_, config_);
  if (!canonical.prefix.empty()) {
    warnings_.push_back(fmt::format("tensors are read without their prefix \"{}\"", canonical.prefix));
  }
  check_head(shapes, config_, folder_);
  if (const auto warning = foreign_class_warning(config_); !warning.empty()) warnings_.push_back(warning);
}

void NetworkFolder::take_apart() {
  TensorShapes shapes;
  for (const auto& [name, place] : places_) shapes[name] = shape_at(place);
  std::set<std::string> wholes;
  for (const auto& [whole, name, first, rows] : parts_of_joined(config_, shapes, folder_.string())) {
    const auto& place = places_.at(whole);
    places_[name] = {place.file, place.name, first, rows};
    wholes.insert(whole);
  }
  for (const auto& whole : wholes) places_.erase(whole);
}

void NetworkFolder::find_steps() {
  const auto& steps = config_.embedding.steps;
  if (std::ranges::none_of(steps, &EmbeddingStep::dense)) return;
  const auto folders = step_folders(folder_);
  for (size_t i = 0; i < steps.size() && i < folders.size(); ++i) {
    if (!steps[i].dense) continue;
    const auto tensors = open_checkpoint(folders[i]);
    for (const char* leaf : {"weight", "bias"}) {
      const auto name = fmt::format("linear.{}", leaf);
      const auto found = tensors.find(name);
      if (found != tensors.end()) places_[fmt::format("head.dense_{}.{}", i, leaf)] = {found->second, name};
    }
  }
}

const NetworkFolder::Place* NetworkFolder::find(const std::string& own) const {
  const auto at = [&](const std::string& name) {
    const auto found = places_.find(canonical_(name));
    return found == places_.end() ? nullptr : &found->second;
  };
  // One tensor of two names stands under either of them; of two biases the decoder's is computed with.
  const auto decoder = [&](const std::string& leaf) {
    const auto found = places_.find(head_module(config_, HeadKind::words, "decoder") + leaf);
    return found == places_.end() ? nullptr : &found->second;
  };
  if (own == "head.bias" && head_of(config_) == HeadKind::words) {
    if (const auto* place = decoder("bias")) return place;
  }
  const auto* place = at(own);
  return place == nullptr && canonical_(own) == words_ ? decoder("weight") : place;
}

std::vector<int64_t> NetworkFolder::shape_at(const Place& place) {
  auto shape = place.file->info(place.name).shape;
  if (place.rows) shape.front() = *place.rows;
  return shape;
}

void NetworkFolder::check_tensors() {
  const auto in_file = names_in_file(config_);
  std::set<std::string> missing;
  std::vector<std::string> misfit;
  const auto check = [&](const std::string& own, const std::vector<int64_t>& sizes, DType expected) {
    expected_[own] = expected;
    const auto* place = find(own);
    if (place == nullptr) {
      missing.insert(in_file(canonical_(own)));
      return;
    }
    const auto type = place->file->info(place->name).dtype;
    const auto found = shape_at(*place);
    if (found == sizes && (type == expected || (is_floating(type) && is_floating(expected)))) return;
    misfit.push_back(fmt::format("{}: found {} [{}], expected {} [{}]", in_file(canonical_(own)), enum_name(type),
                                 fmt::join(found, ", "), enum_name(expected), fmt::join(sizes, ", ")));
  };
  for (const auto& [own, weight] : weights_) {
    if (weight.bias || weight.axes.size() != 2) {
      check(own, sizes_of(weight), DType::float32);
      continue;
    }
    auto module = canonical_(own.substr(0, own.rfind('.') + 1));
    module.pop_back();
    const auto format = format_of(weight, config_, module);
    const auto& kind = storage_of(format);
    for (const auto& part : kind.parts(weight.axes[0].size, weight.axes[1].size)) {
      check(beside(own, part.name), part.shape, part.dtype);
    }
    const bool is_static = config_.activations == ActivationScheme::static_per_tensor;
    if (kind.quantizes_inputs() && is_static && !weight.is_table()) {
      check(beside(own, "input_scale"), {1}, DType::float32);
    }
  }
  std::vector<std::string> problems;
  if (!missing.empty()) problems.push_back(counted({missing.begin(), missing.end()}, "tensors missing"));
  if (!misfit.empty()) problems.push_back(counted(misfit, "tensors that do not fit"));
  if (!problems.empty()) {
    throw CheckpointError(fmt::format("{}: {}", folder_.string(), fmt::join(problems, "; ")));
  }
}

void NetworkFolder::check_tied() const {
  const auto decoder = places_.find(head_module(config_, HeadKind::words, "decoder") + "weight");
  const auto words = places_.find(words_);
  if (decoder == places_.end() || words == places_.end()) return;
  const auto one = as_float32(read_at(words->second)), other = as_float32(read_at(decoder->second));
  if (one.dtype == other.dtype && one.shape == other.shape &&
      std::memcmp(one.data.get(), other.data.get(), static_cast<size_t>(one.bytes())) == 0) {
    return;
  }
  throw UnsupportedError(
      fmt::format("{}: found {} that is not the word embeddings, supported for masked language modelling: a decoder "
                  "that is tied to them",
                  folder_.string(), decoder->first));
}

void NetworkFolder::tell_excess() {
  std::set<std::string> used;
  for (const auto& [own, dtype] : expected_) used.insert(canonical_(own));
  const auto ignored = ignorable_names(config_.model_type);
  std::set<std::string> names;  // one that was taken apart has several places
  for (const auto& [canonical, place] : places_) {
    if (!used.contains(canonical) && !is_listed(canonical, ignored)) names.insert(place.name);
  }
  if (auto warning = excess_warning({names.begin(), names.end()}); !warning.empty()) {
    warnings_.push_back(std::move(warning));
  }
}

HostTensor NetworkFolder::read_at(const Place& place) {
  auto tensor = place.rows ? place.file->read_rows(place.name, place.first, *place.rows) : place.file->read(place.name);
  if (const auto odd = not_finite(tensor, place.first); !odd.empty()) {
    throw CheckpointError(
        fmt::format("{}: tensor {}: found {}, expected finite numbers", place.file->path().string(), place.name, odd));
  }
  return tensor;
}

LazyTensor NetworkFolder::tensor(const std::string& own) const {
  const auto* place = find(own);
  const auto expected = expected_.find(own);
  if (place == nullptr || expected == expected_.end()) return {};
  const auto type = place->file->info(place->name).dtype;
  const auto weight = weights_.find(own);
  const bool is_kept =
      type == expected->second ||
      (weight != weights_.end() && type != DType::float64 &&
       (weight->second.is_table() ||
        (weight->second.is_linear() && (type != DType::bfloat16 || config_.linear_format == WeightFormat::bfloat16))));
  if (is_kept || !is_floating(type)) return {type, shape_at(*place), [place = *place] { return read_at(place); }};
  return {DType::float32, shape_at(*place), [place = *place] { return as_float32(read_at(place)); }};
}

HostTensor NetworkFolder::read(const std::string& own) const {
  const auto found = tensor(own);
  return found.defined() ? found.read() : HostTensor();
}

Network read_network(const fs::path& folder) {
  const NetworkFolder files(folder);
  return {.config = files.config(),
          .state = network_state(files.config(), [&](const std::string& own) { return files.tensor(own); })};
}

}  // namespace compression
