#include "compress/engine/network_state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/base/error.h"              // CheckpointError
#include "compress/base/fields.h"             // enum_name
#include "compress/kernels/head_attention.h"  // attention_limit
#include "compress/runtime/plain_linear.h"    // parts_in_state
#include "compress/spec/relative_rows.h"      // alibi_slopes, relative_rows
#include "compress/spec/weights.h"            // weights
#include "compress/storage/storage.h"         // kind_of

namespace compression {
namespace {

/// What the runtime calls a weight's module; empty: it has no use for it.
std::string runtime_module(const WeightSpec& weight) {
  const auto of_block = [&](std::string_view part) { return fmt::format("layer.{}.{}", weight.block, part); };
  switch (weight.role) {
    case Role::words:
      return "embeddings.word";
    case Role::places:
      return "embeddings.position";
    case Role::segments:
      return "embeddings.token_type";
    case Role::input_norm:
      return "embeddings.norm";
    case Role::input_projection:
      return "embeddings.projection";
    case Role::relative_norm:
      return "relative.norm";
    case Role::query:
      return of_block("query");
    case Role::key:
      return of_block("key");
    case Role::value:
      return of_block("value");
    case Role::position_key:
      return of_block("position_key");
    case Role::position_query:
      return of_block("position_query");
    case Role::query_norm:
      return of_block("query_norm");
    case Role::key_norm:
      return of_block("key_norm");
    case Role::attention_output:
      return of_block("attention_output");
    case Role::attention_norm:
      return of_block("attention_norm");
    case Role::up:
      return of_block("intermediate");
    case Role::gate:
      return of_block("gate");
    case Role::down:
      return of_block("output");
    case Role::mlp_norm:
      return of_block("output_norm");
    case Role::final_norm:
      return "final_norm";
    case Role::head_dense:
      return "head.dense";
    case Role::head_norm:
      return "head.norm";
    case Role::classifier:
      return "head.classifier";
    default:
      return "";
  }
}

template <class T>
HostTensor host_tensor(DType dtype, std::vector<int64_t> shape, std::vector<T> values) {
  const auto owner = std::make_shared<const std::vector<T>>(std::move(values));
  return {dtype, std::move(shape), std::shared_ptr<const void>(owner, owner->data())};
}

/// The tensor, which has to be float32 and of these sizes: its numbers are read here.
HostTensor floats(const std::string& name, const LazyTensor& tensor, const std::vector<int64_t>& shape) {
  if (tensor.defined() && tensor.dtype == DType::float32 && tensor.shape == shape) return tensor.read();
  throw CheckpointError(fmt::format(
      "tensor {}: found {}, expected F32 [{}]", name,
      tensor.defined() ? fmt::format("{} [{}]", enum_name(tensor.dtype), fmt::join(tensor.shape, ", ")) : "none",
      fmt::join(shape, ", ")));
}

/// The rows of the table of each key - query; relative_rows() are by query - key.
std::vector<int64_t> rows_by_key(const ModelConfig& config) {
  auto rows = relative_rows(config.positions(), config.relative, config.max_length());
  std::ranges::reverse(rows);
  return rows;
}

/// float32 [heads, 2 longest - 1]: what is added to the score of a pair of tokens, by key - query.
HostTensor position_bias(const ModelConfig& config, const AttentionSpec& attention, const HostTensor& table) {
  const auto longest = config.max_length();
  const bool falls = attention.positions == Positions::alibi;
  const auto rows = falls ? std::vector<int64_t>() : rows_by_key(config);
  const auto slopes = falls ? alibi_slopes(config.relative.heads) : std::vector<double>();
  std::vector<float> values;
  for (int64_t head = 0; head < attention.heads; ++head) {
    const auto& columns = attention.position_heads;
    const auto column = columns.empty() ? head : columns[static_cast<size_t>(head)];
    for (const auto row : rows) values.push_back(table.as<float>()[row * table.size(1) + column]);
    for (auto distance = 1 - longest; falls && distance < longest; ++distance) {
      const double slope = slopes.at(static_cast<size_t>(column));
      values.push_back(static_cast<float>(-slope * static_cast<double>(std::abs(distance))));
    }
  }
  return host_tensor(DType::float32, {attention.heads, 2 * longest - 1}, std::move(values));
}

/// The part of the table that distances have, and its row of each key - query.
void add_positions(const ModelConfig& config, const HostTensor& table, runtime::EncoderState& state) {
  const auto rows = rows_by_key(config);
  const auto [first, last] = std::ranges::minmax(rows);
  std::vector<int32_t> own;
  for (const auto row : rows) own.push_back(static_cast<int32_t>(row - first));
  const auto width = table.size(1);
  const auto* begin = table.as<float>() + first * width;
  state.tensors["relative.table.weight"] =
      HostTensor{DType::float32, {last - first + 1, width}, std::shared_ptr<const void>(table.data, begin)};
  const auto count = static_cast<int64_t>(own.size());
  state.tensors["relative.rows"] = host_tensor(DType::int32, {count}, std::move(own));
  state.numbers["content_to_position"] = config.relative.content_to_position ? 1.0 : 0.0;
  state.numbers["position_to_content"] = config.relative.position_to_content ? 1.0 : 0.0;
}

/// Those that read one input have one static scale: where rows of positions go through the projections of queries and
/// keys too, theirs is another one, and the largest holds for all. Where one has none, no one has.
void share_scales(const std::string& block, std::initializer_list<std::string_view> parts,
                  runtime::EncoderState& state) {
  std::vector<std::string> names;
  HostTensor largest;
  for (const auto part : parts) {
    names.push_back(fmt::format("{}.{}.input_scale", block, part));
    const auto found = state.tensors.find(names.back());
    if (found == state.tensors.end()) continue;
    const auto scale = found->second.read();
    if (!largest.defined() || *scale.as<float>() > *largest.as<float>()) largest = scale;
  }
  const bool all = std::ranges::all_of(names, [&](const std::string& name) { return state.tensors.contains(name); });
  for (const auto& name : names) {
    if (all) {
      state.tensors[name] = largest;
    } else {
      state.tensors.erase(name);
    }
  }
}

std::map<std::string, double> numbers_of(const ModelConfig& config, HeadKind head) {
  const auto scale = [&](const AttentionSpec& attention) { return attention.score_scale(config.relative.terms()); };
  std::map<std::string, double> numbers{
      {"format", 1},
      {"layers", static_cast<double>(config.layers.size())},
      {"head_size", static_cast<double>(config.attention_head_size())},
      {"score_scale", config.layers.empty() ? 1.0 : scale(config.layers.front().attention)},
      {"eps", config.norm.eps},
      {"rms_norm", config.norm.kind == NormKind::rms ? 1.0 : 0.0},
      {"max_length", static_cast<double>(config.max_length())},
      {"padding_position", static_cast<double>(config.input.positions_after_padding ? config.pad_token_id : -1)},
      {"masks_queries", config.input.masks_queries ? 1.0 : 0.0},
      {"function", static_cast<double>(config.hidden_act())}};
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const auto number = [&](const char* name) -> double& { return numbers[fmt::format("layer.{}.{}", i, name)]; };
    number("weights") = static_cast<double>(config.first_use(i));
    if (config.first_use(i) < i) continue;
    const auto& [attention, mlp, norm, place, attention_norm, cross] = config.layers[i];
    if (place == NormPlace::before) number("pre_norm") = 1.0;
    if (attention.causal) number("causal") = 1.0;
    if (attention.window > 0) number("window") = static_cast<double>(attention.window);
    if (attention.positions == Positions::rotary) number("rotary_base") = attention.rotary_base;
  }
  if (head == HeadKind::text) numbers["head.mean"] = config.head.mean ? 1.0 : 0.0;
  if (head != HeadKind::embedding) numbers["head.function"] = static_cast<double>(config.head.activation);
  if (head == HeadKind::words) {
    numbers["head.function"] = static_cast<double>(config.head.mlm_activation.value_or(config.hidden_act()));
  }
  return numbers;
}

}  // namespace

