#include "datasets/encoded.h"

#include <torch/torch.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <random>
#include <set>

#include "compress/base/error.h"

namespace compression::datasets {
namespace {

using Plan = std::vector<std::vector<int64_t>>;

Encoding encoding_of(int64_t length, int64_t first_id = 1) {
  Encoding encoding;
  encoding.input_ids.resize(static_cast<size_t>(length));
  std::iota(encoding.input_ids.begin(), encoding.input_ids.end(), first_id);
  encoding.token_type_ids.assign(static_cast<size_t>(length), 0);
  return encoding;
}

std::vector<Encoding> encodings_of_lengths(const std::vector<int64_t>& lengths) {
  std::vector<Encoding> encodings;
  for (const int64_t length : lengths) encodings.push_back(encoding_of(length));
  return encodings;
}

std::vector<int64_t> random_lengths(size_t count) {
  std::mt19937_64 random(3);
  std::vector<int64_t> lengths(count);
  for (auto& length : lengths) length = 2 + static_cast<int64_t>(random() % 200);
  return lengths;
}

std::shared_ptr<const BatchSource> source_of(const std::vector<int64_t>& lengths, const BatchOptions& options) {
  return make_batch_source(encodings_of_lengths(lengths), {}, 0, options);
}

std::vector<int64_t> all_of(const Plan& plan) {
  std::vector<int64_t> examples;
  for (const auto& batch : plan) examples.insert(examples.end(), batch.begin(), batch.end());
  return examples;
}

bool is_each_once(const Plan& plan, int64_t size) {
  auto examples = all_of(plan);
  std::sort(examples.begin(), examples.end());
  std::vector<int64_t> expected(static_cast<size_t>(size));
  std::iota(expected.begin(), expected.end(), 0);
  return examples == expected;
}

/// Tokens that a plan pads, as a share of all.
double padding(const Plan& plan, const std::vector<int64_t>& lengths) {
  int64_t tokens = 0, cells = 0;
  for (const auto& batch : plan) {
    int64_t width = 0;
    for (const int64_t example : batch) {
      width = std::max(width, lengths[static_cast<size_t>(example)]);
      tokens += lengths[static_cast<size_t>(example)];
    }
    cells += width * static_cast<int64_t>(batch.size());
  }
  return 1.0 - static_cast<double>(tokens) / static_cast<double>(cells);
}

std::vector<int64_t> values(const torch::Tensor& tensor) {
  const auto flat = tensor.contiguous().view({-1});
  return {flat.data_ptr<int64_t>(), flat.data_ptr<int64_t>() + flat.numel()};
}

}  // namespace

TEST_CASE("Every example is in a plan once, whatever the sizes", "[datasets]") {
  const int64_t size = GENERATE(1, 7, 100, 1000, 1601);
  const int64_t batch_size = GENERATE(1, 3, 32, 5000);
  const bool shuffled = GENERATE(false, true);
  const auto source =
      source_of(random_lengths(static_cast<size_t>(size)), {.batch_size = batch_size, .shuffle = shuffled, .seed = 4});
  const Plan plan = source->plan(0);
  CHECK(is_each_once(plan, size));
  CHECK(static_cast<int64_t>(plan.size()) == (size + batch_size - 1) / batch_size);
  for (const auto& batch : plan) CHECK(static_cast<int64_t>(batch.size()) <= batch_size);
}

TEST_CASE("A plan is the same for the same seed and epoch, and another for others", "[datasets]") {
  const auto lengths = random_lengths(500);
  const auto source = source_of(lengths, {.batch_size = 8, .shuffle = true, .seed = 4});
  CHECK(source->plan(3) == source->plan(3));
  CHECK(source->plan(3) == source_of(lengths, {.batch_size = 8, .shuffle = true, .seed = 4})->plan(3));
  CHECK(source->plan(3) != source->plan(4));
  CHECK(source->plan(3) != source_of(lengths, {.batch_size = 8, .shuffle = true, .seed = 5})->plan(3));
}

TEST_CASE("A shuffled plan is the same on every platform", "[datasets]") {
  const auto source = source_of({5, 9, 2, 7, 7, 3, 8, 4}, {.batch_size = 3, .shuffle = true, .seed = 17});
  CHECK(source->plan(0) == Plan{{5, 2}, {1, 6, 4}, {3, 0, 7}});
  CHECK(source->plan(1) == Plan{{3, 0, 7}, {1, 6, 4}, {5, 2}});
}

TEST_CASE("Batches hold texts of similar length", "[datasets]") {
  const auto lengths = random_lengths(20000);
  const Plan plan = source_of(lengths, {.batch_size = 32, .shuffle = true, .seed = 4})->plan(0);
  CHECK(padding(plan, lengths) < 0.02);

  std::vector<int64_t> widths;  // their order is not that of length
  for (const auto& batch : plan) widths.push_back(lengths[static_cast<size_t>(batch[0])]);
  CHECK_FALSE(std::is_sorted(widths.begin(), widths.begin() + 50));
  CHECK_FALSE(std::is_sorted(widths.rbegin(), widths.rend()));
}

TEST_CASE("Without shuffling the longest texts come first", "[datasets]") {
  const auto source = source_of({5, 9, 2, 7, 7}, {.batch_size = 2, .shuffle = false, .seed = 0});
  const Plan expected{{1, 3}, {4, 0}, {2}};
  CHECK(source->plan(0) == expected);
  CHECK(source->plan(1) == expected);
}

TEST_CASE("A batch is padded to its longest text", "[datasets]") {
  std::vector<Encoding> encodings{encoding_of(3, 11), encoding_of(9, 21), encoding_of(2, 31)};
  encodings[0].token_type_ids = {0, 1, 1};
  const auto source = make_batch_source(encodings, {4, 5, 6}, 7, {});
  const Batch batch = source->collate(std::vector<int64_t>{2, 0});
  CHECK(batch.size() == 2);
  CHECK(batch.input_ids().sizes() == torch::IntArrayRef({2, 3}));
  CHECK(values(batch.input_ids()) == std::vector<int64_t>{31, 32, 7, 11, 12, 13});
  CHECK(values(batch.attention_mask()) == std::vector<int64_t>{1, 1, 0, 1, 1, 1});
  CHECK(values(batch.token_type_ids()) == std::vector<int64_t>{0, 0, 0, 0, 1, 1});
  CHECK(values(batch.labels()) == std::vector<int64_t>{6, 4});
  CHECK(values(batch.examples) == std::vector<int64_t>{2, 0});
  CHECK_THROWS_AS(source->collate(std::vector<int64_t>{3}), std::out_of_range);
}

TEST_CASE("Texts without labels make batches without labels", "[datasets]") {
  const Batch batch = source_of({2, 3}, {})->collate(std::vector<int64_t>{0, 1});
  CHECK_FALSE(batch.labels().defined());
  const Batch moved = batch.to(torch::kCPU);
  CHECK_FALSE(moved.labels().defined());
  CHECK(values(moved.input_ids()) == values(batch.input_ids()));
}

TEST_CASE("A batch moves to a device without its positions", "[datasets]") {
  const Batch batch =
      make_batch_source(encodings_of_lengths({2, 3}), {1, 0}, 0, {})->collate(std::vector<int64_t>{0, 1});
  const Batch moved = batch.to(torch::kMeta);
  for (const auto& tensor : {moved.input_ids(), moved.attention_mask(), moved.token_type_ids(), moved.labels()}) {
    CHECK(tensor.device() == torch::Device(torch::kMeta));
  }
  CHECK(values(moved.examples) == std::vector<int64_t>{0, 1});
}

TEST_CASE("A subset is chosen by the seed and keeps its labels", "[datasets]") {
  std::vector<Encoding> encodings;
  std::vector<int64_t> labels(1000);
  std::iota(labels.begin(), labels.end(), 0);
  for (const int64_t label : labels) encodings.push_back(encoding_of(2, label));
  const auto labels_of = [&](uint64_t seed) {
    const auto source =
        make_batch_source(encodings, labels, 0, {.batch_size = 10, .shuffle = true, .seed = seed, .max_examples = 100});
    CHECK(source->size() == 100);
    CHECK(is_each_once(source->plan(0), 100));
    std::vector<int64_t> examples(100);
    std::iota(examples.begin(), examples.end(), 0);
    const Batch batch = source->collate(examples);
    CHECK(values(batch.input_ids().select(1, 0)) == values(batch.labels()));
    return values(batch.labels());
  };
  const auto subset = labels_of(1);
  CHECK(std::set<int64_t>(subset.begin(), subset.end()).size() == 100);
  CHECK(std::is_sorted(subset.begin(), subset.end()));
  CHECK(subset == labels_of(1));
  CHECK(subset != labels_of(2));
  CHECK(subset.front() < 100);
  CHECK(subset.back() >= 900);
  CHECK(make_batch_source(encodings, labels, 0, {.max_examples = 5000})->size() == 1000);
}

TEST_CASE("Texts that say nothing are in no plan, and are counted", "[datasets]") {
  Examples masked{.encodings = encodings_of_lengths({2, 5, 2, 0, 4})};  // ids from 1
  masked.masking = Masking{.mask_id = 9, .vocabulary_size = 20, .special_ids = {1, 2}};
  const auto guesses = make_batch_source(masked, 0, {.batch_size = 2});
  CHECK(guesses->plan(0) == Plan{{1, 4}});
  CHECK(guesses->left_out() == 3);
  CHECK(guesses->size() == 5);
  CHECK(is_each_once(make_batch_source(masked, 0, {.batch_size = 1, .shuffle = true})->plan(3), 0) == false);
  CHECK(all_of(make_batch_source(masked, 0, {.batch_size = 1, .shuffle = true})->plan(3)).size() == 2);

  Examples tagged{.encodings = encodings_of_lengths({3, 2, 0})};
  tagged.tokens = {{ignored_label, 0, ignored_label}, {ignored_label, ignored_label}, {}};
  CHECK(make_batch_source(tagged, 0, {})->plan(0) == Plan{{0}});
  CHECK(make_batch_source(tagged, 0, {})->left_out() == 2);

  Examples pairs{.encodings = encodings_of_lengths({3, 0, 2, 2}), .together = 2};
  pairs.rows = torch::ones({4});
  CHECK(make_batch_source(pairs, 0, {})->plan(0) == Plan{{2, 3}});
  CHECK(make_batch_source(pairs, 0, {})->left_out() == 2);

  CHECK(source_of({3, 2}, {})->left_out() == 0);
  CHECK_THROWS_WITH(source_of({3, 0}, {}), "text 2: the tokenizer makes no token of it, expected at least one");
}

TEST_CASE("A source of nothing, or with labels missing, is refused", "[datasets]") {
  CHECK_THROWS_AS(source_of({}, {}), DataError);
  CHECK_THROWS_WITH(make_batch_source(encodings_of_lengths({2, 3}), {1}, 0, {}), "1 labels, expected 2: one a text");
  CHECK_THROWS_AS(source_of({2}, {.batch_size = 0}), ConfigError);
  CHECK_THROWS_AS(source_of({2}, {.max_examples = -1}), ConfigError);
}

}  // namespace compression::datasets
