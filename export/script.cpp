#include "export/script.h"

#include <fmt/format.h>
#include <torch/csrc/jit/frontend/resolver.h>
#include <torch/csrc/jit/frontend/sugared_value.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>

#include "compress/workflow/error.h"  // CheckpointError, StorageError, UnsupportedError

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

/// Where TorchScript's messages say what was wrong: after the trace of the source.
std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.find_last_of('\n') + 1);
}

/// Whether a layer that is used again, as shared ones are, has put its value there already.
template <class Value>
bool is_kept(const std::vector<std::pair<std::string, Value>>& values, const std::string& name) {
  return std::ranges::find(values, name, &std::pair<std::string, Value>::first) != values.end();
}

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
  const auto float32 = dtype(torch::kFloat);
  switch (layer->format()) {
    case WeightFormat::float32:
      return linear(name, layer->weight, layer->bias, x);
    case WeightFormat::float16:
      return fmt::format("torch.linear({}, torch.to({}, {}), {})", x, tensor(name + ".weight", layer->weight), float32,
                         tensor(name + ".bias", layer->bias));
    case WeightFormat::bfloat16: {
      const auto bfloat16 = dtype(torch::kBFloat16);
      return fmt::format("torch.to(torch.linear(torch.to({0}, {1}), {2}, torch.to({3}, {1})), {4})", x, bfloat16,
                         tensor(name + ".weight", layer->weight), tensor(name + ".bias", layer->bias), float32);
    }
    case WeightFormat::int8: {
      if (layer->activations() == ActivationScheme::static_per_tensor) {  // as in LinearImpl::forward()
        const auto rounded =
            fmt::format("torch.fake_quantize_per_tensor_affine({}, {}, 0, -128, 127)", x,
                        attribute(name + ".input_scale", c10::IValue(layer->input_scale.item<double>())));
        return fmt::format("torch.linear({}, torch.to({}, {}) * {}, {})", rounded,
                           tensor(name + ".weight", layer->weight), float32,
                           tensor(name + ".weight_scale", layer->weight_scale), tensor(name + ".bias", layer->bias));
      }
      const auto packed = attribute(name + ".packed", layer->packed().value());
      const auto product = [&](const std::string& input) {
        return fmt::format("ops.quantized.linear_dynamic({}, {}, {})", input, packed,
                           PackedInt8::reduce_range ? "True" : "False");
      };
      const auto bias = tensor(name + ".bias", layer->bias);
      if (layer->activations() == ActivationScheme::per_tensor) return fmt::format("{} + {}", product(x), bias);
      // As in PackedInt8::linear().
      const auto width = layer->weight.size(1);
      const auto tokens = let(fmt::format("torch.reshape({}, [-1, {}])", x, width));
      const auto scale = let(
          fmt::format("torch.clamp_min(torch.amax(torch.abs({}), -1, True), {})", tokens, PackedInt8::smallest_scale));
      const auto range = let(fmt::format("torch.full([1, {}], 1.0)", width));
      const auto rows = let(product(fmt::format("torch.cat([torch.div({0}, {1}), {2}, torch.mul({2}, {3:.17g})])",
                                                tokens, scale, range, PackedInt8::range_low)));
      const auto own = let(fmt::format("torch.slice({}, 0, 0, {}.size(0)) * {}", rows, tokens, scale));
      return fmt::format("torch.reshape({}, {}.size()[:-1] + [{}]) + {}", own, x, layer->weight.size(0), bias);
    }
  }
  throw std::logic_error("weight format");
}

std::string Script::embedding(const std::string& name, const Embedding& table, const std::string& ids) {
  const auto rows = fmt::format("torch.embedding({}, {})", tensor(name + ".weight", table->weight), ids);
  if (table->format() == WeightFormat::float32) return rows;
  const auto widened = fmt::format("torch.to({}, {})", rows, dtype(torch::kFloat));
  if (table->format() != WeightFormat::int8) return widened;
  return fmt::format("{} * torch.embedding({}, {})", widened, tensor(name + ".weight_scale", table->weight_scale), ids);
}

std::string Script::full_weight(const std::string& name, const Embedding& table) {
  const auto weight = tensor(name + ".weight", table->weight);
  if (table->format() == WeightFormat::float32) return weight;
  const auto widened = fmt::format("torch.to({}, {})", weight, dtype(torch::kFloat));
  if (table->format() != WeightFormat::int8) return widened;
  return fmt::format("{} * {}", widened, tensor(name + ".weight_scale", table->weight_scale));
}

std::string Script::layer_norm(const std::string& name, const LayerNorm& norm, const std::string& x) {
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
  const auto module = script.compile();
  const fs::path temporary = file.string() + ".tmp";
  std::error_code error;
  try {
    module.save(temporary.string());
  } catch (const c10::Error& failure) {
    fs::remove(temporary, error);
    throw StorageError(fmt::format("{}: can't be written: {}", file.string(), failure.what_without_backtrace()));
  }
  fs::rename(temporary, file, error);
  if (error) throw StorageError(fmt::format("{}: can't be put in place: {}", file.string(), error.message()));
}

torch::jit::Module load_script(const fs::path& file) {
  if (!fs::is_regular_file(file)) throw CheckpointError(file.string() + ": no such file");
  const IgnoreWarnings ignore;
  try {
    auto module = torch::jit::load(file.string(), torch::kCPU);
    module.eval();
    return module;
  } catch (const std::exception& failure) {
    std::string reason = failure.what();
    reason = reason.substr(0, reason.find('\n'));
    throw CheckpointError(fmt::format("{}: not a TorchScript file that can be read: {}", file.string(), reason));
  }
}

LogitsFunction script_logits(const torch::jit::Module& module) {
  return [module = module](const Batch& batch) mutable {
    try {
      return module.forward({batch.input_ids, batch.attention_mask, batch.token_type_ids}).toTensor();
    } catch (const std::exception& failure) {
      throw UnsupportedError(fmt::format("the TorchScript model can't run {} texts of {} tokens: {}", batch.size(),
                                         batch.input_ids.size(1), last_line(failure.what())));
    }
  };
}

}  // namespace compression::exporter
