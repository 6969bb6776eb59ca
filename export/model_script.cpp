#include "export/model_script.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "compress/base/error.h"             // CheckpointError
#include "compress/model/block_math.h"       // BlockMath, Distances
#include "compress/ops/library.h"            // make_encoder_object
#include "compress/spec/heads.h"             // with_head
#include "compress/state_dict/state_dict.h"  // load_state_dict
#include "compress/storage/storage.h"        // storage_of
#include "compress/task/losses.h"            // labelled_logits
#include "export/encoder_state.h"            // encoder_state
#include "export/expression.h"               // Expression

namespace compression::exporter {
namespace {

std::string activated(Activation activation, const std::string& x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::gelu:
    case Activation::gelu_tanh:
      return fmt::format("torch.gelu({}, approximate='{}')", x, activation == Activation::gelu ? "none" : "tanh");
    case Activation::relu:
    case Activation::tanh:
    case Activation::silu:
    case Activation::sigmoid:
      return fmt::format("torch.{}({})", enum_name(activation), x);
  }
  throw std::logic_error("activation");
}

/// Layers as text.
class LayerOps {
 public:
  using Value = Expression;

  explicit LayerOps(Script& script) : script_(script) {}

  Value activated(const Value& x, Activation activation) const {
    return activation == Activation::none ? x : let(exporter::activated(activation, x.text()));
  }
  Value capped(const Value& x, double cap) const { return let("torch.tanh({} / {:.17g}) * {:.17g}", x, cap, cap); }
  Value joined(const std::vector<Value>& parts) const { return let("torch.cat([{}], -1)", fmt::join(parts, ", ")); }

 protected:
  template <class... Arguments>
  Value let(fmt::format_string<Arguments...> form, Arguments&&... arguments) const {
    return let(fmt::format(form, std::forward<Arguments>(arguments)...));
  }
  Value let(const std::string& expression) const { return {script_, script_.let(expression)}; }

  template <class... Arguments>
  void line(fmt::format_string<Arguments...> form, Arguments&&... arguments) const {
    script_.line(fmt::format(form, std::forward<Arguments>(arguments)...));
  }

  Script& script_;
};

/// What a stack reads: arguments of forward(), and what another stack gives.
struct StackInputs {
  std::string ids, attention_mask = "", token_types = "";  // without a mask all tokens are real
  Expression memory = {}, memory_mask = {};
};

/// embedded() and BlockMath as text.
class StackOps : public LayerOps {
 public:
  /// `prefix` is of what the stack keeps in the file.
  StackOps(Script& script, const EncoderImpl& encoder, const ModelConfig& config, StackInputs inputs,
           const std::string& prefix = "")
      : LayerOps(script),
        encoder_(encoder),
        config_(config),
        inputs_(std::move(inputs)),
        mask_(script, prefix.empty() ? "mask" : "decoder_mask") {
    for (const auto& item : encoder.named_modules("", /*include_self=*/false)) {
      names_[item.value().get()] = prefix + item.key();
    }
    const auto& input = *encoder.embeddings;
    names_.emplace(input.word_embeddings.get(), "embeddings.word_embeddings");  // of another stack
    length_ = let("{}.size(1)", inputs_.ids);
    if (!input.position_embeddings && !encoder.relative) {  // where no table is too short for it
      line("assert {0} <= {1}, 'found a text of more than {1} tokens'", length_, config.max_length());
    }
    line("{}: Optional[Tensor] = None", mask_);
    if (!inputs_.attention_mask.empty()) {
      line("if not bool(torch.all({})):", inputs_.attention_mask);
      line("  present = torch.unsqueeze(torch.unsqueeze(torch.to({}, {}), 1), 1)", inputs_.attention_mask,
           Script::dtype(torch::kFloat));
      if (input.spec.masks_queries) {
        line("  if not bool(torch.all(torch.select({}, 1, 0))):", inputs_.attention_mask);
        line("    present = present * torch.transpose(present, -1, -2)");
      }
      line("  {} = torch.mul(torch.rsub(present, 1.0), {:.9e})", mask_, std::numeric_limits<float>::lowest());
    }
    places_ = let("torch.arange({}, dtype={}, device={}.device)", length_, Script::dtype(torch::kLong), inputs_.ids);
  }

