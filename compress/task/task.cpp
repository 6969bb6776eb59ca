#include "compress/task/task.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "compress/base/error.h"   // ConfigError
#include "compress/base/fields.h"  // enum_name
#include "compress/task/tasks.h"   // classification_task

namespace compression {

using torch::Tensor;

std::span<const Task* const> tasks() {
  static const std::array<const Task*, task_traits.size()> all{
      &classification_task(),       &multi_label_task(),        &regression_task(), &embedding_task(),
      &token_classification_task(), &question_answering_task(), &masked_lm_task()};
  return all;
}

const Task& find_task(TaskType type) {
  return **std::ranges::find(tasks(), type, [](const Task* task) { return task->traits.type; });
}

Tensor Task::label_counts(const Tensor& labels) const {
  return torch::ones({labels.size(0)}, labels.options().dtype(torch::kLong));
}

int64_t Task::label_count(const Tensor& labels) const {
  return label_counts(labels).sum().item<int64_t>();
}

int64_t Task::teacher_count(const Tensor&, const Tensor& mask, Distance, bool) const {
  return mask.size(0);
}

std::string Task::why_not(Metric metric, const TaskHead& head) const {
  if (std::ranges::find(metrics(), metric) == metrics().end()) return fmt::format("{} has no such metric", traits.name);
  return needs_of(metric, head);
}

std::string Task::needs_of(Metric, const TaskHead&) const {
  return "";
}

Metric default_metric(const TaskHead& head) {
  const auto& task = find_task(head.task);
  return *std::ranges::find_if(task.metrics(), [&](Metric metric) { return task.why_not(metric, head).empty(); });
}

void check_metric(Metric metric, const TaskHead& head) {
  const auto& task = find_task(head.task);
  const auto reason = task.why_not(metric, head);
  if (reason.empty()) return;
  std::vector<std::string_view> expected;
  for (const auto other : task.metrics()) {
    if (task.why_not(other, head).empty()) expected.push_back(enum_name(other));
  }
  throw ConfigError(
      fmt::format("found {}, but {}; expected one of {}", enum_name(metric), reason, fmt::join(expected, ", ")));
}

}  // namespace compression
