#include "quantize/smooth.h"

#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "compress/model/autocast.h"  // OrdinaryMode

namespace compression::quantize {
namespace {

constexpr int64_t sampled_tokens = 2048;  // a layer

/// Chooses one token in `every`, by the text's position in the source and the token's in the text: the same ones
/// whatever the batches are.
class TokenSample {
 public:
  explicit TokenSample(const BatchSource& texts) {
    int64_t tokens = 0;
    for (const auto& examples : texts.plan(0)) tokens += texts.collate(examples).attention_mask().sum().item<int64_t>();
    every_ = std::max<int64_t>((tokens + sampled_tokens - 1) / sampled_tokens, 1);
  }

  /// The rows, among those of a batch's tokens, that are chosen: int64 [rows].
  torch::Tensor rows(const Batch& batch) const {
    constexpr int64_t prime = 7919;
    const auto mask = batch.attention_mask().cpu();
    const auto numbers = batch.examples.cpu().unsqueeze(1) * prime + mask.cumsum(1);
    return numbers.index({mask.to(torch::kBool)}).remainder(every_).eq(0).nonzero().squeeze(1);
  }

 private:
  int64_t every_ = 1;
};

/// What one linear layer makes is, feature by feature, what the other reads.
struct Fold {
  std::string name;  // of the reader
  Linear maker, reader;
  torch::Tensor largest;               // of each feature
  std::vector<torch::Tensor> samples;  // rows that were read
};

std::vector<Fold> folds(Model& model, const std::vector<std::string>& unquantized) {
  std::map<const LinearImpl*, std::string> names;
  for (const auto& [name, linear] : model->named_linears()) names[linear.get()] = name;
  std::vector<Fold> all;
  const auto add = [&](const Linear& maker, const Linear& reader) {
    const auto& name = names.at(reader.get());
    if (reader->weight.numel() == 0 || std::ranges::find(unquantized, name) != unquantized.end()) return;
    all.push_back({name, maker, reader, torch::zeros({reader->weight.size(1)}, torch::kFloat), {}});
  };
  const auto& config = model->config();
  for (size_t i = 0; i < model->encoder->layers.size(); ++i) {
    if (config.first_use(i) < i) continue;
    const auto& layer = *model->encoder->layers[i];
    if (layer.spec.attention.group == 1) add(layer.linear(Role::value), layer.linear(Role::attention_output));
    if (layer.spec.mlp.gated) {
      add(layer.linear(Role::gate), layer.linear(Role::down));
    } else if (layer.spec.mlp.activation == Activation::relu) {
      add(layer.linear(Role::up), layer.linear(Role::down));
    }
  }
  return all;
}

/// float32 [in]; 1 for a feature that is 0 on all texts, or that nothing reads.
torch::Tensor factors(const Fold& fold, double strength) {
  const auto weights = fold.reader->weight.abs().amax(0);
  const auto factor = fold.largest.pow(strength) / weights.pow(1.0 - strength);
  return torch::where((fold.largest > 0) & (weights > 0) & factor.isfinite() & (factor > 0), factor,
                      torch::ones_like(factor));
}

/// Of the reader's output in int8, relative to the output's size.
double squared_error(const Fold& fold, const torch::Tensor& factor, const torch::Tensor& sample, const Formats& formats,
                     const ObserverOptions& options) {
  const auto& weight = fold.reader->weight;
  const auto x = sample / factor;
  torch::Tensor input_scale;
  if (formats.activations == ActivationScheme::static_per_tensor) {
    const auto observer = make_observer(options);
    observer->add(x);
    input_scale = torch::full({1}, observer->scale(), torch::kFloat);
  }
  Linear quantized(weight.size(1), weight.size(0));
  quantized->bias.zero_();
  quantized->weight.copy_(weight * factor);
  quantized->store(WeightFormat::int8);
  quantized->quantize_inputs(formats.activations, input_scale);
  const auto exact = torch::mm(sample, weight.t());
  const double size = exact.square().sum().item<double>();
  return (quantized->forward(x) - exact).square().sum().item<double>() / std::max(size, 1e-30);
}

void apply(Fold& fold, const torch::Tensor& factor) {
  fold.maker->weight.div_(factor.unsqueeze(1));
  if (fold.maker->bias.defined()) fold.maker->bias.div_(factor);
  fold.reader->weight.mul_(factor);
}

}  // namespace

std::vector<SmoothedLayer> smooth(Model& model, const Formats& formats, const ObserverOptions& observer,
                                  std::optional<double> strength, const BatchSource& texts, const Context& context) {
  require_layers(model, formats.unquantized);
  const OrdinaryMode ordinary(context.device);
  const at::NoGradGuard no_grad;
  auto all = folds(model, formats.unquantized);
  if (all.empty()) return {};
  std::vector<Linear> readers;
  for (const auto& fold : all) readers.push_back(fold.reader);
  const TokenSample sample(texts);
  torch::Tensor sampled_rows;  // of the batch
  each_input(
      model, readers, texts, context,
      [&](size_t i, const torch::Tensor& rows) {
        if (rows.size(0) == 0) return;
        all[i].largest = torch::maximum(all[i].largest, rows.abs().amax(0));
        all[i].samples.push_back(rows.index_select(0, sampled_rows));
      },
      [&](const Batch& batch) { sampled_rows = sample.rows(batch); });

  std::vector<SmoothedLayer> result;
  for (auto& fold : all) {
    context.check_stop();
    if (fold.samples.empty()) continue;
    const auto sampled = torch::cat(fold.samples);
    fold.samples.clear();
    if (sampled.size(0) == 0) continue;
    const auto none = torch::ones_like(fold.largest);
    const double before = squared_error(fold, none, sampled, formats, observer);
    SmoothedLayer best{fold.name, 0.0, before, before};
    auto chosen = none;
    const auto attempt = [&](double candidate) {
      const auto factor = factors(fold, candidate);
      const double error = squared_error(fold, factor, sampled, formats, observer);
      if (!strength && !(error < best.error)) return;
      best = {fold.name, candidate, error, before};
      chosen = factor;
    };
    if (strength) {
      attempt(*strength);
    } else {
      for (int tenths = 1; tenths <= 9; ++tenths) attempt(tenths / 10.0);
    }
    if (best.strength > 0.0) apply(fold, chosen);
    result.push_back(best);
  }
  return result;
}

nlohmann::json smoothing_json(const std::vector<SmoothedLayer>& layers) {
  auto list = nlohmann::json::array();
  for (const auto& [layer, strength, error, before] : layers) {
    list.push_back({{"layer", layer}, {"strength", strength}, {"error", error}, {"error_without", before}});
  }
  return list;
}

}  // namespace compression::quantize