  /// The last hidden states.
  Value states() {
    const auto all = distances();
    auto x = embedded(*this, *encoder_.embeddings);
    for (const auto& layer : encoder_.layers) x = BlockMath(*this, *layer).block(x, all);
    return encoder_.final_norm ? norm(encoder_.final_norm, x) : x;
  }
  const Value& mask() const { return mask_; }  // of padding

  Value linear(const Linear& layer, const Value& x) const { return let(script_.linear(name(layer), layer, x.text())); }
  Value bias_alone(const Linear& layer, const Value& x) const {
    if (!layer->bias.defined()) return let("torch.zeros_like({})", x);
    return {script_, script_.tensor(name(layer) + ".bias", layer->bias)};
  }
  Value norm(const LayerNorm& layer, const Value& x) const {
    return let(script_.layer_norm(name(layer), layer, x.text()));
  }
  Value dropout(const Value& x, double) const { return x; }

  Value ids() const { return {script_, inputs_.ids}; }
  Value token_types() const { return {script_, inputs_.token_types}; }
  const Value& places() const { return places_; }
  Value rows(const Embedding& table, const Value& ids) const {
    return let(script_.embedding(name(table), table, ids.text()));
  }
  Value as_integers(const Value& x) const { return x.to(torch::kLong); }
  Value without_masked(const Value& x) const {
    line("if not bool(torch.all(torch.select({}, 1, 0))):", inputs_.attention_mask);
    line("  {0} = {0} * torch.unsqueeze(torch.to({1}, {2}), -1)", x, inputs_.attention_mask,
         Script::dtype(torch::kFloat));
    return x;
  }

  Value constant(const EncoderLayerImpl& layer, const char* what, const torch::Tensor& value) const {
    return {script_, script_.tensor(fmt::format("{}.{}", names_.at(&layer), what), value)};
  }
  Value distance() const { return let("torch.abs({})", before()); }

  const std::pair<Value, Value>& angles(double base, int64_t size) {
    auto& angles = angles_[base];
    if (angles.first.defined()) return angles;
    const auto share = let("torch.arange(0, {0}, 2, dtype={1}, device={2}.device) / {0}", size,
                           Script::dtype(torch::kFloat), inputs_.ids);
    const auto half = let("torch.outer(torch.to({}, {}), torch.reciprocal(torch.pow({:.17g}, {})))", places_,
                          Script::dtype(torch::kFloat), base, share);
    const auto angle = joined({half, half});
    angles = {let("torch.cos({})", angle), let("torch.sin({})", angle)};
    return angles;
  }

  Value masked(const Value& bias, const AttentionSpec& attention) {
    const auto mask = mask_of(attention);
    if (!bias.defined()) return mask;
    auto& scores = sums_[{bias.text(), mask.text()}];  // that of a shared table is the same in all blocks
    if (scores.defined()) return scores;
    scores = let(bias.text());
    line("if {} is not None:", mask);
    line("  {0} = {0} + {1}", scores, mask);
    return scores;
  }

  Value attention(const Value& q, const Value& k, const Value& v, const Value& bias, const Scores& of) const {
    if (of.cap == 0.0) {
      return let("torch.scaled_dot_product_attention({}, {}, {}, {}, scale={:.17g})", q, k, v, bias, of.scale);
    }
    const auto scores = capped(q.matmul(k.transpose(-1, -2)) * of.scale, of.cap);
    line("if {} is not None:", bias);
    line("  {0} = {0} + {1}", scores, bias);
    return let("torch.softmax({}, -1)", scores).matmul(v);
  }

  const Value& memory() const { return inputs_.memory; }
  const Value& memory_mask() const { return inputs_.memory_mask; }
  void see_projections(const Value&, const Value&, const Value&) const {}
  void remember(Value&, Value&) const {}
  Value pruned_heads(const Value& x, const EncoderLayerImpl&) const { return x; }
  Value pruned_units(const Value& x, const EncoderLayerImpl&) const { return x; }

 private:
  template <class Layer>
  const std::string& name(const Layer& layer) const {
    return names_.at(layer.get());
  }

  /// How far the key is before the query: int64 [query, key].
  Value before() const { return places_.unsqueeze(1) - places_.unsqueeze(0); }

