#include "compress/task/task.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "compress/base/error.h"      // ConfigError
#include "compress/base/fields.h"     // enum_name
#include "compress/model/autocast.h"  // Autocast

namespace compression {
namespace {

using torch::Tensor;

/// An empty text where the metric can be computed for the head, else why not.
std::string why_not(Metric metric, const TaskHead& head) {
  const auto own = metrics_of(head.task);
  if (std::ranges::find(own, metric) == own.end()) return fmt::format("{} has no such metric", enum_name(head.task));
  if (metric == Metric::f1 && head.task == TaskType::classification && head.labels.size() != 2) {
    return fmt::format("it is for two classes, and there are {}", head.labels.size());
  }
  if (metric == Metric::entity_f1) {
    const auto odd = std::ranges::find_if_not(head.labels, metrics::is_entity_tag);
    if (odd != head.labels.end()) {
      return fmt::format("it needs tags O, B-TYPE, I-TYPE, E-TYPE and S-TYPE, and there is {}", *odd);
    }
  }
  return "";
}

/// Keeps what each batch gave, on the CPU, and computes metrics of all of it.
class TensorScorer : public Scorer {
 public:
  TensorScorer(TaskHead head, Metric metric) : head_(std::move(head)), metric_(metric) {}

  void add(const Batch& batch, const Tensor& logits) override {
    const auto [predicted, expected] = answers(batch, logits);
    if (expected.size(0) == 0) return;
    const auto loss = label_loss(head_.task, logits.to(torch::kDouble), batch.labels(), batch.attention_mask());
    predicted_.push_back(predicted);
    expected_.push_back(expected);
    loss_ += loss.item<double>() * static_cast<double>(expected.size(0));
    if (head_.task == TaskType::token_classification) add_tags(batch, predicted, expected);
  }

  Evaluation result() const override {
    Evaluation result{.metric = metric_, .loss = std::numeric_limits<double>::quiet_NaN()};
    if (predicted_.empty()) return result;
    const auto predicted = torch::cat(predicted_), expected = torch::cat(expected_);
    result.total = expected.size(0);
    result.loss = loss_ / static_cast<double>(result.total);
    for (const auto metric : metrics_of(head_.task)) {
      if (why_not(metric, head_).empty()) result.values[metric] = value(metric, predicted, expected, result.loss);
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
        return head_.task != TaskType::multi_label || expected.any().item<bool>() ? nullptr : "no text has a label";
      case Metric::entity_f1:
        return none(expected_tags_) ? "no text has an entity" : nullptr;
      default:
        return nullptr;
    }
  }

  /// What the logits say, and the labels, one a row.
  std::pair<Tensor, Tensor> answers(const Batch& batch, const Tensor& logits) const {
    switch (head_.task) {
      case TaskType::multi_label:
        return {logits.gt(0), batch.labels().gt(0.5)};
      case TaskType::regression:
        return {logits.squeeze(-1), batch.labels()};
      case TaskType::embedding:
        return {pair_cosines(logits), batch.labels().slice(0, 0, std::nullopt, 2)};
      case TaskType::token_classification:
      case TaskType::masked_lm:
        return {labelled_logits(logits, batch.labels()).argmax(-1),
                batch.labels().flatten().index_select(0, labelled_tokens(batch.labels()))};
      default:
        return {logits.argmax(-1), batch.labels()};
    }
  }