std::string runtime_lacks(const ModelConfig& config) {
  if (config.language_head != LanguageHead::none || !config.decoder.empty()) return "a decoder";
  if (config.input.scaled || config.input.first_position != 0) return "scaled words, or positions that begin later";
  if (config.max_length() > kernels::attention_limit) {
    return fmt::format("texts of {} tokens", config.max_length());
  }
  for (const auto& block : config.layers) {
    if (block.place == NormPlace::both) return "norms of what attention and FFN give";
    if (block.attention.score_cap != 0.0) return "attention whose scores have a cap";
  }
  const auto table_of = [](Positions positions) {
    return positions == Positions::bias || positions == Positions::disentangled ? positions : Positions::none;
  };
  const auto alike = [&](const BlockSpec& block) {
    return block.attention.head_size == config.attention_head_size() && block.mlp.activation == config.hidden_act() &&
           block.attention.score_scale() == config.layers.front().attention.score_scale() &&
           table_of(block.attention.positions) == table_of(config.positions());
  };
  return std::ranges::all_of(config.layers, alike)
             ? ""
             : "blocks whose heads' size, scores' scale, activation or distances differ";
}

runtime::EncoderState network_state(const ModelConfig& config, const TensorOf& tensor) {
  const auto head = traits_of(config.task).head;
  const auto has = [&](const WeightSpec& weight, const std::string& module) {
    if (!module.starts_with("head.")) return !module.empty();
    return head == HeadKind::text || (head != HeadKind::embedding && weight.role == Role::head_dense);
  };
  runtime::EncoderState state{.tensors = {}, .numbers = numbers_of(config, head)};
  HostTensor table;
  for (const auto& weight : weights(config)) {
    if (weight.role == Role::relative_table) {
      table = floats(weight.name, tensor(weight.name), {weight.axes[0].size, weight.axes[1].size});
    }
    const auto module = runtime_module(weight);
    if (!has(weight, module)) continue;
    const auto own = weight.name.substr(0, weight.name.rfind('.'));
    const auto part = [&](std::string_view leaf) { return tensor(fmt::format("{}.{}", own, leaf)); };
    const auto put = [&](std::string_view leaf) -> LazyTensor& {
      auto found = part(leaf);
      if (!found.defined()) throw CheckpointError(fmt::format("the tensor {}.{} is missing", own, leaf));
      return state.tensors[fmt::format("{}.{}", module, leaf)] = std::move(found);
    };
    if (const auto& norm = weight.norm) {
      if (norm->eps != config.norm.eps) state.numbers[module + ".eps"] = norm->eps;
      if (norm->kind != config.norm.kind) state.numbers[module + ".rms_norm"] = norm->kind == NormKind::rms ? 1.0 : 0.0;
    }
    const auto* kind = weight.bias || weight.is_norm() ? nullptr : kind_of(part);
    if (kind == nullptr) {  // of a matrix: none that we know, and the runtime refuses it
      put(weight.bias ? "bias" : "weight");
      continue;
    }
    const auto size = kind->matrix_size(part).value();
    const auto parts = kind->parts(size.rows, size.columns);
    const auto in_state =
        parts_in_state(*kind, size, weight.is_table() ? runtime::MatrixOf::table : runtime::MatrixOf::linear);
    for (size_t i = 0; i < parts.size(); ++i) {
      auto& found = put(parts[i].name);
      if (found.shape == parts[i].shape) found.shape = in_state[i].shape;
    }
    if (const auto scale = part("input_scale"); scale.defined()) {
      state.tensors[module + ".input_scale"] = floats(own + ".input_scale", scale, {1});
    }
  }
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (config.first_use(i) < i) continue;
    const auto block = fmt::format("layer.{}", i);
    share_scales(block, {"query", "key", "value"}, state);
    const auto& [attention, mlp, norm, place, attention_norm, cross] = config.layers[i];
    if (mlp.gated) share_scales(block, {"intermediate", "gate"}, state);
    if (has_columns(attention.positions) && attention.heads > 0) {
      state.tensors[block + ".position_bias"] = position_bias(config, attention, table);
    }
  }
  if (config.positions() == Positions::disentangled) add_positions(config, table, state);
  return state;
}

}  // namespace compression
