#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <array>

#include "compress/pipeline/entities.h"  // is_entity_tag
#include "compress/task/tasks.h"
#include "compress/task/token_labels.h"  // TokenLabels

namespace compression {
namespace {

using torch::Tensor;

/// A tag a word, at the word's first token.
class TokenClassification : public TokenLabels {
 public:
  TokenClassification() : TokenLabels(TaskType::token_classification) {}

  std::span<const Metric> metrics() const override {
    using enum Metric;
    static constexpr std::array all{entity_f1, accuracy};
    return all;
  }

  std::string needs_of(Metric metric, const TaskHead& head) const override {
    const auto odd = std::ranges::find_if_not(head.labels, is_entity_tag);
    if (metric != Metric::entity_f1 || odd == head.labels.end()) return "";
    return fmt::format("it needs tags O, B-TYPE, I-TYPE, E-TYPE and S-TYPE, and there is {}", *odd);
  }

  std::vector<int64_t> logits_sizes(int64_t texts, int64_t tokens, int64_t labels) const override {
    return {texts, tokens, labels};
  }
};

}  // namespace

const Task& token_classification_task() {
  static const TokenClassification task;
  return task;
}

}  // namespace compression