  /// The same as names, a list a text.
  void add_tags(const Batch& batch, const Tensor& predicted, const Tensor& expected) {
    const auto counts = batch.labels().ne(ignored_label).sum(1);
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

  TaskHead head_;
  Metric metric_;
  std::vector<Tensor> predicted_, expected_;
  std::vector<metrics::Tags> predicted_tags_, expected_tags_;
  double loss_ = 0.0;
};

}  // namespace

std::span<const Metric> metrics_of(TaskType task) {
  using enum Metric;
  static constexpr std::array classification{accuracy, f1, micro_f1, macro_f1, matthews};
  static constexpr std::array multi_label{micro_f1, macro_f1, accuracy};
  static constexpr std::array regression{pearson, spearman, mse};
  static constexpr std::array embedding{spearman, pearson, mse};
  static constexpr std::array tokens{entity_f1, accuracy};
  static constexpr std::array answers{f1, exact_match};
  static constexpr std::array words{perplexity, accuracy};
  switch (task) {
    case TaskType::classification:
      return classification;
    case TaskType::multi_label:
      return multi_label;
    case TaskType::regression:
      return regression;
    case TaskType::embedding:
      return embedding;
    case TaskType::token_classification:
      return tokens;
    case TaskType::question_answering:
      return answers;
    case TaskType::masked_lm:
      return words;
  }
  throw std::logic_error("task");
}

Metric default_metric(const TaskHead& head) {
  const auto own = metrics_of(head.task);
  return *std::ranges::find_if(own, [&](Metric metric) { return why_not(metric, head).empty(); });
}

void check_metric(Metric metric, const TaskHead& head) {
  const auto reason = why_not(metric, head);
  if (reason.empty()) return;
  std::vector<std::string_view> expected;
  for (const auto other : metrics_of(head.task)) {
    if (why_not(other, head).empty()) expected.push_back(enum_name(other));
  }
  throw ConfigError(
      fmt::format("found {}, but {}; expected one of {}", enum_name(metric), reason, fmt::join(expected, ", ")));
}

Tensor labelled_logits(const Tensor& logits, const Tensor& labels) {
  return logits.dim() == 2 ? logits : logits.flatten(0, 1).index_select(0, labelled_tokens(labels));
}

Tensor without_padding(const Tensor& logits, const Tensor& mask) {
  // Wide enough for the number, and for what a loss makes of it.
  const bool narrow = logits.scalar_type() == torch::kHalf || logits.scalar_type() == torch::kBFloat16;
  return (narrow ? logits.to(torch::kFloat) : logits).masked_fill(mask.eq(0).unsqueeze(-1), -1e9);
}

Tensor pair_cosines(const Tensor& embeddings) {
  constexpr double smallest_norm = 1e-8;  // as torch.cosine_similarity
  const auto first = embeddings.slice(0, 0, std::nullopt, 2), second = embeddings.slice(0, 1, std::nullopt, 2);
  const auto norm = [](const Tensor& rows) { return rows.norm(2, {-1}).clamp_min(smallest_norm); };
  return (first * second).sum(-1) / (norm(first) * norm(second));
}

Tensor label_counts(TaskType task, const Tensor& labels) {
  switch (task) {
    case TaskType::classification:
      return labels.ne(ignored_label).to(torch::kLong);
    case TaskType::token_classification:
    case TaskType::masked_lm:
      return labels.ne(ignored_label).sum(1);
    default:
      return torch::ones({labels.size(0)}, labels.options().dtype(torch::kLong));
  }
}

int64_t label_count(TaskType task, const Tensor& labels) {
  if (task == TaskType::embedding) return labels.size(0) / 2;
  return label_counts(task, labels).sum().item<int64_t>();
}

Tensor label_weights(const Tensor& labels, const Tensor& class_weights) {
  const auto labelled = labels.ne(ignored_label);
  const auto of_labels = class_weights.to(torch::kDouble).index_select(0, torch::where(labelled, labels, 0).flatten());
  return (of_labels.view_as(labels) * labelled).view({labels.size(0), -1}).sum(1);
}

Tensor label_loss(TaskType task, const Tensor& logits, const Tensor& labels, const Tensor& mask,
                  const LabelLoss& options) {
  const Autocast exact(std::nullopt, logits.device());
  // The sum of nothing is 0, and has a gradient of zeros; its mean would be no number.
  const auto cross_entropy = [&](const Tensor& of, const Tensor& classes, int64_t count) {
    const auto& weights = options.class_weights;
    const bool counts = count > 0 && (!weights.defined() || label_weights(classes, weights).sum().item<double>() > 0);
    return torch::cross_entropy_loss(of, classes, weights.defined() ? weights.to(of.options()) : weights,
                                     counts ? at::Reduction::Mean : at::Reduction::Sum, ignored_label,
                                     options.smoothing);
  };
  switch (task) {
    case TaskType::classification:
      return cross_entropy(logits, labels, label_count(task, labels));
    case TaskType::multi_label:
      return torch::binary_cross_entropy_with_logits(logits, labels.to(logits.scalar_type()));
    case TaskType::regression:
      return torch::mse_loss(logits.squeeze(-1), labels.to(logits.scalar_type()));
    case TaskType::embedding:
      return torch::mse_loss(pair_cosines(logits), labels.slice(0, 0, std::nullopt, 2).to(logits.scalar_type()));
    case TaskType::token_classification:
    case TaskType::masked_lm: {
      const auto tokens = labelled_tokens(labels);
      return cross_entropy(labelled_logits(logits, labels), labels.flatten().index_select(0, tokens), tokens.size(0));
    }
    case TaskType::question_answering: {
      const auto real = without_padding(logits, mask);
      return (torch::cross_entropy_loss(real.select(-1, 0), labels.select(1, 0)) +
              torch::cross_entropy_loss(real.select(-1, 1), labels.select(1, 1))) /
             2;
    }
  }
  throw std::logic_error("task");
}

std::unique_ptr<Scorer> make_scorer(const TaskHead& head, Metric metric) {
  return std::make_unique<TensorScorer>(head, metric);
}

}  // namespace compression
