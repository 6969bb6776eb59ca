#include "compress/state_dict/state_dict.h"

#include <ATen/ops/equal.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <set>

#include "compress/base/error.h"              // CheckpointError, UnsupportedError
#include "compress/base/json_file.h"          // excerpt
#include "compress/checkpoint/checkpoint.h"   // counted, is_listed
#include "compress/checkpoint/safetensors.h"  // write_safetensors
#include "compress/ops/host_tensors.h"        // host_tensor, scalar_type

namespace compression {
namespace {

bool fits(const StoredTensor& found, const torch::Tensor& expected) {
  const auto is_number = [](torch::Dtype dtype) { return c10::isFloatingType(dtype) && c10::elementSize(dtype) > 1; };
  const bool both_floating = is_number(found.dtype()) && is_number(expected.scalar_type());
  return found.sizes() == expected.sizes() && (both_floating || found.dtype() == expected.scalar_type());
}

/// A tensor that was read, and what became of it in the module's dtype.
void check_finite(const torch::Tensor& found, const torch::Tensor& target, const std::function<std::string()>& place) {
  if (const auto odd = not_finite(found); !odd.empty()) {
    throw CheckpointError(fmt::format("{}: found {}, expected finite numbers", place(), odd));
  }
  if (found.scalar_type() == target.scalar_type()) return;
  if (const auto odd = not_finite(target); !odd.empty()) {
    throw CheckpointError(fmt::format("{}: found a number that becomes {} as {}, expected one that fits", place(), odd,
                                      c10::toString(target.scalar_type())));
  }
}

std::string type_text(torch::Dtype dtype, at::IntArrayRef sizes) {
  return fmt::format("{} [{}]", c10::toString(dtype), fmt::join(sizes.vec(), ", "));
}

/// Reads a tensor into memory that has its size.
void read_bytes(const TensorFile& file, const std::string& name, const torch::Tensor& memory) {
  file.read(name, {static_cast<std::byte*>(memory.data_ptr()), memory.nbytes()});
}

}  // namespace

StoredTensor::StoredTensor(std::shared_ptr<const TensorFile> file, std::string name)
    : file_(std::move(file)), name_(std::move(name)) {
  const auto& info = file_->info(name_);
  dtype_ = ops::scalar_type(info.dtype);
  sizes_ = info.shape;
}

StoredTensor StoredTensor::derived(std::vector<int64_t> sizes,
                                   std::function<torch::Tensor(const torch::Tensor&)> make) const {
  auto result = *this;
  result.sizes_ = std::move(sizes);
  result.make_ = [before = make_, make = std::move(make)](const torch::Tensor& t) {
    return make(before ? before(t) : t);
  };
  return result;
}

torch::Tensor StoredTensor::read() const {
  const auto stored = file_ ? read_tensor(*file_, name_) : tensor_;
  return make_ ? make_(stored) : stored;
}

torch::Tensor StoredTensor::read_into(const torch::Tensor& target) const {
  if (file_ && !make_ && target.scalar_type() == dtype_ && target.is_cpu() && target.is_contiguous()) {
    read_bytes(*file_, name_, target);
    target.unsafeGetTensorImpl()->bump_version();  // it was changed behind LibTorch's back
    return target;
  }
  const auto numbers = read();
  target.copy_(numbers);
  return numbers;
}

StoredState stored_state(const TensorFiles& files) {
  StoredState state;
  for (const auto& [name, file] : files) state.emplace(name, StoredTensor(file, name));
  return state;
}

StoredState renamed(const StoredState& state, const std::map<std::string, std::string>& names) {
  StoredState result;
  for (const auto& [name, tensor] : state) {
    const auto& other = names.at(name);
    const auto [place, added] = result.emplace(other, tensor);
    const auto& first = place->second;
    if (!added && !(first.dtype() == tensor.dtype() && at::equal(first.read(), tensor.read()))) {
      throw CheckpointError(
          fmt::format("tensor {}: found two tensors of this name that differ, one of them as {}", other, name));
    }
  }
  return result;
}

torch::Tensor read_tensor(const TensorFile& file, const std::string& name) {
  const auto& info = file.info(name);
  auto tensor = at::empty(info.shape, ops::scalar_type(info.dtype));
  read_bytes(file, name, tensor);
  return tensor;
}

StateDict read_tensors(const TensorFile& file) {
  StateDict state;
  for (const auto& [name, info] : file.tensors()) state[name] = read_tensor(file, name);
  return state;
}

StateDict read_state_dict(const std::filesystem::path& folder) {
  StateDict state;
  for (const auto& [name, file] : open_checkpoint(folder)) state[name] = read_tensor(*file, name);
  return state;
}

void write_safetensors(const std::filesystem::path& path, const StateDict& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::map<std::string, LazyTensor> writing;
  for (const auto& [name, tensor] : tensors) {
    const bool is_dense = tensor.defined() && tensor.layout() == torch::kStrided;
    const auto dtype = is_dense ? ops::host_dtype(tensor.scalar_type()) : std::nullopt;
    if (!dtype) {
      throw UnsupportedError(fmt::format("{}: tensor {}: found {}, expected a dense tensor of one of {}", path.string(),
                                         excerpt(nlohmann::json(name)), tensor.toString(), safetensors_dtypes()));
    }
    writing[name] = {*dtype, tensor.sizes().vec(), [&tensor = tensor] { return ops::host_tensor(tensor); }};
  }
  write_safetensors(path, writing, metadata);
}

void write_state_dict(const std::filesystem::path& folder, const StateDict& state) {
  write_safetensors(folder / "model.safetensors", state);
}

LoadReport load_state_dict(torch::nn::Module& module, const StateDict& state, const LoadOptions& options) {
  return load_state_dict(module, StoredState(state.begin(), state.end()), options);
}

LoadReport load_state_dict(torch::nn::Module& module, const StoredState& state, const LoadOptions& options) {
  LoadReport report;
  const auto shown = [&](const std::string& name) { return options.shown ? options.shown(name) : name; };
  std::set<std::string> missing;
  std::vector<std::string> unexpected, misshapen;
  StateDict targets;
  for (auto& [name, tensor] : state_dict(module)) targets[options.name ? options.name(name) : name] = tensor;
  for (const auto& [name, target] : targets) {
    const auto found = state.find(name);
    if (found == state.end()) {
      if (is_listed(name, options.allow_missing)) {
        report.left_as_initialised.push_back(name);
      } else {
        missing.insert(shown(name));
      }
    } else if (!fits(found->second, target)) {
      misshapen.push_back(fmt::format("{}: found {}, expected {}", shown(name),
                                      type_text(found->second.dtype(), found->second.sizes()),
                                      type_text(target.scalar_type(), target.sizes())));
    }
  }
  for (const auto& [name, tensor] : state) {
    if (!targets.contains(name)) (is_listed(name, options.ignore) ? report.ignored : unexpected).push_back(name);
  }
  if (options.allow_unexpected) std::swap(report.unexpected, unexpected);

  std::vector<std::string> problems;
  if (!missing.empty()) problems.push_back(counted({missing.begin(), missing.end()}, "tensors missing"));
  if (!unexpected.empty()) problems.push_back(counted(unexpected, "tensors unexpected"));
  if (!misshapen.empty()) problems.push_back(counted(misshapen, "tensors that do not fit"));
  if (!problems.empty()) throw CheckpointError(fmt::format("{}: {}", options.source, fmt::join(problems, "; ")));

  const torch::NoGradGuard no_grad;
  if (options.initialize && !report.left_as_initialised.empty()) options.initialize();
  for (auto& [name, target] : targets) {
    const auto found = state.find(name);
    if (found == state.end()) continue;
    const auto numbers = found->second.read_into(target);
    if (options.place) check_finite(numbers, target, [&, &name = name] { return options.place(name); });
  }
  return report;
}

std::string not_finite(const torch::Tensor& tensor) {
  return tensor.is_floating_point() ? not_finite(ops::host_tensor(tensor)) : "";
}

StateDict state_dict(const torch::nn::Module& module) {
  StateDict state;
  for (const auto& item : module.named_parameters()) state[item.key()] = item.value().detach();
  for (const auto& item : module.named_buffers()) state[item.key()] = item.value().detach();
  return state;
}

}  // namespace compression
