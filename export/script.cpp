#include "export/script.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/jit/frontend/resolver.h>
#include <torch/csrc/jit/frontend/sugared_value.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <atomic>
#include <clocale>
#include <cmath>
#include <limits>
#include <locale>
#include <memory>

#include "compress/base/error.h"       // CheckpointError, StorageError, UnsupportedError
#include "compress/base/failure.h"     // is_out_of_memory
#include "compress/base/limits.h"      // labels
#include "compress/storage/storage.h"  // storage_of
#include "compress/task/task.h"        // find_task
#include "export/archive.h"            // check_archive

namespace compression::exporter {
namespace {

namespace fs = std::filesystem;

/// `ops` of the source: `ops.quantized.linear_dynamic` is the operator quantized::linear_dynamic.
class OperatorLibraries : public torch::jit::SugaredValue {
 public:
  std::string kind() const override { return "ops"; }
  std::shared_ptr<torch::jit::SugaredValue> attr(const torch::jit::SourceRange&, torch::jit::GraphFunction&,
                                                 const std::string& library) override {
    return std::make_shared<torch::jit::BuiltinModule>(library);
  }
};

class OperatorResolver : public torch::jit::Resolver {
 public:
  std::shared_ptr<torch::jit::SugaredValue> resolveValue(const std::string& name, torch::jit::GraphFunction& function,
                                                         const torch::jit::SourceRange& location) override {
    if (name == "ops") return std::make_shared<OperatorLibraries>();
    return torch::jit::nativeResolver()->resolveValue(name, function, location);
  }
};

/// What TorchScript's messages say was wrong: after the trace of the source, on one line.
std::string reason_of(const std::exception& failure) {
  const auto* own = dynamic_cast<const c10::Error*>(&failure);
  std::string text = own != nullptr ? own->what_without_backtrace() : failure.what();
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const auto error = text.rfind("Error: ");
  const auto begin = text.rfind('\n', error == std::string::npos ? text.size() : error);
  text = text.substr(begin == std::string::npos ? 0 : begin + 1);
  std::replace(text.begin(), text.end(), '\n', ' ');
  constexpr size_t longest = 300;
  return text.size() > longest ? text.substr(0, longest) + "..." : text;
}

/// The first line that says something.
std::string first_line(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \n"), text.size()));
  return std::string(text.substr(0, text.find('\n')));
}

/// Whether forward() takes three tensors, and what else it takes has a default.
bool takes_a_batch(const c10::FunctionSchema& schema) {
  const auto& arguments = schema.arguments();
  if (arguments.size() < 4 || schema.is_vararg()) return false;  // the module itself is the first
  for (size_t i = 1; i < arguments.size(); ++i) {
    const bool is_tensor = c10::TensorType::get()->isSubtypeOf(*arguments[i].type());
    if (i < 4 ? !is_tensor : !arguments[i].default_value().has_value()) return false;
  }
  return true;
}

/// Sizes of the output for a batch; -1: any that is not 0.
std::vector<int64_t> expected_sizes(const std::optional<TaskHead>& head, const Batch& batch) {
  const auto texts = batch.size(), tokens = batch.input_ids().size(1);
  if (!head) return {texts, -1};
  return find_task(head->task).logits_sizes(texts, tokens, static_cast<int64_t>(head->labels.size()));
}

/// "[32, 3]"; [32, any] for -1.
std::string sizes_text(at::IntArrayRef sizes) {
  std::vector<std::string> texts;
  for (const auto size : sizes) texts.push_back(size < 0 ? "any" : std::to_string(size));
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

std::string tensor_text(const at::Tensor& tensor) {
  if (!tensor.defined()) return "an undefined tensor";
  const auto number = std::string(c10::toString(tensor.scalar_type()));
  if (tensor.layout() != at::kStrided) return "a tensor of " + number + " that is not dense";
  if (!tensor.device().is_cpu()) return fmt::format("a tensor of {} on the device {}", number, tensor.device().str());
  return fmt::format("{} {}", number, sizes_text(tensor.sizes()));
}

/// What the output is, if it is no numbers of those sizes.
std::optional<std::string> misfit(const c10::IValue& output, at::IntArrayRef sizes) {
  if (!output.isTensor()) return output.type()->repr_str();
  const auto& tensor = output.toTensor();
  bool fits = tensor.defined() && tensor.layout() == at::kStrided && tensor.device().is_cpu() &&
              tensor.is_floating_point() && tensor.dim() == static_cast<int64_t>(sizes.size());
  for (size_t i = 0; fits && i < sizes.size(); ++i) {
    const auto found = tensor.size(static_cast<int64_t>(i));
    fits = sizes[i] < 0 ? found > 0 : found == sizes[i];
  }
  return fits ? std::nullopt : std::optional(tensor_text(tensor));
}

/// NaN, or infinity, of which a softmax makes NaN; -infinity is a class that can't be.
bool has_odd(const at::Tensor& floats) {
  const auto* begin = floats.data_ptr<float>();
  return std::any_of(begin, begin + floats.numel(),
                     [](float value) { return std::isnan(value) || value == std::numeric_limits<float>::infinity(); });
}

/// Whether a layer that is used again, as shared ones are, has put its value there already.
template <class Value>
bool is_kept(const std::vector<std::pair<std::string, Value>>& values, const std::string& name) {
  return std::ranges::find(values, name, &std::pair<std::string, Value>::first) != values.end();
}

/// While it lives, numbers are written and read as in C: LibTorch prints those of a TorchScript file's text by the
/// process's locale. A locale is the whole process's: other threads see it too.
class PlainNumbers {
 public:
  PlainNumbers() : of_c_(std::setlocale(LC_ALL, nullptr)), of_streams_(std::locale::global(std::locale::classic())) {}
  ~PlainNumbers() {
    std::locale::global(of_streams_);
    std::setlocale(LC_ALL, of_c_.c_str());
  }
  PlainNumbers(const PlainNumbers&) = delete;
  PlainNumbers& operator=(const PlainNumbers&) = delete;

 private:
  std::string of_c_;
  std::locale of_streams_;
};

}  // namespace

Script::Script(const std::vector<std::string>& arguments) {
  source_ = "def forward(self";
  for (const auto& argument : arguments) source_ += fmt::format(", {}: Tensor", argument);
  source_ += ") -> Tensor:\n";
}

std::string Script::keep(const std::string& name) {
  std::string own = name;
  std::replace(own.begin(), own.end(), '.', '_');
  return own;
}

std::string Script::tensor(const std::string& name, const torch::Tensor& value) {
  if (!value.defined()) return "None";
  const auto own = keep(name);
  if (!is_kept(tensors_, own)) tensors_.emplace_back(own, value.detach().to(torch::kCPU).contiguous());
  return "self." + own;
}

std::string Script::attribute(const std::string& name, c10::IValue value) {
  const auto own = keep(name);
  if (!is_kept(attributes_, own)) attributes_.emplace_back(own, std::move(value));
  return "self." + own;
}

void Script::line(std::string_view text) {
  source_ += fmt::format("  {}\n", text);
}

std::string Script::let(std::string_view expression) {
  const auto name = fmt::format("v{}", values_++);
  line(fmt::format("{} = {}", name, expression));
  return name;
}

void Script::returns(std::string_view expression) {
  line(fmt::format("return {}", expression));
}

std::string Script::linear(const std::string& name, const torch::Tensor& weight, const torch::Tensor& bias,
                           const std::string& x) {
  return fmt::format("torch.linear({}, {}, {})", x, tensor(name + ".weight", weight), tensor(name + ".bias", bias));
}

std::string Script::linear(const std::string& name, const Linear& layer, const std::string& x) {
  switch (layer->format()) {  // those with products of their own, as in LinearImpl::forward()
    case WeightFormat::bfloat16:
      return fmt::format("torch.to(torch.linear(torch.to({0}, {1}), {2}, torch.to({3}, {1})), {4})", x,
                         dtype(torch::kBFloat16), tensor(name + ".weight", layer->weight),
                         tensor(name + ".bias", layer->bias_or_zero()), dtype(torch::kFloat));
    case WeightFormat::int8:
      return int8_products(name, layer, x);
    default:
      return fmt::format("torch.linear({}, {}, {})", x, full_weight(name, *layer), tensor(name + ".bias", layer->bias));
  }
}

std::string Script::int8_products(const std::string& name, const Linear& layer, const std::string& x) {
  if (layer->activations() == ActivationScheme::static_per_tensor) {
    const auto rounded = fmt::format("torch.fake_quantize_per_tensor_affine({}, {}, 0, -128, 127)", x,
                                     attribute(name + ".input_scale", c10::IValue(layer->input_scale.item<double>())));
    return fmt::format("torch.linear({}, {}, {})", rounded, full_weight(name, *layer),
                       tensor(name + ".bias", layer->bias));
  }
  const auto packed = attribute(name + ".packed", Linear(layer)->packed()->value());
  const auto product = [&](const std::string& input) {
    return fmt::format("ops.quantized.linear_dynamic({}, {}, {})", input, packed,
                       PackedInt8::reduce_range ? "True" : "False");
  };
  const auto bias = tensor(name + ".bias", layer->bias_or_zero());
  if (layer->activations() == ActivationScheme::per_tensor) return fmt::format("{} + {}", product(x), bias);
  // As in PackedInt8::linear().
  const auto width = layer->columns();
  const auto tokens = let(fmt::format("torch.reshape({}, [-1, {}])", x, width));
  const auto scale =
      let(fmt::format("torch.clamp_min(torch.amax(torch.abs({}), -1, True), {})", tokens, PackedInt8::smallest_scale));
  const auto range = let(fmt::format("torch.full([1, {}], 1.0, dtype={})", width, dtype(torch::kFloat)));
  const auto rows = let(product(fmt::format("torch.cat([torch.div({0}, {1}), {2}, torch.mul({2}, {3:.17g})])", tokens,
                                            scale, range, PackedInt8::range_low)));
  const auto own = let(fmt::format("torch.slice({}, 0, 0, {}.size(0)) * {}", rows, tokens, scale));
  return fmt::format("torch.reshape({}, {}.size()[:-1] + [{}]) + {}", own, x, layer->rows(), bias);
}

std::string Script::widened(const std::string& name, const StoredModule& module,
                            const std::function<std::string(const std::string& part)>& of) {
  const auto& kind = storage_of(module.format());
  if (!kind.is_product()) return of(tensor(name + ".weight", module.full_weight()));
  std::vector<std::string> factors;
  for (const auto& part : kind.parts(module.rows(), module.columns())) {
    const auto text = of(tensor(fmt::format("{}.{}", name, part.name), module.part(part.name)));
    factors.push_back(part.dtype == DType::float32 ? text
                                                   : fmt::format("torch.to({}, {})", text, dtype(torch::kFloat)));
  }
  return fmt::format("{}", fmt::join(factors, " * "));
}

std::string Script::embedding(const std::string& name, const Embedding& table, const std::string& ids) {
  return widened(name, *table, [&](const auto& part) { return fmt::format("torch.embedding({}, {})", part, ids); });
}

std::string Script::full_weight(const std::string& name, const StoredModule& module) {
  return widened(name, module, [](const auto& part) { return part; });
}

std::string Script::layer_norm(const std::string& name, const LayerNorm& norm, const std::string& x) {
  if (norm->kind == NormKind::rms) {
    return fmt::format("torch.rms_norm({}, [{}], {}, {})", x, norm->weight.size(0),
                       tensor(name + ".weight", norm->weight), norm->eps);
  }
  return fmt::format("torch.layer_norm({}, [{}], {}, {}, {})", x, norm->weight.size(0),
                     tensor(name + ".weight", norm->weight), tensor(name + ".bias", norm->bias), norm->eps);
}

std::string Script::dtype(torch::Dtype type) {
  return std::to_string(static_cast<int>(type));
}

torch::jit::Module Script::compile() const {
  torch::jit::Module module("Model");
  for (const auto& [name, value] : tensors_) module.register_buffer(name, value);
  for (const auto& [name, value] : attributes_) module.register_attribute(name, value.type(), value);
  module.define(source_, std::make_shared<OperatorResolver>());
  module.eval();
  return module;
}

void save_script(const Script& script, const fs::path& file) {
  const PlainNumbers plain;
  const auto module = script.compile();
  const fs::path temporary = file.string() + ".tmp";
  std::error_code error;
  try {
    module.save(temporary.string());
  } catch (const c10::Error& failure) {
    fs::remove(temporary, error);
    if (is_out_of_memory(failure)) throw;
    throw StorageError(fmt::format("{}: can't be written: {}", file.string(), failure.what_without_backtrace()));
  }
  fs::rename(temporary, file, error);
  if (error) throw StorageError(fmt::format("{}: can't be put in place: {}", file.string(), error.message()));
}

torch::jit::Module load_script(const fs::path& file) {
  if (!fs::is_regular_file(file)) throw CheckpointError(file.string() + ": no such file");
  const IgnoreWarnings ignore;
  const PlainNumbers plain;
  try {
    check_archive(file);
    auto module = torch::jit::load(file.string(), torch::kCPU, /*load_debug_files=*/false);
    module.eval();
    return module;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& failure) {
    if (is_out_of_memory(failure)) throw;
    throw CheckpointError(
        fmt::format("{}: not a TorchScript file that can be read: {}", file.string(), first_line(failure.what())));
  }
}

LogitsFunction script_logits(const torch::jit::Module& module, const ScriptUse& use) {
  const auto forward = module.find_method("forward");
  if (!forward || !takes_a_batch(forward->function().getSchema())) {
    std::vector<std::string> arguments;
    if (forward) {
      for (const auto& argument : forward->function().getSchema().arguments()) arguments.push_back(argument.name());
    }
    throw CheckpointError(
        fmt::format("{}: found {}, expected forward(self, input_ids, attention_mask, token_type_ids), of tensors",
                    use.name, forward ? fmt::format("forward({})", fmt::join(arguments, ", ")) : "no forward()"));
  }
  // Without a head, the classes of the first output are those of all.
  const auto classes = std::make_shared<std::atomic<int64_t>>(-1);
  return [module = module, use, classes](const Batch& batch) mutable {
    c10::IValue output;
    const IgnoreWarnings ignore;  // the file's own warn() too
    try {
      output = module.forward({batch.input_ids(), batch.attention_mask(), batch.token_type_ids()});
    } catch (const std::exception& failure) {
      throw UnsupportedError(
          fmt::format("{}: can't run {} texts of {} tokens: {}", use.name, batch.size(), batch.input_ids().size(1),
                      is_out_of_memory(failure) ? "it wants more memory than there is" : reason_of(failure)));
    }
    auto sizes = expected_sizes(use.head, batch);
    if (!use.head && *classes >= 0) sizes.back() = *classes;
    if (const auto found = misfit(output, sizes)) {
      throw CheckpointError(
          fmt::format("{}: its output is {}, expected Float {}", use.name, *found, sizes_text(sizes)));
    }
    const auto logits = output.toTensor().to(torch::kFloat).contiguous();
    if (has_odd(logits)) {
      throw CheckpointError(use.name + ": its output has values that are no numbers or infinite, expected logits");
    }
    if (!use.head) {
      if (logits.size(1) > limits::labels) {
        throw CheckpointError(fmt::format("{}: its output has {} classes, expected at most {}", use.name,
                                          logits.size(1), limits::labels));
      }
      *classes = logits.size(1);
    }
    return logits;
  };
}

}  // namespace compression::exporter
