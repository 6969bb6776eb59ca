// A program of the layers without LibTorch alone: the token ids of a text, the logits that a small encoder has for
// them, and those of the folder's own model, with the names of its classes. usage: plain_classify FOLDER TEXT
#include <cmath>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "compress/engine/read_network.h"
#include "compress/runtime/encoder.h"
#include "compress/tokenizer/tokenizer.h"

using namespace compression;

namespace {

/// Weights that plain_test.py makes in the same order: base + 0.4 sin(0, 1, 2, ...).
class State {
 public:
  runtime::EncoderState state;

  void add(const std::string& name, std::vector<int64_t> shape, float base = 0.0f) {
    HostTensor tensor{DType::float32, std::move(shape)};
    const auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(tensor.count()));
    for (auto& value : *values) value = base + 0.4f * std::sin(static_cast<float>(next_++));
    tensor.data = std::shared_ptr<const void>(values, values->data());
    state.tensors[name] = tensor;
  }
  void linear(const std::string& name, int64_t out, int64_t in) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  }
  void norm(const std::string& name, int64_t width) {
    add(name + ".weight", {width}, 1.0f);
    add(name + ".bias", {width});
  }

 private:
  int next_ = 0;
};

runtime::EncoderState small_state() {
  constexpr int64_t words = 64, positions = 32, hidden = 8, units = 12, classes = 3;
  State s;
  s.state.numbers = {{"format", 1},   {"layers", 1},        {"layer.0.weights", 0},    {"head_size", 4},
                     {"eps", 1e-12},  {"score_scale", 0.5}, {"max_length", positions}, {"padding_position", -1},
                     {"function", 1}, {"head.function", 4}};
  s.add("embeddings.word.weight", {words, hidden});
  s.add("embeddings.position.weight", {positions, hidden});
  s.norm("embeddings.norm", hidden);
  for (const auto* part : {"query", "key", "value", "attention_output"}) {
    s.linear(std::string("layer.0.") + part, hidden, hidden);
  }
  s.norm("layer.0.attention_norm", hidden);
  s.linear("layer.0.intermediate", units, hidden);
  s.linear("layer.0.output", hidden, units);
  s.norm("layer.0.output_norm", hidden);
  s.linear("head.dense", hidden, hidden);
  s.linear("head.classifier", classes, hidden);
  return s.state;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    const std::vector<TextInput> texts{{argv[2], std::nullopt}};
    const auto encoding = load_tokenizer(argv[1])->encode_batch(texts, {}).front();
    for (const auto id : encoding.input_ids) std::cout << id << ' ';
    std::cout << '\n';

    const std::vector<int64_t> ids(encoding.input_ids.begin(), encoding.input_ids.end()), ones(ids.size(), 1),
        zeros(ids.size());
    const auto network = read_network(argv[1]);
    const auto print_logits = [&](const runtime::EncoderState& state) {
      const runtime::Encoder encoder(state);
      std::vector<float> logits(static_cast<size_t>(encoder.classes()));
      encoder.forward({ids.data(), ones.data(), zeros.data(), 1, static_cast<int64_t>(ids.size())}, logits.data());
      for (const auto logit : logits) std::cout << logit << ' ';
      std::cout << '\n';
    };
    print_logits(small_state());
    print_logits(network.state);
    for (const auto& label : network.config.labels) std::cout << label << '\n';
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
