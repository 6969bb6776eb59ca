#include "compress/engine/read_network.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "compress/base/error.h"                    // CheckpointError, UnsupportedError
#include "compress/base/fields.h"                   // enum_name
#include "compress/base/json_file.h"                // read_json_file
#include "compress/checkpoint/checkpoint.h"         // open_checkpoint, counted, is_listed
#include "compress/engine/network_state.h"          // network_state, runtime_lacks
#include "compress/families/families.h"             // require_encoder
#include "compress/families/model_config.h"         // read_model_config
#include "compress/families/name_table.h"           // canonical_names, checkpoint_names, joined_tensors
#include "compress/kernels/linear.h"                // add_row
#include "compress/model_files/checkpoint_head.h"   // settle_head
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

template <class Number>
std::optional<int64_t> first_odd(const HostTensor& tensor, Number exponent) {
  const auto* begin = tensor.as<Number>();
  const auto* end = begin + tensor.count();
  const auto* odd = std::find_if(begin, end, [=](Number bits) { return (bits & exponent) == exponent; });
  return odd == end ? std::nullopt : std::optional(odd - begin);
}

/// The place of the first number that is NaN or infinite, whose exponent's bits are all set.
std::optional<int64_t> first_odd(const HostTensor& tensor) {
  switch (tensor.dtype) {
    case DType::float64:
      return first_odd<uint64_t>(tensor, 0x7FF0'0000'0000'0000);
    case DType::float32:
      return first_odd<uint32_t>(tensor, 0x7F80'0000);
    case DType::float16:
      return first_odd<uint16_t>(tensor, 0x7C00);
    case DType::bfloat16:
      return first_odd<uint16_t>(tensor, 0x7F80);
    default:
      return std::nullopt;
  }
}

HostTensor as_float32(const HostTensor& tensor) {
  if (tensor.dtype == DType::float32 || !is_floating(tensor.dtype)) return tensor;
  const auto count = tensor.count();
  const auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(count), -0.0f);
  if (tensor.dtype == DType::float64) {
    std::copy_n(tensor.as<double>(), count, values->begin());
  } else {
    kernels::add_row(tensor.dtype, tensor.data.get(), 1.0f, count, values->data());
  }
  return {DType::float32, tensor.shape, std::shared_ptr<const void>(values, values->data())};
}

void check_finite(const HostTensor& tensor, const std::string& place) {
  const auto odd = first_odd(tensor);
  if (!odd) return;
  std::vector<int64_t> at;
  auto rest = *odd;
  for (auto d = tensor.dim() - 1; d >= 0; --d) {
    at.insert(at.begin(), rest % tensor.size(d));
    rest /= tensor.size(d);
  }
  const auto number =
      as_float32({tensor.dtype,
                  {1},
                  std::shared_ptr<const void>(tensor.data, tensor.as<char>() + *odd * size_of(tensor.dtype))})
          .as<float>()[0];
  throw CheckpointError(fmt::format("{}: found {} at [{}], expected finite numbers", place,
                                    std::isnan(number) ? "nan"
                                    : number > 0       ? "inf"
                                                       : "-inf",
                                    fmt::join(at, ", ")));
}

/// "a.weight_scale" of "a.weight".
std::string beside(const std::string& name, std::string_view leaf) {
  return name.substr(0, name.rfind('.') + 1) + std::string(leaf);
}

/// Whether it is a linear layer's that quantization changes.
bool is_linear(const WeightSpec& weight) {
  if (weight.bias || weight.axes.size() != 2 || weight.is_table()) return false;
  return weight.role != Role::classifier && weight.role != Role::head_step && weight.role != Role::relative_table;
}

/// How the description says that it is stored.
WeightFormat format_of(const WeightSpec& weight, const ModelConfig& config, const std::string& module) {
  if (weight.is_table()) return config.embedding_format;
  const bool is_left_out = std::ranges::find(config.unquantized, module) != config.unquantized.end();
  return is_linear(weight) && !is_left_out ? config.linear_format : WeightFormat::float32;
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
  if (config.linear_format == WeightFormat::int8 && config.activations == ActivationScheme::per_tensor) {
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
  const auto config_file = files_ / "config.json";
  config_ = read_model_config(read_json_file(config_file), config_file.string(), &warnings_);
  for (auto& warning : warnings_) warning = "config.json: " + warning;
  require_encoder(config_.model_type, folder_.string());
  find_tensors();
  check_packable(config_, folder_);
  canonical_ = checkpoint_names(config_);
  take_apart();
  if (head_of(config_) == HeadKind::embedding) find_steps();
  for (auto& weight : weights(config_)) {
    const auto name = weight.name;
    weights_.emplace(name, std::move(weight));
  }
  check_tensors();
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
  settle_head(shapes, config_);
  read_sentence_modules(folder_, config_);
  if (!canonical.prefix.empty()) {
    warnings_.push_back(fmt::format("tensors are read without their prefix \"{}\"", canonical.prefix));
  }
  check_head(shapes, config_, folder_);
  if (const auto warning = foreign_class_warning(config_); !warning.empty()) warnings_.push_back(warning);
}

void NetworkFolder::take_apart() {
  for (const auto& [whole, parts] : joined_tensors(config_)) {
    for (const auto leaf : {std::string_view(), std::string_view("weight_scale"), std::string_view("input_scale")}) {
      const auto found = places_.find(leaf.empty() ? whole : beside(whole, leaf));
      if (found == places_.end()) continue;
      const auto place = found->second;
      const auto shape = shape_at(place);
      int64_t first = 0;
      for (const auto& [name, rows] : parts) {
        const bool of_all = leaf == "input_scale";  // one number
        places_[leaf.empty() ? name : beside(name, leaf)] = of_all ? place : Place{place.file, place.name, first, rows};
        first += rows;
      }
      if (leaf != "input_scale" && (shape.empty() || shape.front() != first)) {
        throw CheckpointError(fmt::format("{}: tensor {}: found {} rows, expected {}: those of {} and {} others",
                                          folder_.string(), found->first, shape.empty() ? 1 : shape.front(), first,
                                          parts.front().name, parts.size() - 1));
      }
      places_.erase(found);
    }
  }
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
  return place == nullptr && own == "bert.embeddings.word_embeddings.weight" ? decoder("weight") : place;
}

std::vector<int64_t> NetworkFolder::shape_at(const Place& place) const {
  auto shape = place.file->info(place.name).shape;
  if (place.rows >= 0 && !shape.empty()) shape.front() = place.rows;
  return shape;
}

void NetworkFolder::check_tensors() {
  std::vector<std::string> missing, misfit;
  const auto check = [&](const std::string& own, const std::vector<int64_t>& sizes, DType expected) {
    const auto* place = find(own);
    if (place == nullptr) return missing.push_back(canonical_(own));
    const auto type = place->file->info(place->name).dtype;
    const auto found = shape_at(*place);
    if (found == sizes && (type == expected || (is_floating(type) && is_floating(expected)))) return;
    misfit.push_back(fmt::format("{}: found {} [{}], expected {} [{}]", canonical_(own), enum_name(type),
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
    for (const auto& part : storage_of(format).parts(weight.axes[0].size, weight.axes[1].size)) {
      check(beside(own, part.name), part.shape, part.dtype);
    }
    const bool is_static = config_.activations == ActivationScheme::static_per_tensor;
    if (format == WeightFormat::int8 && is_static && !weight.is_table()) {
      check(beside(own, "input_scale"), {1}, DType::float32);
    }
  }
  std::vector<std::string> problems;
  if (!missing.empty()) problems.push_back(counted(missing, "tensors missing"));
  if (!misfit.empty()) problems.push_back(counted(misfit, "tensors that do not fit"));
  if (!problems.empty()) {
    throw CheckpointError(fmt::format("{}: {}", folder_.string(), fmt::join(problems, "; ")));
  }
}

void NetworkFolder::check_tied() const {
  const auto decoder = places_.find(head_module(config_, HeadKind::words, "decoder") + "weight");
  const auto words = places_.find(canonical_("bert.embeddings.word_embeddings.weight"));
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
  for (const auto& [own, weight] : weights_) {
    used.insert(canonical_(own));
    for (const auto* leaf : {"weight_scale", "input_scale"}) {
      if (!weight.bias) used.insert(beside(canonical_(own), leaf));
    }
  }
  const auto ignored = ignorable_names(config_.model_type);
  std::vector<std::string> excess;
  for (const auto& [canonical, place] : places_) {
    if (!used.contains(canonical) && !is_listed(canonical, ignored)) excess.push_back(place.name);
  }
  if (excess.empty()) return;
  warnings_.push_back(
      counted(excess, excess.size() == 1 ? "tensor in excess is ignored" : "tensors in excess are ignored"));
}

HostTensor NetworkFolder::read_at(const Place& place) const {
  auto tensor = place.file->read(place.name);
  check_finite(tensor, fmt::format("{}: tensor {}", place.file->path().string(), place.name));
  if (place.rows < 0) return tensor;
  const auto row = tensor.size(0) == 0 ? 0 : tensor.bytes() / tensor.size(0);
  tensor.data = std::shared_ptr<const void>(tensor.data, tensor.as<char>() + place.first * row);
  tensor.shape.front() = place.rows;
  return tensor;
}

HostTensor NetworkFolder::read(const std::string& own) const {
  const auto* place = find(own);
  const bool is_static = config_.activations == ActivationScheme::static_per_tensor;
  if (place == nullptr || (own.ends_with(".input_scale") && !is_static)) return {};
  auto tensor = read_at(*place);
  const auto weight = weights_.find(own);
  const bool is_kept =
      weight != weights_.end() && tensor.dtype != DType::float64 &&
      (weight->second.is_table() || (is_linear(weight->second) && (tensor.dtype != DType::bfloat16 ||
                                                                   config_.linear_format == WeightFormat::bfloat16)));
  return is_kept ? tensor : as_float32(tensor);
}

Network read_network(const fs::path& folder) {
  const NetworkFolder files(folder);
  return {.config = files.config(),
          .state = network_state(files.config(), [&](const std::string& own) { return files.read(own); })};
}

}  // namespace compression
