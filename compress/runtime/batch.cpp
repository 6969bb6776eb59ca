#include "compress/runtime/batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "compress/base/error.h"       // UnsupportedError
#include "compress/kernels/threads.h"  // divide_up

namespace compression::runtime {
namespace {

/// Rows that keep a thread busy on a weight that it reads from the second-level cache.
constexpr int64_t group_tokens = 128;

void check_rows(const StoredMatrix& table, const std::vector<int64_t>& rows, const char* what) {
  if (!table.present()) return;
  for (const auto row : rows) {
    if (row < 0 || row >= table.rows()) {
      throw std::out_of_range(
          fmt::format("compress.Encoder: {} {} is out of range: the table has {} rows", what, row, table.rows()));
    }
  }
}

/// `count` groups of about the same number of tokens, or fewer.
std::vector<Group> groups_of(const Batch& batch, int64_t count) {
  std::vector<Group> groups;
  int64_t first = 0;
  for (int64_t i = 0; i < count && first < batch.texts(); ++i) {
    auto last = first + 1;
    const auto end = (i + 1) * batch.tokens() / count;
    while (last < batch.texts() && (batch.tokens_before(last) + batch.tokens_before(last + 1)) / 2 < end) ++last;
    if (i + 1 == count) last = batch.texts();
    groups.push_back({first, last});
    first = last;
  }
  return groups;
}

}  // namespace

Batch without_padding(const PaddedTokens& tokens, int64_t padding_position) {
  Batch batch;
  for (auto* values : {&batch.ids, &batch.positions, &batch.types, &batch.places, &batch.columns}) {
    values->reserve(static_cast<size_t>(tokens.rows * tokens.columns));
  }
  for (int64_t first = 0; first < tokens.rows * tokens.columns; first += tokens.columns) {
    const auto* mask = tokens.mask + first;
    const bool none = std::all_of(mask, mask + tokens.columns, [](int64_t value) { return value == 0; });
    batch.keys.push_back(none ? Batch::Keys::equal : mask[0] == 0 ? Batch::Keys::but_first : Batch::Keys::all);
    auto counted = padding_position;  // the last position that was given out
    for (int64_t c = 0; c < tokens.columns; ++c) {
      const auto id = tokens.ids[first + c];
      const bool padding = padding_position >= 0 && id == padding_position;
      if (!padding) ++counted;
      if (mask[c] == 0 && c > 0 && !none) continue;
      batch.ids.push_back(id);
      batch.types.push_back(tokens.types[first + c]);
      batch.positions.push_back(padding ? padding_position : counted);
      batch.places.push_back(first + c);
      batch.columns.push_back(c);
      batch.present.push_back(mask[c] != 0);
    }
    batch.begin.push_back(static_cast<int64_t>(batch.ids.size()));
  }
  return batch;
}

Batch as_batch(const Texts& texts, int64_t padding_position) {
  Batch batch;
  const auto tokens = texts.begin.empty() ? 0 : texts.begin.back();
  batch.ids.assign(texts.ids, texts.ids + tokens);
  batch.types.assign(texts.types, texts.types + tokens);
  batch.present.assign(static_cast<size_t>(tokens), true);
  for (size_t t = 0; t + 1 < texts.begin.size(); ++t) {
    auto counted = padding_position;
    for (auto token = texts.begin[t]; token < texts.begin[t + 1]; ++token) {
      const bool padding = padding_position >= 0 && texts.ids[token] == padding_position;
      batch.positions.push_back(padding ? padding_position : ++counted);
      batch.places.push_back(token);
      batch.columns.push_back(token - texts.begin[t]);
    }
    batch.begin.push_back(texts.begin[t + 1]);
    batch.keys.push_back(Batch::Keys::all);
  }
  return batch;
}

void check(const Batch& batch, const Weights& weights, bool first_tokens) {
  for (int64_t text = 0; first_tokens && text < batch.texts(); ++text) {
    const auto keys = batch.keys[static_cast<size_t>(text)];
    const auto first = batch.tokens_before(text);
    const bool alone = keys == Batch::Keys::but_first && batch.column(first + 1) > weights.reach;
    if (!alone && !(weights.masks_queries && keys != Batch::Keys::all)) continue;
    throw UnsupportedError(
        fmt::format("compress.Encoder: attention_mask: found 0 for the first token of text {}{}, which this family's "
                    "fused runtime does not have; expected 1",
                    text, alone ? " and for all that it attends to" : ""));
  }
  check_rows(weights.word, batch.ids, "token id");
  check_rows(weights.token_type, batch.types, "token type");
  check_rows(weights.position, batch.positions, "position");
}

Division divided(const Batch& batch, int64_t threads) {
  const auto tokens = batch.tokens(), rounds = kernels::divide_up(tokens, threads * group_tokens);
  Division result{groups_of(batch, threads * rounds)};
  if (threads == 1) return result;
  std::vector<int64_t> load(static_cast<size_t>(threads));
  for (const auto& group : result.groups) {
    *std::min_element(load.begin(), load.end()) += batch.tokens_before(group.last) - batch.tokens_before(group.first);
  }
  result.together = *std::max_element(load.begin(), load.end()) * threads * 5 > tokens * 6;
  if (result.together) result.groups = groups_of(batch, rounds);
  return result;
}

}  // namespace compression::runtime
