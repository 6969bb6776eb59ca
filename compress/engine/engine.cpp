#include "compress/engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "compress/base/error.h"                   // CheckpointError, DataError
#include "compress/engine/network_state.h"         // network_state
#include "compress/engine/read_network.h"          // NetworkFolder
#include "compress/kernels/buffer.h"               // Buffer
#include "compress/kernels/float_mode.h"           // OrdinaryFloats
#include "compress/kernels/linear.h"               // LinearWeight, multiply_rows
#include "compress/kernels/threads.h"              // parallel_for, divide_up
#include "compress/model_files/checkpoint_head.h"  // head_of
#include "compress/runtime/encoder.h"              // Encoder
#include "compress/spec/heads/embedding.h"         // EmbeddingHead
#include "compress/storage/storage.h"              // stored_matrix, storage_of

namespace compression {
namespace {

using kernels::LinearWeight;

constexpr int64_t chunk_tokens = 4096;  // whose last hidden states are in memory at once

/// What follows the last hidden states of a head that the runtime has not: rows of them in, rows of outputs out.
class Rows {
 public:
  virtual ~Rows() = default;
  virtual int64_t width() const = 0;
  /// in: float32 [rows, columns]; out: float32 [rows, width()].
  virtual void compute(const float* in, int64_t rows, float* out) const = 0;
};

/// As the folder has it, packed.
LinearWeight packed(const NetworkFolder& folder, const std::string& name) {
  const auto bias = folder.read(name + ".bias");
  const auto matrix =
      stored_matrix(name, [&](std::string_view part) { return folder.tensor(fmt::format("{}.{}", name, part)); });
  auto result = storage_of(matrix.format).pack(matrix, bias.as<float>());
  if (const auto scale = folder.read(name + ".input_scale"); scale.defined()) result.input_scale = *scale.as<float>();
  return result;
}

void multiply(const float* x, int64_t rows, const LinearWeight& weight, float* y,
              Activation function = Activation::none) {
  kernels::multiply_rows(x, rows, weight, weight.input_scale, y, function);
}

/// A norm of the head.
class HeadNorm {
 public:
  HeadNorm(const NetworkFolder& folder, const std::string& name)
      : gamma_(folder.read(name + ".weight")), beta_(folder.read(name + ".bias")), spec_(folder.config().norm) {}

  /// rows of x, [rows, width].
  void compute(const float* x, int64_t rows, float* y) const {
    const kernels::Norm norm{gamma_.size(0), static_cast<float>(spec_.eps), gamma_.as<float>(), beta_.as<float>(),
                             spec_.kind == NormKind::rms};
    kernels::norm_rows(norm, x, nullptr, 0, rows, y, nullptr);
  }

 private:
  const HostTensor gamma_, beta_;
  const NormSpec spec_;
};

/// A classifier of tokens, behind a norm where HeadOptions ask for one: the dense layer before it is the runtime's.
class Classifier : public Rows {
 public:
  explicit Classifier(const NetworkFolder& folder) : classifier_(packed(folder, "head.classifier")) {
    if (folder.config().head.norm) norm_.emplace(folder, "head.LayerNorm");
  }
  int64_t width() const override { return classifier_.out; }
  void compute(const float* in, int64_t rows, float* out) const override {
    std::vector<float> x(static_cast<size_t>(norm_ ? rows * classifier_.in : 0));
    if (norm_) norm_->compute(in, rows, x.data());
    multiply(norm_ ? x.data() : in, rows, classifier_, out);
  }

 private:
  const LinearWeight classifier_;
  std::optional<HeadNorm> norm_;
};

/// The steps behind a pooled vector.
class Steps : public Rows {
 public:
  explicit Steps(const NetworkFolder& folder) : config_(folder.config()) {
    for (size_t i = 0; i < config_.embedding.steps.size(); ++i) {
      const bool dense = config_.embedding.steps[i].dense;
      weights_.push_back(dense ? packed(folder, fmt::format("head.dense_{}", i)) : LinearWeight());
    }
  }

  int64_t width() const override { return config_.embedding_width(); }

