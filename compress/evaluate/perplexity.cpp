#include "compress/evaluate/perplexity.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <span>

#include "compress/base/error.h"  // ConfigError, DataError, UnsupportedError

namespace compression {
namespace {

using Window = std::span<const int64_t>;

/// As many of the windows from `first` on as have `most` tokens together, padded to the longest.
size_t end_of_batch(const std::vector<Window>& windows, size_t first, size_t most) {
  size_t longest = 0, end = first;
  for (; end < windows.size(); ++end) {
    longest = std::max(longest, windows[end].size());
    if (end > first && longest * (end + 1 - first) > most) break;
  }
  return end;
}

}  // namespace

Perplexity perplexity(LanguageModel& model, const std::vector<std::vector<int64_t>>& documents, int64_t window,
                      const Context& context) {
  if (window < 2) throw ConfigError(fmt::format("a window of {} tokens, expected at least 2", window));
  if (const auto most = model->config().max_length(); window > most) {
    throw UnsupportedError(
        fmt::format("a window of {} tokens, expected at most {}, the model's positions", window, most));
  }
  Perplexity result;
  std::vector<Window> windows;
  for (size_t i = 0; i < documents.size(); ++i) {
    model->check_words(documents[i], fmt::format("document {}", i + 1));
    result.tokens += std::ssize(documents[i]);
    for (Window rest = documents[i]; rest.size() > 1;) {
      const auto count = std::min(rest.size(), static_cast<size_t>(window));
      windows.push_back(rest.first(count));
      rest = rest.subspan(count);
    }
  }
  if (windows.empty()) throw DataError("found no text of two tokens, expected at least one");
  const c10::InferenceMode inference;
  double total = 0.0;
  for (size_t first = 0; first < windows.size();) {
    context.check_stop();
    const auto end = end_of_batch(windows, first, static_cast<size_t>(window));
    int64_t longest = 0, count = 0;
    for (size_t i = first; i < end; ++i) {
      longest = std::max<int64_t>(longest, std::ssize(windows[i]));
      count += std::ssize(windows[i]) - 1;
    }
    const auto rows = static_cast<int64_t>(end - first);
    auto ids = torch::zeros({rows, longest}, torch::kLong), mask = torch::zeros_like(ids);
    for (int64_t row = 0; row < rows; ++row) {
      const auto& own = windows[first + static_cast<size_t>(row)];
      ids[row]
          .slice(0, 0, std::ssize(own))
          .copy_(torch::tensor(at::ArrayRef<int64_t>(own.data(), own.size()), torch::kLong));
      mask[row].slice(0, 0, std::ssize(own)).fill_(1);
    }
    ids = ids.to(context.device);
    mask = mask.to(context.device);
    total += next_word_loss(model->forward(ids, mask), ids, mask).item<double>() * static_cast<double>(count);
    result.predicted += count;
    first = end;
    result.loss = total / static_cast<double>(result.predicted);
    context.progress(static_cast<int64_t>(first), std::ssize(windows),
                     fmt::format("perplexity {:.3f}", result.value()));
  }
  result.windows = std::ssize(windows);
  return result;
}

}  // namespace compression