  /// What all blocks share.
  Distances<Value> distances() const {
    const auto& table = encoder_.relative;
    if (!table) return {};
    const auto longest = config_.max_length();
    const Value all(script_, script_.tensor("encoder.relative.rows", table->rows(longest)));
    const auto flat = all.index_select(0, (before() + (longest - 1)).flatten(0));
    const Value weight(script_, script_.tensor("encoder.relative.table", table->table->weight));
    const auto square = [&](const Value& x, const std::string& first) {
      return let("torch.reshape({}, [{}{}, {}])", x, first, length_, length_);
    };
    if (config_.positions() == Positions::bias) {
      const auto by_head = weight.index_select(0, flat).transpose(0, 1);
      return {.bias = square(by_head, fmt::format("1, {}, ", config_.relative.heads))};
    }
    // Rows ascend with the distance: those in use are a part of the table, and the rest need not be projected.
    const auto first = let("int(torch.min({}))", flat);
    auto part = let("torch.slice({}, 0, {}, int(torch.max({})) + 1)", weight, first, flat);
    if (table->norm) part = norm(table->norm, part);
    return {.rows = square(flat - first, ""), .part = part};
  }

  /// AttentionContext::mask_of.
  Value mask_of(const AttentionSpec& attention) {
    if (!attention.causal && attention.window == 0) return mask_;
    auto& mask = masks_[{attention.causal, attention.window}];
    if (mask.defined()) return mask;
    const auto distance = before();
    auto far = attention.causal ? let("torch.lt({}, 0)", distance) : let("torch.gt({}, {})", distance, length_);
    if (attention.window > 0) {
      far = let("torch.logical_or({}, torch.gt(torch.abs({}), {}))", far, distance, attention.window);
    }
    mask = far.to(torch::kFloat) * static_cast<double>(std::numeric_limits<float>::lowest());
    line("if {} is not None:", mask_);
    line("  {0} = torch.minimum({0}, {1})", mask, mask_);
    return mask;
  }

  const EncoderImpl& encoder_;
  const ModelConfig& config_;
  const StackInputs inputs_;
  Value length_, mask_, places_;
  std::map<const torch::nn::Module*, std::string> names_;
  std::map<double, std::pair<Value, Value>> angles_;  // cosines and sines of a base
  std::map<std::pair<bool, int64_t>, Value> masks_;
  std::map<std::pair<std::string, std::string>, Value> sums_;  // of biases and masks
};

/// A head as text.
class HeadOps : public LayerOps {
 public:
  HeadOps(Script& script, const Head& head, Value states) : LayerOps(script), head_(head), states_(std::move(states)) {}

  const ModelConfig& config() const { return head_.config; }
  const Value& states() const { return states_; }
  Value first() const { return states_.select(1, 0); }
  bool has_first_alone() const { return false; }
  Value mask(const Value&) const { return Value(script_, "attention_mask").to(torch::kFloat); }
  Value places() const {
    return let("torch.arange(1, {0}.size(1) + 1, dtype={1}, device={0}.device)", states_, Script::dtype(torch::kFloat));
  }
  Value asked_for(const Value& x) const { return x; }
  Value as_float(const Value& x) const { return x.to(torch::kFloat); }
  Value linear(const std::string& name, const Value& x) const {
    return let(script_.linear("head." + name, head_.layers.at(name), x.text()));
  }
  Value norm(const std::string& name, const Value& x) const {
    return let(script_.layer_norm("head." + name, head_.norms.at(name), x.text()));
  }
  Value words(const Value& x) const {
    return let("torch.linear({}, {}, {})", x, script_.full_weight("embeddings.word_embeddings", *head_.words),
               script_.tensor("head.bias", head_.bias));
  }
  Value dropout(const Value& x) const { return x; }
  Value first_dropout(const Value& x) const { return x; }

 private:
  const Head& head_;
  Value states_;
};

}  // namespace

torch::Tensor counted(const torch::Tensor& outputs, const torch::Tensor& own, const Batch& batch) {
  const auto same = own.dim() < outputs.dim() ? labelled_logits(outputs, batch.labels()) : outputs;
  if (same.dim() < 3) return same;
  return same.flatten(0, 1).index_select(0, batch.attention_mask().flatten().nonzero().squeeze(1));
}