  void compute(const float* in, int64_t rows, float* out) const override {
    std::vector<float> x(in, in + rows * config_.pooled_width());
    int64_t columns = config_.pooled_width();
    for (size_t i = 0; i < weights_.size(); ++i) {
      const auto& step = config_.embedding.steps[i];
      if (!step.dense) {
        normalize(x, columns);
        continue;
      }
      std::vector<float> y(static_cast<size_t>(rows * step.out));
      multiply(x.data(), rows, weights_[i], y.data(), step.activation);
      x = std::move(y);
      columns = step.out;
    }
    std::ranges::copy(x, out);
  }

 private:
  static void normalize(std::vector<float>& x, int64_t columns) {
    for (auto row = x.begin(); row != x.end(); row += columns) {
      double sum = 0.0;
      for (auto at = row; at != row + columns; ++at) sum += static_cast<double>(*at) * *at;
      const auto norm = static_cast<float>(std::max(std::sqrt(sum), EmbeddingHead::smallest_norm));
      std::for_each(row, row + columns, [&](float& value) { value /= norm; });
    }
  }

  const ModelConfig config_;
  std::vector<LinearWeight> weights_;
};

/// The norm and the products with all words' embeddings, which are the encoder's. These are packed a block at a time,
/// for the call: a second copy of the largest weight would stay otherwise.
class Words : public Rows {
 public:
  explicit Words(const NetworkFolder& folder, const runtime::Encoder& encoder)
      : norm_(folder, "head.LayerNorm"), bias_(folder.read("head.bias")), table_(encoder.words()) {}

  int64_t width() const override { return table_.rows(); }

  void compute(const float* in, int64_t rows, float* out) const override {
    constexpr int64_t block = 512;
    const auto columns = table_.columns(), words = table_.rows();
    std::vector<float> x(static_cast<size_t>(rows * columns));
    norm_.compute(in, rows, x.data());
    kernels::parallel_for(kernels::divide_up(words, block), 1, [&](int64_t begin, int64_t end) {
      const kernels::OrdinaryFloats ordinary;
      LinearWeight weight;
      const kernels::Buffer<float> wide(block * columns);
      std::vector<float> y(static_cast<size_t>(rows * block));
      for (auto first = begin * block; first < std::min(end * block, words); first += block) {
        const auto count = std::min(block, words - first);
        to_floats(table_.rows(first, first + count), wide.data());
        kernels::pack_linear(kernels::Number::float32, wide.data(), nullptr, bias_.as<float>() + first, count, columns,
                             weight);
        multiply(x.data(), rows, weight, y.data());
        for (int64_t r = 0; r < rows; ++r) std::copy_n(y.data() + r * count, count, out + r * words + first);
      }
    });
  }

 private:
  const HeadNorm norm_;
  const HostTensor bias_;
  const StoredMatrix table_;
};

/// states: float32 [tokens, hidden] of one text; to: [hidden].
void pool(Pooling pooling, const float* states, int64_t tokens, int64_t hidden, float* to) {
  const auto sum = [&](auto&& weight_of) {
    std::fill_n(to, hidden, 0.0f);
    for (int64_t t = 0; t < tokens; ++t) {
      const float weight = weight_of(t);
      for (int64_t c = 0; c < hidden; ++c) to[c] += states[t * hidden + c] * weight;
    }
  };
  const auto divide = [&](double by) {
    const auto divisor = static_cast<float>(std::max(by, EmbeddingHead::smallest_weight));
    std::for_each(to, to + hidden, [&](float& value) { value /= divisor; });
  };
  const auto one = [](int64_t) { return 1.0f; };
  const auto count = static_cast<double>(tokens);
  switch (pooling) {
    case Pooling::cls:
      std::copy_n(states, hidden, to);
      return;
    case Pooling::max:
      std::copy_n(states, hidden, to);
      for (int64_t i = hidden; i < tokens * hidden; ++i) to[i % hidden] = std::max(to[i % hidden], states[i]);
      return;
    case Pooling::mean:
      sum(one);
      return divide(count);
    case Pooling::mean_sqrt_len_tokens:
      sum(one);
      return divide(std::sqrt(count));
    case Pooling::weightedmean:  // places count from the first token
      sum([](int64_t token) { return static_cast<float>(token + 1); });
      return divide(count * (count + 1) / 2);
    case Pooling::lasttoken:
      std::copy_n(states + (tokens - 1) * hidden, hidden, to);
      return;
  }
  throw std::logic_error("pooling");
}

/// Texts one after the other, as the runtime takes them.
struct Joined {
  std::vector<int64_t> ids, types, begin{0};

