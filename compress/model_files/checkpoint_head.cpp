#include "compress/model_files/checkpoint_head.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "compress/base/error.h"             // CheckpointError
#include "compress/base/fields.h"            // enum_name
#include "compress/base/limits.h"            // labels
#include "compress/families/model_config.h"  // has_label_names, head_of_classes, named_task
#include "compress/families/name_table.h"    // canonical_names, checkpoint_names

namespace compression {

HeadKind head_of(const ModelConfig& config) {
  return traits_of(config.task).head;
}

std::string head_module(ModelConfig config, HeadKind head, const std::string& module) {
  config.task = first_task(head).type;
  return checkpoint_names(config)("head." + module + ".");
}

namespace {

/// A tensor that every such head has; empty for a head without tensors.
std::string head_tensor(const ModelConfig& config, HeadKind head) {
  if (head == HeadKind::embedding) return "";
  return head_module(config, head, head == HeadKind::words ? "dense" : "classifier") + "weight";
}

bool is_matrix(const TensorShapes& shapes, const std::string& name) {
  const auto found = shapes.find(name);
  return found != shapes.end() && found->second.size() == 2;
}

}  // namespace

bool has_head(const TensorShapes& shapes, const ModelConfig& config, HeadKind head) {
  if (head == HeadKind::embedding) return true;
  if (!is_matrix(shapes, head_tensor(config, head))) return false;
  const auto task = named_task(config);
  const auto is_named = [&](HeadKind kind) { return task && traits_of(*task).head == kind; };
  if (is_named(head)) return true;
  bool shared = false;
  for (const auto other : {HeadKind::text, HeadKind::tokens, HeadKind::spans, HeadKind::words}) {
    if (other == head || head_tensor(config, other) != head_tensor(config, head)) continue;
    shared = true;
    if (is_named(other)) return false;
  }
  const auto dense = head_module(config, HeadKind::text, "dense");
  if (head == HeadKind::words && head_module(config, head, "dense") == dense) return false;
  const bool has_dense = is_matrix(shapes, dense + "weight");
  return head == HeadKind::text ? has_dense : !shared || (head == HeadKind::tokens && !has_dense);
}

std::string foreign_class(const ModelConfig& config) {
  const auto names = config.source.find("architectures");
  if (named_task(config) || names == config.source.end()) return "";
  const auto& name = names->is_array() && !names->empty() ? names->front() : *names;
  return name.is_string() ? name.get<std::string>() : "";
}

namespace {

/// The classes of a head that is there.
int64_t class_count(const TensorShapes& shapes, const ModelConfig& config, HeadKind head) {
  const auto& shape = shapes.at(head_tensor(config, head));
  const bool is_empty = std::ranges::find(shape, 0) != shape.end();  // of rows without bytes there may be any number
  if (!is_empty && shape.front() <= limits::labels) return shape.front();
  throw CheckpointError(fmt::format("tensor {}: found {} classes of {} numbers, expected from 1 to {} classes",
                                    head_tensor(config, head), shape.front(), shape.back(), limits::labels));
}

}  // namespace

TaskHead head_there(const TensorShapes& shapes, const ModelConfig& config, HeadKind head) {
  const auto& task = first_task(head);
  return head_of_classes(config, task.type, task.has_label_rows() ? class_count(shapes, config, head) : 0);
}

void take(TaskHead head, ModelConfig& config) {
  config.task = head.task;
  config.labels = std::move(head.labels);
}

std::string settle_head(const TensorShapes& shapes, ModelConfig& config) {
  const auto named = named_task(config);
  std::vector<HeadKind> there;
  for (const auto candidate : {HeadKind::words, HeadKind::spans, HeadKind::tokens, HeadKind::text}) {
    const bool choice = candidate == HeadKind::text && foreign_class(config).ends_with("ForMultipleChoice");
    const bool left_over = candidate == HeadKind::words && named == headless_task;
    if (!choice && !left_over && has_head(shapes, config, candidate)) there.push_back(candidate);
  }
  if (config.task == headless_task || !has_head(shapes, config, head_of(config))) {
    if (named && named != headless_task) return "";
    take(head_there(shapes, config, there.empty() ? HeadKind::embedding : there.back()), config);
  }
  // Names for each class that contradict the head are an error of shapes later.
  if (!config.labels.empty() && !has_label_names(config)) {
    const auto count = class_count(shapes, config, head_of(config));
    if (count != static_cast<int64_t>(config.labels.size())) {
      take(head_of_classes(config, config.task, count), config);
    }
  }
  if (named || there.size() < 2) return "";
  std::vector<std::string> heads;
  for (const auto kind : there) heads.push_back(head_tensor(config, kind));
  return fmt::format("there are tensors of {} heads, {}, and config.json names no class: the one for {} is taken",
                     heads.size(), fmt::join(heads, ", "), enum_name(config.task));
}

TensorShapes canonical_shapes(const std::string& model_type, const TensorShapes& shapes) {
  std::vector<std::string> names;
  for (const auto& [name, shape] : shapes) names.push_back(name);
  TensorShapes canonical;
  for (const auto& [name, theirs] : canonical_names(model_type, names).of) canonical[theirs] = shapes.at(name);
  return canonical;
}

std::string foreign_class_warning(const ModelConfig& config) {
  const auto name = config.task == headless_task ? foreign_class(config) : "";
  if (name.empty()) return "";
  return fmt::format(
      "{} has no head of the tasks that are supported, and is taken for an encoder without one, which gives embeddings",
      name);
}

}  // namespace compression
