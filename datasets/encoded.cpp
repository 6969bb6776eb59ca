#include "datasets/encoded.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "compress/workflow/error.h"  // ConfigError, DataError

namespace compression::datasets {
namespace {

constexpr int64_t kBatchesPerChunk = 50;
constexpr uint64_t kSubsetStream = ~uint64_t{0};  // no epoch has this number

using Positions = std::vector<int64_t>;
using Random = std::mt19937_64;

/// A generator of its own for each seed and stream (SplitMix64's finaliser, so that neighbours differ).
Random make_random(uint64_t seed, uint64_t stream) {
  const auto mix = [](uint64_t x) {
    x += 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
  };
  return Random(mix(mix(seed) ^ stream));
}

/// Fisher and Yates. Not std::shuffle, whose result differs between standard libraries. The bias of the modulo is below
/// n / 2^64.
template <class T>
void shuffle(std::vector<T>& values, Random& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random() % i]);
}

Positions all_positions(int64_t size) {
  Positions positions(static_cast<size_t>(size));
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

/// `count` of `size` positions, ascending.
Positions random_subset(int64_t size, int64_t count, uint64_t seed) {
  Positions positions = all_positions(size);
  Random random = make_random(seed, kSubsetStream);
  shuffle(positions, random);
  positions.resize(static_cast<size_t>(count));
  std::sort(positions.begin(), positions.end());
  return positions;
}

template <class T>
std::vector<T> pick(std::vector<T>& values, const Positions& positions) {
  std::vector<T> picked;
  picked.reserve(positions.size());
  for (const int64_t position : positions) picked.push_back(std::move(values[static_cast<size_t>(position)]));
  return picked;
}

class EncodedSource : public BatchSource {
 public:
  EncodedSource(std::vector<Encoding> encodings, std::vector<int64_t> labels, int64_t pad_id,
                const BatchOptions& options)
      : encodings_(std::move(encodings)), labels_(std::move(labels)), pad_id_(pad_id), options_(options) {}

  int64_t size() const override { return static_cast<int64_t>(encodings_.size()); }

  std::vector<Positions> plan(int64_t epoch) const override {
    std::vector<Positions> batches;
    Positions order = all_positions(size());
    if (!options_.shuffle) {
      append_batches(std::move(order), batches);
      return batches;
    }
    Random random = make_random(options_.seed, static_cast<uint64_t>(epoch));
    shuffle(order, random);
    const int64_t per_chunk =
        options_.batch_size > size() / kBatchesPerChunk ? size() : options_.batch_size * kBatchesPerChunk;
    for (int64_t begin = 0; begin < size(); begin += per_chunk) {
      const int64_t end = std::min(begin + per_chunk, size());
      std::vector<Positions> chunk;
      append_batches(Positions(order.begin() + begin, order.begin() + end), chunk);
      shuffle(chunk, random);
      std::move(chunk.begin(), chunk.end(), std::back_inserter(batches));
    }
    return batches;
  }

  Batch collate(std::span<const int64_t> examples) const override {
    const auto rows = static_cast<int64_t>(examples.size());
    int64_t width = 0;
    for (const int64_t example : examples) width = std::max(width, length(example));

    Batch batch;
    batch.input_ids = torch::full({rows, width}, pad_id_, torch::kInt64);
    batch.attention_mask = torch::zeros({rows, width}, torch::kInt64);
    batch.token_type_ids = torch::zeros({rows, width}, torch::kInt64);
    batch.examples = torch::empty({rows}, torch::kInt64);
    if (!labels_.empty()) batch.labels = torch::empty({rows}, torch::kInt64);
    for (int64_t row = 0; row < rows; ++row) fill_row(batch, row, width, examples[static_cast<size_t>(row)]);
    return batch;
  }

 private:
  const Encoding& encoding(int64_t example) const { return encodings_.at(static_cast<size_t>(example)); }
  int64_t length(int64_t example) const { return static_cast<int64_t>(encoding(example).input_ids.size()); }

  /// Sorts by length, longest first, and cuts into batches.
  void append_batches(Positions positions, std::vector<Positions>& batches) const {
    std::stable_sort(positions.begin(), positions.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
    const auto count = static_cast<int64_t>(positions.size());
    for (int64_t begin = 0; begin < count;) {
      const int64_t end = begin + std::min(options_.batch_size, count - begin);
      batches.emplace_back(positions.begin() + begin, positions.begin() + end);
      begin = end;
    }
  }

  void fill_row(Batch& batch, int64_t row, int64_t width, int64_t example) const {
    const auto& ids = encoding(example).input_ids;
    const auto& types = encoding(example).token_type_ids;
    std::copy(ids.begin(), ids.end(), batch.input_ids.data_ptr<int64_t>() + row * width);
    std::fill_n(batch.attention_mask.data_ptr<int64_t>() + row * width, ids.size(), 1);
    std::copy_n(types.begin(), std::min(types.size(), ids.size()),
                batch.token_type_ids.data_ptr<int64_t>() + row * width);
    batch.examples.data_ptr<int64_t>()[row] = example;
    if (!labels_.empty()) batch.labels.data_ptr<int64_t>()[row] = labels_[static_cast<size_t>(example)];
  }

  std::vector<Encoding> encodings_;
  std::vector<int64_t> labels_;
  int64_t pad_id_;
  BatchOptions options_;
};

void check_options(const BatchOptions& options) {
  if (options.batch_size < 1) throw ConfigError(fmt::format("batch_size: {}, expected 1 or more", options.batch_size));
  if (options.max_examples < 0) {
    throw ConfigError(fmt::format("max_examples: {}, expected 0 (all) or more", options.max_examples));
  }
}

}  // namespace

std::shared_ptr<const BatchSource> make_batch_source(std::vector<Encoding> encodings, std::vector<int64_t> labels,
                                                     int64_t pad_id, const BatchOptions& options) {
  check_options(options);
  if (encodings.empty()) throw DataError("no texts, expected at least one");
  if (!labels.empty() && labels.size() != encodings.size()) {
    throw DataError(fmt::format("{} labels, expected {}: one a text", labels.size(), encodings.size()));
  }
  const auto size = static_cast<int64_t>(encodings.size());
  if (options.max_examples > 0 && options.max_examples < size) {
    const Positions subset = random_subset(size, options.max_examples, options.seed);
    encodings = pick(encodings, subset);
    if (!labels.empty()) labels = pick(labels, subset);
  }
  return std::make_shared<EncodedSource>(std::move(encodings), std::move(labels), pad_id, options);
}

}  // namespace compression::datasets
