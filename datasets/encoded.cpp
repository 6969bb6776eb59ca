#include "datasets/encoded.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "compress/base/error.h"         // ConfigError, DataError
#include "compress/base/random.h"        // mixed
#include "compress/evaluate/evaluate.h"  // Scorer

namespace compression::datasets {
namespace {

constexpr int64_t kBatchesPerChunk = 50;
constexpr uint64_t kSubsetStream = ~uint64_t{0};  // no epoch has this number

using Positions = std::vector<int64_t>;
using Random = std::mt19937_64;

/// A generator of its own for each seed and stream.
Random make_random(uint64_t seed, uint64_t stream) {
  return Random(mixed(mixed(seed) ^ stream));
}

/// A number that follows from a text's ids.
uint64_t stream_of(std::span<const int64_t> ids) {
  uint64_t stream = 0xCBF29CE484222325;  // FNV-1a, a word at a time
  for (const auto id : ids) stream = (stream ^ static_cast<uint64_t>(id)) * 0x100000001B3;
  return stream;
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
void pick(std::vector<T>& values, const Positions& positions) {
  if (values.empty()) return;
  std::vector<T> picked;
  picked.reserve(positions.size());
  for (const int64_t position : positions) picked.push_back(std::move(values[static_cast<size_t>(position)]));
  values = std::move(picked);
}

/// The positions of groups of `together` examples, one after the other.
Positions members(const Positions& groups, int64_t together) {
  if (together == 1) return groups;
  Positions all;
  for (const int64_t group : groups) {
    for (int64_t i = 0; i < together; ++i) all.push_back(group * together + i);
  }
  return all;
}

class EncodedSource : public BatchSource {
 public:
  EncodedSource(Examples examples, int64_t pad_id, const BatchOptions& options)
      : examples_(std::move(examples)), pad_id_(pad_id), options_(options) {
    for (int64_t group = 0; group < size() / examples_.together; ++group) {
      if (says_something(group)) groups_.push_back(group);
    }
  }

  int64_t size() const override { return static_cast<int64_t>(examples_.encodings.size()); }
  int64_t left_out() const override { return size() - static_cast<int64_t>(groups_.size()) * examples_.together; }

  std::vector<Positions> plan(int64_t epoch) const override {
    std::vector<Positions> batches;
    const auto groups = static_cast<int64_t>(groups_.size());
    Positions order = groups_;
    if (!options_.shuffle) {
      append_batches(std::move(order), batches);
      return batches;
    }
    Random random = make_random(options_.seed, static_cast<uint64_t>(epoch));
    shuffle(order, random);
    const int64_t per_chunk =
        options_.batch_size > groups / kBatchesPerChunk ? groups : options_.batch_size * kBatchesPerChunk;
    for (int64_t begin = 0; begin < groups; begin += per_chunk) {
      const int64_t end = std::min(begin + per_chunk, groups);
      std::vector<Positions> chunk;
      append_batches(Positions(order.begin() + begin, order.begin() + end), chunk);
      shuffle(chunk, random);
      std::move(chunk.begin(), chunk.end(), std::back_inserter(batches));
    }
    return batches;
  }

  Batch collate(std::span<const int64_t> examples, int64_t epoch) const override {
    const auto rows = static_cast<int64_t>(examples.size());
    int64_t width = 0;
    for (const int64_t example : examples) width = std::max(width, length(example));

    Batch batch;
    batch["input_ids"] = torch::full({rows, width}, pad_id_, torch::kInt64);
    batch["attention_mask"] = torch::zeros({rows, width}, torch::kInt64);
    batch["token_type_ids"] = torch::zeros({rows, width}, torch::kInt64);
    batch.examples = torch::tensor(Positions(examples.begin(), examples.end()), torch::kInt64);
    const bool by_token = !examples_.tokens.empty() || examples_.masking;
    if (by_token) batch["labels"] = torch::full({rows, width}, ignored_label, torch::kInt64);
    if (examples_.rows.defined()) batch["labels"] = examples_.rows.index_select(0, batch.examples);
    for (int64_t row = 0; row < rows; ++row) {
      const auto example = examples[static_cast<size_t>(row)];
      fill_row(batch, row, width, example);
      if (!by_token) continue;
      auto* labels = batch.labels().data_ptr<int64_t>() + row * width;
      if (examples_.masking) {
        mask(batch.input_ids().data_ptr<int64_t>() + row * width, labels, example, epoch);
      } else {
        const auto& own = examples_.tokens[static_cast<size_t>(example)];
        std::copy(own.begin(), own.end(), labels);
      }
    }
    return batch;
  }

  std::unique_ptr<Scorer> scorer() const override {
    return examples_.scorer ? examples_.scorer(options_) : BatchSource::scorer();
  }

 private:
  const Encoding& encoding(int64_t example) const { return examples_.encodings.at(static_cast<size_t>(example)); }
  int64_t length(int64_t example) const { return static_cast<int64_t>(encoding(example).input_ids.size()); }

  /// Whether a text has tokens, and one that is labelled or can be masked.
  bool says_something(int64_t group) const {
    for (int64_t example = group * examples_.together; example < (group + 1) * examples_.together; ++example) {
      if (length(example) == 0) return false;
      if (examples_.masking && candidates(encoding(example).input_ids).empty()) return false;
      if (examples_.tokens.empty()) continue;
      const auto& labels = examples_.tokens[static_cast<size_t>(example)];
      if (std::ranges::all_of(labels, [](int64_t label) { return label == ignored_label; })) return false;
    }
    return true;
  }

  /// Positions of the tokens that can be masked.
  Positions candidates(std::span<const int64_t> ids) const {
    Positions all;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (!std::ranges::binary_search(examples_.masking->special_ids, ids[i])) all.push_back(static_cast<int64_t>(i));
    }
    return all;
  }

  /// Sorts groups by length, longest first, and cuts them into batches.
  void append_batches(Positions groups, std::vector<Positions>& batches) const {
    const auto longest = [&](int64_t group) {
      int64_t most = 0;
      for (int64_t i = 0; i < examples_.together; ++i) most = std::max(most, length(group * examples_.together + i));
      return most;
    };
    std::stable_sort(groups.begin(), groups.end(), [&](int64_t a, int64_t b) { return longest(a) > longest(b); });
    const auto count = static_cast<int64_t>(groups.size());
    for (int64_t begin = 0; begin < count;) {
      const int64_t end = begin + std::min(options_.batch_size, count - begin);
      batches.push_back(members(Positions(groups.begin() + begin, groups.begin() + end), examples_.together));
      begin = end;
    }
  }

  void fill_row(Batch& batch, int64_t row, int64_t width, int64_t example) const {
    const auto& ids = encoding(example).input_ids;
    const auto& types = encoding(example).token_type_ids;
    std::copy(ids.begin(), ids.end(), batch.input_ids().data_ptr<int64_t>() + row * width);
    std::fill_n(batch.attention_mask().data_ptr<int64_t>() + row * width, ids.size(), 1);
    std::copy_n(types.begin(), std::min(types.size(), ids.size()),
                batch.token_type_ids().data_ptr<int64_t>() + row * width);
  }

  /// Masks a row of ids in place, and labels what was masked.
  void mask(int64_t* ids, int64_t* labels, int64_t example, int64_t epoch) const {
    const auto& masking = *examples_.masking;
    const auto all = candidates({ids, static_cast<size_t>(length(example))});
    if (all.empty()) return;
    // A stream of its own for each text, wherever it stands in its file, apart from those of the shuffles.
    Random random = make_random(make_random(options_.seed, static_cast<uint64_t>(epoch))(),
                                stream_of({ids, static_cast<size_t>(length(example))}));
    const auto share = [&] { return static_cast<double>(random() >> 11) * 0x1.0p-53; };
    Positions chosen;
    for (const auto i : all) {
      if (share() < masking.share) chosen.push_back(i);
    }
    if (chosen.empty()) chosen.push_back(all[random() % all.size()]);
    for (const auto i : chosen) {
      labels[i] = ids[i];
      const double what = share();
      if (what < 0.8) {
        ids[i] = masking.mask_id;
      } else if (what < 0.9) {
        ids[i] = static_cast<int64_t>(random() % static_cast<uint64_t>(masking.vocabulary_size));
      }
    }
  }

  Examples examples_;
  int64_t pad_id_;
  BatchOptions options_;
  Positions groups_;  // those that say something
};

void check_options(const BatchOptions& options) {
  if (options.batch_size < 1) throw ConfigError(fmt::format("batch_size: {}, expected 1 or more", options.batch_size));
  if (options.max_examples < 0) {
    throw ConfigError(fmt::format("max_examples: {}, expected 0 (all) or more", options.max_examples));
  }
}

}  // namespace

std::shared_ptr<const BatchSource> make_batch_source(Examples examples, int64_t pad_id, const BatchOptions& options) {
  check_options(options);
  if (examples.encodings.empty()) throw DataError("no texts, expected at least one");
  const auto count = examples.encodings.size();
  const auto labels = examples.rows.defined() ? static_cast<size_t>(examples.rows.size(0)) : examples.tokens.size();
  if ((examples.rows.defined() || labels > 0) && labels != count) {
    throw DataError(fmt::format("{} labels, expected {}: one a text", labels, count));
  }
  const bool labelled = examples.rows.defined() || labels > 0 || examples.masking;
  const auto empty =
      std::ranges::find_if(examples.encodings, [](const Encoding& each) { return each.input_ids.empty(); });
  if (!labelled && empty != examples.encodings.end()) {
    throw DataError(fmt::format("text {}: the tokenizer makes no token of it, expected at least one",
                                empty - examples.encodings.begin() + 1));
  }
  const auto groups = static_cast<int64_t>(count) / examples.together;
  if (options.max_examples > 0 && options.max_examples < groups) {
    const auto subset = members(random_subset(groups, options.max_examples, options.seed), examples.together);
    pick(examples.encodings, subset);
    pick(examples.tokens, subset);
    if (examples.rows.defined()) examples.rows = examples.rows.index_select(0, torch::tensor(subset, torch::kInt64));
  }
  return std::make_shared<EncodedSource>(std::move(examples), pad_id, options);
}

std::shared_ptr<const BatchSource> make_batch_source(std::vector<Encoding> encodings,
                                                     const std::vector<int64_t>& labels, int64_t pad_id,
                                                     const BatchOptions& options) {
  Examples examples{.encodings = std::move(encodings)};
  if (!labels.empty()) examples.rows = torch::tensor(labels, torch::kInt64);
  return make_batch_source(std::move(examples), pad_id, options);
}

Batch make_batch(std::vector<Encoding> encodings, int64_t pad_id) {
  const auto all = all_positions(static_cast<int64_t>(encodings.size()));
  return make_batch_source(std::move(encodings), {}, pad_id, {})->collate(all);
}

}  // namespace compression::datasets
