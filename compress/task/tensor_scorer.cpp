#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "compress/base/fields.h"  // enum_name
#include "compress/task/task.h"    // Task, make_scorer

namespace compression {
namespace {

using torch::Tensor;

/// Keeps what each batch gave, on the CPU, and computes metrics of all of it.
class TensorScorer : public Scorer {
 public:
  TensorScorer(TaskHead head, Metric metric) : task_(find_task(head.task)), head_(std::move(head)), metric_(metric) {}

  void add(const Batch& batch, const Tensor& logits) override {
    const auto& labels = batch.at("labels");
    const auto [predicted, expected] = task_.compared(logits, labels);
    if (expected.size(0) == 0) return;
    const auto loss = task_.label_loss(logits.to(torch::kDouble), labels, batch.attention_mask());
    predicted_.push_back(predicted);
    expected_.push_back(expected);
    loss_ += loss.item<double>() * static_cast<double>(expected.size(0));
    if (task_.traits.labels == LabelKind::tags) add_tags(labels, predicted, expected);
  }

  Evaluation result() const override {
    Evaluation result{.metric = metric_, .loss = std::numeric_limits<double>::quiet_NaN()};
    if (predicted_.empty()) return result;
    const auto predicted = torch::cat(predicted_), expected = torch::cat(expected_);
    result.total = expected.size(0);
    result.loss = loss_ / static_cast<double>(result.total);
    for (const auto metric : task_.metrics()) {
      if (task_.why_not(metric, head_).empty()) result.values[metric] = value(metric, predicted, expected, result.loss);
    }
    if (const auto accuracy = result.values.find(Metric::accuracy); accuracy != result.values.end()) {
      result.correct = std::llround(accuracy->second * static_cast<double>(result.total));
    }
    if (const auto* why = undefined(predicted, expected)) {
      result.remark = fmt::format("{} is {:g} because {}", enum_name(metric_), result.value(), why);
    }
    return result;
  }

 private:
  /// Why the metric is 0 by convention, as in scikit-learn, scipy and seqeval; null where it is a number of its own.
  const char* undefined(const Tensor& predicted, const Tensor& expected) const {
    const auto constant = [](const Tensor& t) { return t.eq(t[0]).all().item<bool>(); };
    const auto none = [](const std::vector<metrics::Tags>& texts) {
      return std::ranges::all_of(texts, [](const metrics::Tags& tags) {
        return std::ranges::all_of(tags, [](const std::string& tag) { return tag == "O"; });
      });
    };
    switch (metric_) {
      case Metric::pearson:
      case Metric::spearman:
      case Metric::matthews:
        if (constant(expected)) return "all labels are the same";
        return constant(predicted) ? "all of the model's answers are the same" : nullptr;
      case Metric::f1:
        return expected.eq(1).any().item<bool>() ? nullptr : "no text has the second class";
      case Metric::micro_f1:
      case Metric::macro_f1:
        return expected.dim() == 1 || expected.any().item<bool>() ? nullptr : "no text has a label";
      case Metric::entity_f1:
        return none(expected_tags_) ? "no text has an entity" : nullptr;
      default:
        return nullptr;
    }
  }

  /// The same as names, a list a text.
  void add_tags(const Tensor& labels, const Tensor& predicted, const Tensor& expected) {
    const auto counts = task_.label_counts(labels);
    const auto names = [&](const Tensor& ids, int64_t begin, int64_t count) {
      metrics::Tags tags;
      for (int64_t i = begin; i < begin + count; ++i) {
        tags.push_back(head_.labels.at(static_cast<size_t>(ids[i].item<int64_t>())));
      }
      return tags;
    };
    for (int64_t row = 0, begin = 0; row < counts.size(0); ++row) {
      const auto count = counts[row].item<int64_t>();
      predicted_tags_.push_back(names(predicted, begin, count));
      expected_tags_.push_back(names(expected, begin, count));
      begin += count;
    }
  }

  double value(Metric metric, const Tensor& predicted, const Tensor& expected, double loss) const {
    using enum Metric;
    switch (metric) {
      case accuracy:
        return metrics::accuracy(predicted, expected);
      case f1:
        return metrics::f1(predicted, expected, metrics::Average::binary);
      case micro_f1:
        return metrics::f1(predicted, expected, metrics::Average::micro);
      case macro_f1:
        return metrics::f1(predicted, expected, metrics::Average::macro);
      case matthews:
        return metrics::matthews(predicted, expected);
      case pearson:
        return metrics::pearson(predicted, expected);
      case spearman:
        return metrics::spearman(predicted, expected);
      case mse:
        return metrics::mean_squared_error(predicted, expected);
      case entity_f1:
        return metrics::entity_f1(predicted_tags_, expected_tags_);
      case perplexity:
        return std::exp(loss);
      case exact_match:
      case has_answer_f1:
      case has_answer_exact_match:
      case no_answer_accuracy:
        break;
    }
    throw std::logic_error("metric of tensors");
  }

  const Task& task_;
  TaskHead head_;
  Metric metric_;
  std::vector<Tensor> predicted_, expected_;
  std::vector<metrics::Tags> predicted_tags_, expected_tags_;
  double loss_ = 0.0;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer(const TaskHead& head, Metric metric) {
  return std::make_unique<TensorScorer>(head, metric);
}

}  // namespace compression