  void add(const TokenRow& row) {
    ids.insert(ids.end(), row.ids.begin(), row.ids.end());
    types.insert(types.end(), row.types.begin(), row.types.end());
    types.resize(ids.size());
    begin.push_back(static_cast<int64_t>(ids.size()));
  }
  runtime::Texts texts() const { return {ids.data(), types.data(), begin}; }
};

/// "id 64 of token 3, expected ids below 64"; empty where all are there.
std::string beyond(std::span<const int64_t> values, int64_t rows, std::string_view what) {
  const auto odd = std::ranges::find_if(values, [&](int64_t value) { return value < 0 || value >= rows; });
  if (odd == values.end()) return "";
  return fmt::format("{} {} at token {}, expected from 0 to {}", what, *odd, odd - values.begin(), rows - 1);
}

class PackedEngine final : public Engine {
 public:
  explicit PackedEngine(const NetworkFolder& folder)
      : config_(folder.config()),
        warnings_(folder.warnings()),
        file_(folder.file().string()),
        encoder_(network_state(config_, [&](const std::string& own) { return folder.tensor(own); })),
        rows_(make_rows(folder, encoder_)) {}

  const ModelConfig& config() const override { return config_; }
  const std::vector<std::string>& warnings() const override { return warnings_; }

  Outputs run(std::span<const TokenRow> rows) const override {
    return in_chunks(
        rows, rows_ ? rows_->width() : encoder_.classes(), [this](const TokenRow& row) { return rows_of(row); },
        [this](std::span<const TokenRow> own, const Joined& joined, float* out) { compute(own, joined, out); });
  }

  Outputs states(std::span<const TokenRow> rows) const override {
    return in_chunks(rows, encoder_.state_width(), tokens_of,
                     [this](std::span<const TokenRow>, const Joined& joined, float* out) {
                       encoder_.last_hidden_state(joined.texts(), out);
                     });
  }

 private:
  /// What `write` computes, some texts at a time: count_rows(text) rows of `width` numbers each.
  template <class RowsOf, class Write>
  Outputs in_chunks(std::span<const TokenRow> rows, int64_t width, RowsOf&& count_rows, Write&& write) const {
    for (size_t i = 0; i < rows.size(); ++i) {
      if (const auto problem = misfit(rows[i]); !problem.empty()) {
        throw DataError(fmt::format("text {}: found {}", i + 1, problem));
      }
    }
    Outputs outputs{.width = width};
    for (const auto& row : rows) outputs.begin.push_back(outputs.rows() + count_rows(row));
    outputs.values.resize(static_cast<size_t>(outputs.rows() * outputs.width));
    for (size_t first = 0; first < rows.size();) {
      Joined joined;
      auto last = first;
      while (last < rows.size() && (last == first || joined.begin.back() + tokens_of(rows[last]) <= chunk_tokens)) {
        joined.add(rows[last++]);
      }
      write(rows.subspan(first, last - first), joined, outputs.values.data() + outputs.begin[first] * outputs.width);
      first = last;
    }
    if (std::ranges::any_of(outputs.values, [](float value) { return !std::isfinite(value); })) {
      throw CheckpointError(file_ + ": found NaN or an infinity in what it gives for a text, expected finite numbers");
    }
    return outputs;
  }

  static std::unique_ptr<const Rows> make_rows(const NetworkFolder& folder, const runtime::Encoder& encoder) {
    switch (head_of(folder.config())) {
      case HeadKind::text:
        return nullptr;
      case HeadKind::tokens:
      case HeadKind::spans:
        return std::make_unique<const Classifier>(folder);
      case HeadKind::words:
        return std::make_unique<const Words>(folder, encoder);
      case HeadKind::embedding:
        return std::make_unique<const Steps>(folder);
    }
    throw std::logic_error("head");
  }

