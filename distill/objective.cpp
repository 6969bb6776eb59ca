#include "distill/objective.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>

#include "compress/base/error.h"  // ConfigError
#include "compress/task/task.h"   // label_loss, label_count

namespace compression::distill {
namespace {

std::vector<LayerPair> layer_pairs(const LossConfig& config, const ModelShape& student, const ModelShape& teacher) {
  if (!config.layers) {
    const auto last = last_layer_map(student.layers, teacher.layers);
    if (config.type == LossType::relations && !config.layer_map) return {last.back()};
    return config.layer_map == LayerMap::last ? last : uniform_layer_map(student.layers, teacher.layers);
  }
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

void check_heads(LossType type, const char* whose, const ModelShape& shape, int64_t layer) {
  if (shape.attention_widths.at(static_cast<size_t>(layer)) > 0) return;
  throw ConfigError(
      fmt::format("losses of {}: found layer {} of the {}, which has no heads; expected layers "
                  "that have some, in losses.layers",
                  enum_name(type), layer, whose));
}

void check_relation_heads(int64_t heads, const char* whose, const ModelShape& shape, int64_t layer) {
  const auto width = shape.attention_widths.at(static_cast<size_t>(layer));
  if (heads < 1 || width == 0 || width % heads != 0) {
    throw ConfigError(
        fmt::format("losses of relations: relation_heads: found {}, expected a divisor of {}, the width of "
                    "the queries in layer {} of the {}",
                    heads, width, layer, whose));
  }
}

Distance distance_of(const LossConfig& config) {
  return config.distance.value_or(distances(config.type).front());
}

}  // namespace

ModelShape shape_of(const Model& model) {
  const auto& config = model->config();
  ModelShape shape{.layers = static_cast<int64_t>(config.layers.size()), .hidden_size = config.hidden_size};
  for (const auto& layer : config.layers) {
    shape.attention_widths.push_back(layer.attention.width());
    shape.heads.push_back(layer.attention.heads);
  }
  return shape;
}

DistillationLoss::DistillationLoss(std::vector<LossConfig> losses, const ModelShape& student, const ModelShape& teacher,
                                   TaskType task)
    : task_(task), same_width_(student.hidden_size == teacher.hidden_size) {
  const c10::InferenceMode ordinary(false);  // projections are trained
  for (auto& config : losses) {
    Term term{.config = std::move(config), .layers = {}, .projections = {}, .relation_heads = {}};
    const auto type = term.config.type;
    switch (type) {
      case LossType::hidden_states:
        term.layers = layer_pairs(term.config, student, teacher);
        for (auto& pair : term.layers) pair = {pair.student + 1, pair.teacher + 1};  // the embeddings come first
        break;
      case LossType::embeddings:
        term.layers = {{0, 0}};
        break;
      case LossType::attentions:
        term.layers = layer_pairs(term.config, student, teacher);
        for (const auto& pair : term.layers) {
          check_heads(type, "student", student, pair.student);
          check_heads(type, "teacher", teacher, pair.teacher);
        }
        break;
      case LossType::relations:
        term.layers = layer_pairs(term.config, student, teacher);
        for (const auto& pair : term.layers) {
          check_heads(type, "student", student, pair.student);
          check_heads(type, "teacher", teacher, pair.teacher);
          const auto heads = term.config.relation_heads.value_or(teacher.heads.at(static_cast<size_t>(pair.teacher)));
          check_relation_heads(heads, "student", student, pair.student);
          check_relation_heads(heads, "teacher", teacher, pair.teacher);
          term.relation_heads.push_back(heads);
        }
        break;
      case LossType::logits:
      case LossType::labels:
        break;
    }
    if ((type == LossType::hidden_states || type == LossType::embeddings) &&
        student.hidden_size != teacher.hidden_size) {
      const bool shared = term.config.layer_map == LayerMap::minimum_distance;
      for (size_t i = 0; i < term.layers.size(); ++i) {
        if (!shared || i == 0) {
          const double range = 1.0 / std::sqrt(static_cast<double>(student.hidden_size));
          projections_.push_back(torch::empty({teacher.hidden_size, student.hidden_size}, torch::kFloat)
                                     .uniform_(-range, range)
                                     .requires_grad_());
        }
        term.projections.push_back(projections_.size() - 1);
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
    capture.projections |= type == LossType::relations;
  }
  return capture;
}

bool DistillationLoss::logits_only() const {
  const auto needs = capture();
  return !needs.hidden_states && !needs.attentions && !needs.projections;
}

torch::Tensor DistillationLoss::projected(const Term& term, size_t pair, const torch::Tensor& hidden) const {
  if (term.projections.empty()) return hidden;
  return torch::linear(hidden, projections_[term.projections[pair]].to(hidden.scalar_type()));
}

/// Each pair of layers, mean over the pairs.
torch::Tensor DistillationLoss::on_layers(const Term& term, const ModelOutput& student, const ModelOutput& teacher,
                                          const torch::Tensor& mask) const {
  torch::Tensor sum;
  for (size_t i = 0; i < term.layers.size(); ++i) {
    const auto s = static_cast<size_t>(term.layers[i].student), t = static_cast<size_t>(term.layers[i].teacher);
    torch::Tensor loss;
    if (term.config.type == LossType::attentions) {
      loss = attention_loss(student.attentions.at(s), teacher.attentions.at(t), mask, distance_of(term.config));
    } else if (term.config.type == LossType::relations) {
      const auto &own = student.projections.at(s), &other = teacher.projections.at(t);
      const auto heads = term.relation_heads[i];
      loss = relation_loss(own.query, other.query, mask, heads) + relation_loss(own.key, other.key, mask, heads) +
             relation_loss(own.value, other.value, mask, heads);
    } else {
      loss = hidden_loss(projected(term, i, student.hidden_states.at(s)), teacher.hidden_states.at(t), mask,
                         distance_of(term.config));
    }
    sum = sum.defined() ? sum + loss : loss;
  }
  return sum / static_cast<double>(term.layers.size());
}

/// CoFi (Xia et al., arXiv 2204.00408): each of the teacher's layers teaches the layer of the student whose hidden
/// states are nearest to its own at the moment; chosen for each text, so that no text's choice is another's.
torch::Tensor DistillationLoss::nearest_layers(const Term& term, const ModelOutput& student, const ModelOutput& teacher,
                                               const torch::Tensor& mask) const {
  std::vector<torch::Tensor> own;
  for (size_t s = 1; s < student.hidden_states.size(); ++s) {
    own.push_back(projected(term, 0, student.hidden_states[s]));
  }
  const auto texts_tokens = mask.sum(1);
  const double tokens = std::max(texts_tokens.sum().item<double>(), 1.0);
  torch::Tensor sum;
  for (const auto& pair : term.layers) {
    const auto& target = teacher.hidden_states.at(static_cast<size_t>(pair.teacher));
    torch::Tensor nearest;  // int64 [batch]
    {
      const at::NoGradGuard no_grad;
      std::vector<torch::Tensor> distances;
      for (const auto& s : own) distances.push_back(hidden_losses(s, target, mask, distance_of(term.config)));
      nearest = torch::stack(distances).argmin(0);
    }
    for (size_t s = 0; s < own.size(); ++s) {
      const auto texts = nearest.eq(static_cast<int64_t>(s)).nonzero().squeeze(1);
      if (texts.size(0) == 0) continue;
      const auto of = [&](const torch::Tensor& t) { return t.index_select(0, texts); };
      const auto share = of(texts_tokens).sum().item<double>() / tokens;
      const auto loss = hidden_loss(of(own[s]), of(target), of(mask), distance_of(term.config)) * share;
      sum = sum.defined() ? sum + loss : loss;
    }
  }
  return sum / static_cast<double>(term.layers.size());
}

std::vector<double> DistillationLoss::counts(const torch::Tensor& labels, const torch::Tensor& mask) const {
  std::vector<double> all;
  for (const auto& term : terms_) {
    int64_t count = 0;
    switch (term.config.type) {
      case LossType::logits:
        count = task_logits_count(task_, labels, mask, distance_of(term.config), same_width_);
        break;
      case LossType::labels:
        count = label_count(task_, labels);
        break;
      case LossType::attentions:
        count = attention_count(mask, distance_of(term.config));
        break;
      case LossType::hidden_states:
      case LossType::embeddings:
      case LossType::relations:
        count = mask.sum().item<int64_t>();
        break;
    }
    all.push_back(static_cast<double>(count));
  }
  return all;
}

torch::Tensor DistillationLoss::operator()(const ModelOutput& student, const ModelOutput& teacher,
                                           const torch::Tensor& labels, const torch::Tensor& mask,
                                           std::span<const double> shares) const {
  auto total = torch::zeros({}, student.logits.options().dtype(torch::kFloat));
  for (size_t i = 0; i < terms_.size(); ++i) {
    const auto& term = terms_[i];
    torch::Tensor loss;
    switch (term.config.type) {
      case LossType::logits:
        loss = task_logits_loss(task_, student.logits, teacher.logits, labels, mask, term.config.temperature,
                                distance_of(term.config));
        break;
      case LossType::labels:
        loss = label_loss(task_, student.logits.to(torch::kFloat), labels, mask);
        break;
      default:
        loss = term.config.layer_map == LayerMap::minimum_distance ? nearest_layers(term, student, teacher, mask)
                                                                   : on_layers(term, student, teacher, mask);
    }
    total = total + loss * (term.config.weight * (shares.empty() ? 1.0 : shares[i]));
  }
  return total;
}

void DistillationLoss::to(torch::Device device) {
  for (auto& projection : projections_) projection.set_data(projection.to(device));
}

DistillObjective::DistillObjective(Model student, std::vector<Teacher> teachers)
    : student_(std::move(student)), teachers_(std::move(teachers)) {
  double sum = 0.0;
  for (const auto& teacher : teachers_) sum += teacher.weight;
  for (auto& teacher : teachers_) {
    teacher.weight /= sum;
    if (teacher.model) teacher.model->eval();
    capture_ |= teacher.loss.capture();
  }
}

torch::Tensor DistillObjective::loss(const Batch& batch) {
  return weighted(batch, {});
}

/// Of each teacher's losses in turn.
std::vector<double> DistillObjective::counts(const Batch& batch) const {
  std::vector<double> all;
  for (const auto& teacher : teachers_) {
    const auto own = teacher.loss.counts(batch.labels, batch.attention_mask);
    all.insert(all.end(), own.begin(), own.end());
  }
  return all;
}

torch::Tensor DistillObjective::part(const Batch& batch, std::span<const double> of_step) {
  auto shares = counts(batch);
  for (size_t i = 0; i < shares.size(); ++i) shares[i] = of_step[i] > 0 ? shares[i] / of_step[i] : 0.0;
  return weighted(batch, shares);
}

torch::Tensor DistillObjective::weighted(const Batch& batch, std::span<const double> shares) {
  const auto own = student_->forward(batch, capture_);
  torch::Tensor sum;
  for (auto& teacher : teachers_) {
    ModelOutput target;
    if (teacher.outputs) {
      target = teacher.outputs->of(batch);
    } else {
      const at::NoGradGuard no_grad;
      target = teacher.model->forward(batch, teacher.loss.capture());
    }
    const auto of_teacher = shares.first(shares.empty() ? 0 : teacher.loss.size());
    shares = shares.subspan(of_teacher.size());
    const auto loss = teacher.loss(own, target, batch.labels, batch.attention_mask, of_teacher) * teacher.weight;
    sum = sum.defined() ? sum + loss : loss;
  }
  return sum;
}

std::vector<torch::Tensor> DistillObjective::parameters() {
  std::vector<torch::Tensor> all;
  for (const auto& teacher : teachers_) {
    all.insert(all.end(), teacher.loss.parameters().begin(), teacher.loss.parameters().end());
  }
  return all;
}

}  // namespace compression::distill
