#include "compress/model/head.h"

#include <torch/types.h>

#include <algorithm>

#include "compress/spec/heads.h"  // with_head

namespace compression {
namespace {

/// A head with tensors.
class HeadOps {
 public:
  using Value = torch::Tensor;

  HeadOps(const Head& head, const EncoderOutput& encoded, const Batch& batch)
      : head_(head), encoded_(encoded), batch_(batch) {}

  const ModelConfig& config() const { return head_.config; }
  const Value& states() const { return encoded_.last_hidden_state; }
  const Value& first() const { return encoded_.first; }
  bool has_first_alone() const { return !states().defined(); }
  Value mask(const Value& like) const {
    const auto& given = batch_.attention_mask();
    return (given.defined() ? given : torch::ones_like(batch_.input_ids())).to(like.scalar_type());
  }

  /// 1, 2, ...: float32 [sequence]
  Value places() const {
    return torch::arange(1, states().size(1) + 1, states().options().dtype(torch::kFloat).requires_grad(false));
  }

  /// Of a batch with labels the labelled tokens' rows alone.
  Value asked_for(const Value& x) const {
    const auto& labels = batch_.labels();
    return labels.defined() ? x.flatten(0, 1).index_select(0, labelled_tokens(labels)) : x;
  }

  Value as_float(const Value& x) const { return x.to(torch::kFloat); }
  Value joined(const std::vector<Value>& parts) const { return torch::cat(parts, -1); }
  Value linear(const std::string& name, const Value& x) const { return Linear(head_.layers.at(name))->forward(x); }
  Value norm(const std::string& name, const Value& x) const { return LayerNorm(head_.norms.at(name))->forward(x); }
  Value activated(const Value& x, Activation activation) const { return activate(x, activation); }
  Value words(const Value& x) const { return torch::linear(x, head_.words->full_weight(), head_.bias); }
  Value dropout(const Value& x) const { return torch::dropout(x, head_.dropout, head_.is_training()); }
  Value first_dropout(const Value& x) const {
    return torch::dropout(x, head_.first_dropout.value_or(head_.dropout), head_.is_training());
  }

 private:
  const Head& head_;
  const EncoderOutput& encoded_;
  const Batch& batch_;
};

}  // namespace

Head::Head(const ModelConfig& of, Embedding table) : config(of), words(std::move(table)) {
  with_head(kind(), [&](auto head) { head.check(config); });
  constexpr std::string_view of_head = "head.";
  auto all = weights(config);
  std::erase_if(all, [&](const WeightSpec& weight) { return !weight.name.starts_with(of_head); });
  for (const auto& module : modules_of(all)) {
    const auto name = module.name.substr(of_head.size());
    if (module.norm) {
      norms.emplace(name, register_module(name, layer_norm(module)));
    } else {
      layers.emplace(name, register_module(name, linear_layer(module)));
      if (module.role == Role::classifier) classifier = layers.at(name);
    }
  }
  const auto own = std::ranges::find(all, Role::head_bias, &WeightSpec::role);
  if (own != all.end()) {
    bias = register_parameter("bias", torch::empty({own->axes.front().size}, torch::kFloat));
    words->read_elsewhere = true;
  }
  set_dropout(std::nullopt);
}

bool Head::reads_first() const {
  return with_head(kind(), [&](auto head) { return head.reads_first(config); });
}

RuntimePart Head::in_runtime() const {
  return with_head(kind(), [](auto head) { return head.in_runtime; });
}

torch::Tensor Head::forward(const EncoderOutput& encoded, const Batch& batch) {
  HeadOps ops(*this, encoded, batch);
  return with_head(kind(), [&](auto head) { return head.logits(ops); }).to(torch::kFloat);
}

torch::Tensor Head::behind_runtime(const torch::Tensor& states, const Batch& batch) {
  EncoderOutput encoded;
  encoded.last_hidden_state = states;
  HeadOps ops(*this, encoded, batch);
  return with_head(kind(), [&]<class Kind>(Kind) { return compression::behind_runtime<Kind>(ops); }).to(torch::kFloat);
}

std::vector<Linear> Head::linears() const {
  std::vector<Linear> all;
  for (const auto& weight : weights(config)) {
    if (weight.role == Role::head_dense && !weight.bias) all.push_back(layers.at("dense"));
  }
  return all;
}

void Head::set_dropout(std::optional<double> value) {
  if (with_head(kind(), [](auto head) { return head.has_dropout; })) {
    dropout = value.value_or(config.classifier_dropout.value_or(config.hidden_dropout_prob));
  }
  first_dropout = value ? value : config.head.first_dropout;
}

}  // namespace compression
