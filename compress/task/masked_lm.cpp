#include <array>

#include "compress/task/tasks.h"
#include "compress/task/token_labels.h"  // TokenLabels

namespace compression {
namespace {

/// The words that are masked, to be guessed (BERT, arXiv 1810.04805).
class MaskedLm : public TokenLabels {
 public:
  MaskedLm() : TokenLabels(TaskType::masked_lm) {}

  std::span<const Metric> metrics() const override {
    using enum Metric;
    static constexpr std::array all{perplexity, accuracy};
    return all;
  }

  std::vector<int64_t> logits_sizes(int64_t texts, int64_t tokens, int64_t) const override {
    return {texts, tokens, -1};
  }
};

}  // namespace

const Task& masked_lm_task() {
  static const MaskedLm task;
  return task;
}

}  // namespace compression