Script model_script(const Model& model, Runtime runtime) {
  Script script({"input_ids", "attention_mask", "token_type_ids"});
  const auto& head = *model->head;
  if (runtime == Runtime::fused) {
    const auto encoder = script.attribute("encoder", ops::make_encoder_object(encoder_state(model)));
    const bool whole = head.in_runtime() == RuntimePart::all;
    const Expression result(script, script.let(fmt::format("{}.{}(input_ids, attention_mask, token_type_ids)", encoder,
                                                           whole ? "forward" : "last_hidden_state")));
    HeadOps ops(script, head, result);
    const auto rest = [&]<class Kind>(Kind) { return behind_runtime<Kind>(ops); };
    script.returns((whole ? result : with_head(head.kind(), rest)).text());
    return script;
  }
  StackOps stack(script, *model->encoder, model->config(), {"input_ids", "attention_mask", "token_type_ids"});
  HeadOps ops(script, head, stack.states());
  script.returns(with_head(head.kind(), [&](auto kind) { return kind.logits(ops); }).text());
  return script;
}

Script language_script(const LanguageModel& model) {
  std::vector<std::string> arguments{"input_ids", "attention_mask"};
  if (model->decoder) arguments.emplace_back("decoder_input_ids");
  Script script(arguments);
  StackOps first(script, *model->stack, model->config(), {"input_ids", "attention_mask"});
  auto states = first.states();
  if (model->decoder) {
    const StackInputs inputs{.ids = "decoder_input_ids", .memory = states, .memory_mask = first.mask()};
    states = StackOps(script, *model->decoder, model->config(), inputs, "decoder.").states();
  }
  const auto own = [&] { return script.linear("lm_head", model->lm_head, states.text()); };
  const auto tied = [&] {
    const auto& words = model->stack->embeddings->word_embeddings;
    return fmt::format("torch.linear({}, {})", states.text(), script.full_weight("embeddings.word_embeddings", *words));
  };
  const Expression logits(script, script.let(model->lm_head ? own() : tied()));
  const auto cap = model->config().logit_cap;
  script.returns((cap == 0.0 ? logits : LayerOps(script).capped(logits, cap)).text());
  return script;
}

Parity check_parity(const LogitsFunction& model, const LogitsFunction& file, const BatchSource& source,
                    const ParityBounds& bounds, const std::string& name, const Context& context) {
  Parity parity;
  double differences = 0.0, logits = 0.0;  // sums of squares
  int64_t count = 0;
  const auto model_scorer = source.scorer(), file_scorer = source.scorer();
  each_output(file, source, context, [&](const Batch& batch, const torch::Tensor& outputs) {
    const auto own = model(batch);
    const auto exact = counted(own, own, batch), difference = counted(outputs, own, batch) - exact;
    model_scorer->add(batch, own);
    file_scorer->add(batch, outputs);
    if (difference.numel() == 0) return;
    const auto largest = difference.abs().max().item<double>();
    if (!(largest <= parity.largest_difference)) parity.largest_difference = largest;
    differences += difference.square().sum(torch::kDouble).item<double>();
    logits += exact.square().sum(torch::kDouble).item<double>();
    count += difference.numel();
  });
  parity.model = model_scorer->result();
  parity.file = file_scorer->result();
  parity.relative_difference = differences == 0.0 ? 0.0 : std::sqrt(differences / logits);
  const double size = std::sqrt(logits / static_cast<double>(std::max<int64_t>(count, 1)));
  const double bound = std::max(bounds.absolute, bounds.relative * size);
  if (!std::isfinite(parity.largest_difference) || !(parity.largest_difference <= bound)) {
    throw CheckpointError(fmt::format("{}: its logits differ from the model's by up to {:.3g}; the tolerance is {:.3g}",
                                      name, parity.largest_difference, bound));
  }
  return parity;
}

Model as_runtime(const Model& model, Runtime runtime) {
  auto config = model->config();
  if (config.linear_format == WeightFormat::float32) return model;
  if (runtime == Runtime::portable) {
    auto other = copy(model);
    other->set_products(Products::libtorch);
    return other;
  }
  const bool quantizes_inputs = storage_of(config.linear_format).quantizes_inputs();
  if (!quantizes_inputs || config.activations != ActivationScheme::per_tensor) return model;
  config.activations = ActivationScheme::per_token;
  Model other(config);
  load_state_dict(*other, state_dict(*model));
  other->eval();
  return other;
}

}  // namespace compression::exporter
