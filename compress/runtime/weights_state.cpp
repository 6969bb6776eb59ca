#include <algorithm>
#include <array>

#include "compress/runtime/plain_linear.h"  // write_linear, unpacked
#include "compress/runtime/weights.h"

namespace compression::runtime {
namespace {

class StateWriter {
 public:
  explicit StateWriter(const Weights& weights) : weights_(weights) { state_.numbers = weights.numbers; }

  EncoderState write() {
    const auto& w = weights_;
    table("embeddings.word", w.word);
    table("embeddings.position", w.position);
    table("embeddings.token_type", w.token_type);
    norm("embeddings.norm", w.embedding_norm);
    linear("embeddings.projection", w.projection);
    tensor("relative.table.weight", w.relative_table);
    tensor("relative.rows", w.relative_rows);
    norm("relative.norm", w.relative_norm);
    for (auto each = w.layers.begin(); each != w.layers.end(); ++each) {
      if (std::find(w.layers.begin(), each, *each) != each) continue;  // shared with an earlier one
      layer("layer." + std::to_string(each - w.layers.begin()), **each);
    }
    norm("final_norm", w.final_norm);
    linear("head.dense", w.dense);
    norm("head.norm", w.head_norm);
    linear("head.classifier", w.classifier);
    return std::move(state_);
  }

 private:
  void tensor(const std::string& name, const HostTensor& value) {
    if (value.defined()) state_.tensors[name] = value;
  }
  void table(const std::string& name, const StoredMatrix& value) {
    if (value.present()) write_matrix(state_, name, value, MatrixOf::table);
  }
  void norm(const std::string& name, const NormWeight& value) {
    tensor(name + ".weight", value.gamma);
    if (value.has_bias) tensor(name + ".bias", value.beta);
  }
  void linear(const std::string& name, const kernels::LinearWeight& value) {
    write_linear(state_, name, unpacked(value));
  }
  void linear(const std::string& name, const std::optional<kernels::LinearWeight>& value) {
    if (value) linear(name, *value);
  }

  void layer(const std::string& name, const Layer& layer) {
    const auto rows_of = [&](const PlainLinear& joined, const char* part, int64_t first, int64_t count) {
      write_linear(state_, name + part, joined.rows(first, first + count));
    };
    const auto joined = unpacked(layer.qkv);
    rows_of(joined, ".query", 0, layer.heads * weights_.head_size);
    rows_of(joined, ".key", layer.part, layer.kv_heads * weights_.head_size);
    rows_of(joined, ".value", layer.part + layer.kv_part, layer.kv_heads * weights_.head_size);
    linear(name + ".attention_output", layer.attention_output);
    const auto intermediate = unpacked(layer.intermediate);
    rows_of(intermediate, ".intermediate", 0, layer.output.in);
    if (layer.gated) rows_of(intermediate, ".gate", layer.intermediate.out / 2, layer.output.in);
    linear(name + ".output", layer.output);
    norm(name + ".attention_norm", layer.attention_norm);
    norm(name + ".output_norm", layer.output_norm);
    norm(name + ".query_norm", layer.query_norm);
    norm(name + ".key_norm", layer.key_norm);
    tensor(name + ".position_bias", layer.position_bias);
    linear(name + ".position_key", layer.position_key.own);
    linear(name + ".position_query", layer.position_query.own);
  }

  const Weights& weights_;
  EncoderState state_;
};

}  // namespace

EncoderState state_of(const Weights& weights) {
  return StateWriter(weights).write();
}

}  // namespace compression::runtime
