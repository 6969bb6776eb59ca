#include "distill/objective.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>

#include "compress/checkpoint/checkpoint.h"  // state_dict, load_state_dict
#include "compress/workflow/error.h"         // ConfigError

namespace compression::distill {
namespace {

bool on_layers(LossType type) {
  return type == LossType::hidden_states || type == LossType::attentions;
}

std::vector<LayerPair> layer_pairs(const LossConfig& config, const ModelShape& student, const ModelShape& teacher) {
  if (!config.layers) return uniform_layer_map(student.layers, teacher.layers);
  std::vector<LayerPair> pairs;
  for (const auto& pair : *config.layers) {
    pairs.push_back({pair.at(0), pair.at(1)});
    const auto& [s, t] = pairs.back();
    if (s < 0 || t < 0 || s >= student.layers || t >= teacher.layers) {
      throw ConfigError(
          fmt::format("losses of {}: layers [{}, {}]: the student has layers 0 to {}, the teacher 0 to {}",
                      enum_name(config.type), s, t, student.layers - 1, teacher.layers - 1));
    }
  }
  return pairs;
}

}  // namespace

DistillationLoss::DistillationLoss(std::vector<LossConfig> losses, const ModelShape& student,
                                   const ModelShape& teacher) {
  for (auto& config : losses) {
    Term term{.config = std::move(config), .layers = {}, .projections = {}};
    const auto type = term.config.type;
    if (on_layers(type)) term.layers = layer_pairs(term.config, student, teacher);
    if (type == LossType::hidden_states) {
      for (auto& pair : term.layers) pair = {pair.student + 1, pair.teacher + 1};  // hidden_states[0] is the embeddings
    } else if (type == LossType::embeddings) {
      term.layers = {{0, 0}};
    }
    if ((type == LossType::hidden_states || type == LossType::embeddings) &&
        student.hidden_size != teacher.hidden_size) {
      for (size_t i = 0; i < term.layers.size(); ++i) {
        term.projections.push_back(projections_.size());
        const double range = 1.0 / std::sqrt(static_cast<double>(student.hidden_size));
        projections_.push_back(
            torch::empty({teacher.hidden_size, student.hidden_size}).uniform_(-range, range).requires_grad_());
      }
    }
    terms_.push_back(std::move(term));
  }
}

Capture DistillationLoss::capture() const {
  Capture capture;
  for (const auto& term : terms_) {
    const auto type = term.config.type;
    capture.hidden_states |= type == LossType::hidden_states || type == LossType::embeddings;
    capture.attentions |= type == LossType::attentions;
  }
  return capture;
}

bool DistillationLoss::logits_only() const {
  const auto needs = capture();
  return !needs.hidden_states && !needs.attentions;
}

torch::Tensor DistillationLoss::operator()(const ModelOutput& student, const ModelOutput& teacher,
                                           const torch::Tensor& labels, const torch::Tensor& mask) const {
  auto total = torch::zeros({}, student.logits.options().dtype(torch::kFloat));
  for (const auto& term : terms_) {
    torch::Tensor loss;
    switch (term.config.type) {
      case LossType::logits:
        loss = logits_loss(student.logits, teacher.logits, term.config.temperature);
        break;
      case LossType::labels:
        loss = torch::cross_entropy_loss(student.logits.to(torch::kFloat), labels);
        break;
      case LossType::hidden_states:
      case LossType::embeddings:
      case LossType::attentions: {
        loss = torch::zeros_like(total);
        for (size_t i = 0; i < term.layers.size(); ++i) {
          const auto s = static_cast<size_t>(term.layers[i].student), t = static_cast<size_t>(term.layers[i].teacher);
          if (term.config.type == LossType::attentions) {
            loss = loss + attention_loss(student.attentions.at(s), teacher.attentions.at(t), mask);
          } else {
            const auto& own = student.hidden_states.at(s);
            const auto projected = term.projections.empty()
                                       ? own
                                       : torch::linear(own, projections_[term.projections[i]].to(own.scalar_type()));
            loss = loss + hidden_loss(projected, teacher.hidden_states.at(t), mask);
          }
        }
        loss = loss / static_cast<double>(term.layers.size());
        break;
      }
    }
    total = total + loss * term.config.weight;
  }
  return total;
}

void DistillationLoss::to(torch::Device device) {
  for (auto& projection : projections_) projection.set_data(projection.to(device));
}

DistillObjective::DistillObjective(Model student, Model teacher, DistillationLoss loss, torch::Tensor teacher_logits)
    : student_(std::move(student)),
      teacher_(std::move(teacher)),
      loss_(std::move(loss)),
      teacher_logits_(std::move(teacher_logits)) {
  teacher_->eval();
}

torch::Tensor DistillObjective::loss(const Batch& batch) {
  ModelOutput target;
  if (teacher_logits_.defined()) {
    target.logits =
        teacher_logits_.index_select(0, batch.examples.to(teacher_logits_.device())).to(batch.input_ids.device());
  } else {
    const at::NoGradGuard no_grad;
    target = teacher_->forward(batch, loss_.capture());
  }
  return loss_(student_->forward(batch, loss_.capture()), target, batch.labels, batch.attention_mask);
}

Model keep_layers(const Model& from, const std::vector<int64_t>& layers) {
  auto config = from->config();
  const auto& all = from->config().layers;
  const auto& shared = from->config().encoder.shared_layers;
  config.layers.clear();
  config.encoder.shared_layers.clear();
  std::vector<int64_t> weights;  // of `from`, by the student's numbers for them
  for (const auto layer : layers) {
    if (layer < 0 || layer >= static_cast<int64_t>(all.size())) {
      throw ConfigError(fmt::format("student.layers: layer {}: the model has layers 0 to {}", layer, all.size() - 1));
    }
    config.layers.push_back(all[static_cast<size_t>(layer)]);
    if (shared.empty()) {
      weights.push_back(layer);
      continue;
    }
    const auto own = shared[static_cast<size_t>(layer)];
    auto at = std::ranges::find(weights, own);
    if (at == weights.end()) at = weights.insert(at, own);
    config.encoder.shared_layers.push_back(at - weights.begin());
  }
  layer_groups(config);  // throws if a config.json could not say it
  const std::string prefix = "bert.encoder.layer.";
  const auto source = state_dict(*from);
  StateDict kept;
  for (const auto& [name, tensor] : source) {
    if (!name.starts_with(prefix)) kept[name] = tensor;
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto own = fmt::format("{}{}.", prefix, weights[i]);
    for (auto it = source.lower_bound(own); it != source.end() && it->first.starts_with(own); ++it) {
      kept[fmt::format("{}{}.{}", prefix, i, it->first.substr(own.size()))] = it->second;
    }
  }
  Model student(config);
  load_state_dict(*student, kept, {});
  student->train(from->is_training());
  return student;
}

}  // namespace compression::distill