  static int64_t tokens_of(const TokenRow& row) { return static_cast<int64_t>(row.ids.size()); }

  int64_t rows_of(const TokenRow& row) const {
    if (traits_of(config_.task).is_of_text()) return 1;
    return row.tokens ? static_cast<int64_t>(row.tokens->size()) : tokens_of(row);
  }

  std::string misfit(const TokenRow& row) const {
    if (row.ids.empty()) return "no tokens, expected at least one";
    if (tokens_of(row) > config_.max_length()) {
      return fmt::format("{} tokens, expected at most the {} that the model has positions for", row.ids.size(),
                         config_.max_length());
    }
    if (!row.types.empty() && row.types.size() != row.ids.size()) {
      return fmt::format("{} token types for {} tokens, expected as many", row.types.size(), row.ids.size());
    }
    auto problem = beyond(row.ids, config_.vocab_size, "id");
    if (problem.empty() && config_.type_vocab_size > 0) problem = beyond(row.types, config_.type_vocab_size, "type");
    if (problem.empty() && row.tokens) problem = beyond(*row.tokens, tokens_of(row), "a question about token");
    return problem;
  }

  void compute(std::span<const TokenRow> rows, const Joined& joined, float* out) const {
    const auto texts = static_cast<int64_t>(rows.size());
    if (!rows_) return encoder_.forward(joined.texts(), out);
    const auto& pooling = config_.embedding.pooling;
    const bool embeds = head_of(config_) == HeadKind::embedding;
    if (embeds && pooling == std::vector{Pooling::cls}) {
      std::vector<float> first(static_cast<size_t>(texts * encoder_.classes()));
      encoder_.forward(joined.texts(), first.data());
      return rows_->compute(first.data(), texts, out);
    }
    const auto width = encoder_.state_width();
    std::vector<float> states(joined.ids.size() * static_cast<size_t>(width));
    encoder_.last_hidden_state(joined.texts(), states.data());
    if (embeds) {
      const auto chosen = pooled(joined, states, width);
      return rows_->compute(chosen.data(), texts, out);
    }
    const bool all = std::ranges::none_of(rows, [](const TokenRow& row) { return row.tokens.has_value(); });
    if (all) return rows_->compute(states.data(), joined.begin.back(), out);
    std::vector<float> chosen;
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto* own = states.data() + joined.begin[i] * width;
      if (!rows[i].tokens) chosen.insert(chosen.end(), own, own + tokens_of(rows[i]) * width);
      for (const auto token : rows[i].tokens.value_or(std::vector<int64_t>())) {
        chosen.insert(chosen.end(), own + token * width, own + (token + 1) * width);
      }
    }
    rows_->compute(chosen.data(), static_cast<int64_t>(chosen.size()) / width, out);
  }

  /// float32 [texts, the poolings' vectors one after the other]
  std::vector<float> pooled(const Joined& joined, const std::vector<float>& states, int64_t hidden) const {
    const auto texts = static_cast<int64_t>(joined.begin.size()) - 1;
    std::vector<float> all(static_cast<size_t>(texts * config_.pooled_width()));
    kernels::parallel_for(texts, 8, [&](int64_t begin, int64_t end) {
      for (auto text = begin; text < end; ++text) {
        auto* to = all.data() + text * config_.pooled_width();
        const auto first = joined.begin[static_cast<size_t>(text)];
        for (const auto pooling : config_.embedding.pooling) {
          pool(pooling, states.data() + first * hidden, joined.begin[static_cast<size_t>(text) + 1] - first, hidden,
               to);
          to += hidden;
        }
      }
    });
    return all;
  }

  const ModelConfig config_;
  const std::vector<std::string> warnings_;
  const std::string file_;
  const runtime::Encoder encoder_;
  const std::unique_ptr<const Rows> rows_;  // null: the runtime has the head
};

}  // namespace

std::shared_ptr<const Engine> Engine::load(const std::filesystem::path& folder) {
  return std::make_shared<const PackedEngine>(NetworkFolder(folder));
}

}  // namespace compression
