#include "compress/model/generate.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>

#include "compress/base/error.h"   // ConfigError
#include "compress/base/random.h"  // mixed

namespace compression {
namespace {

/// From 0 to 1, without 1: of a text's word, whatever else is drawn.
double chance_of(uint64_t seed, size_t text, size_t word) {
  const auto bits = mixed(mixed(mixed(seed) ^ text) ^ word);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

}  // namespace

int64_t drawn_word(const torch::Tensor& logits, const GenerateOptions& options, double chance) {
  const auto count = options.top_k > 0 ? std::min(options.top_k, logits.size(0)) : logits.size(0);
  const auto [best, ids] = (logits.to(torch::kDouble) / options.temperature).topk(count);
  const auto shares = torch::softmax(best, 0);
  const auto sums = shares.cumsum(0).contiguous();
  const auto* sum = sums.data_ptr<double>();
  // The first that together have top_p; of them all is drawn.
  const auto kept = std::min<int64_t>(std::lower_bound(sum, sum + count, options.top_p) - sum, count - 1);
  const auto found = std::upper_bound(sum, sum + kept, chance * sum[kept]) - sum;
  return ids[found].item<int64_t>();
}

std::vector<std::vector<int64_t>> generate(LanguageModel& model, const std::vector<std::vector<int64_t>>& prompts,
                                           const GenerateOptions& options, const OnToken& on_token) {
  size_t longest = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto tokens = prompts[i].size();
    const auto most = static_cast<size_t>(model->config().max_length());
    if (tokens == 0) throw ConfigError(fmt::format("prompt {}: found no token, expected at least one", i + 1));
    if (tokens > most) {
      throw UnsupportedError(
          fmt::format("prompt {}: found {} tokens, expected at most {}, the model's positions", i + 1, tokens, most));
    }
    model->check_words(prompts[i], fmt::format("prompt {}", i + 1));
    longest = std::max(longest, tokens);
  }
  const auto texts = static_cast<int64_t>(prompts.size()), length = static_cast<int64_t>(longest);
  auto ids = torch::zeros({texts, length}, torch::kLong);  // padding may be any word: it is masked
  auto mask = torch::zeros_like(ids);
  for (int64_t i = 0; i < texts; ++i) {
    const auto& prompt = prompts[static_cast<size_t>(i)];
    const auto first = length - static_cast<int64_t>(prompt.size());
    ids[i].slice(0, first).copy_(torch::tensor(prompt, torch::kLong));
    mask[i].slice(0, first).fill_(1);
  }
  const c10::InferenceMode inference;
  const auto device = model->parameters().front().device();
  const auto room = std::min(options.max_new_tokens, model->config().max_length() - length + 1);
  std::vector<std::vector<int64_t>> made(prompts.size());
  std::vector<bool> ended(prompts.size(), false);
  KeyValueCache cache;
  for (int64_t word = 0; word < room && !prompts.empty(); ++word) {
    auto logits = model->next_word(ids.to(device), mask.to(device), cache).cpu();
    ids = logits.argmax(-1, /*keepdim=*/true);
    for (size_t i = 0; i < made.size(); ++i) {
      if (ended[i]) continue;
      const auto row = static_cast<int64_t>(i);
      if (options.temperature > 0.0) {
        ids[row] = drawn_word(logits[row], options, chance_of(options.seed, i, made[i].size()));
      }
      made[i].push_back(ids[row].item<int64_t>());
      ended[i] = std::ranges::find(options.end_ids, made[i].back()) != options.end_ids.end();
      if (on_token) on_token(i, made[i].back());
    }
    if (std::ranges::all_of(ended, [](bool over) { return over; })) break;
    mask = torch::cat({mask, mask.new_ones({texts, 1})}, 1);
  }
  return made;
}

}  // namespace compression
