#include "distill/losses.h"

#include <torch/types.h>

#include <stdexcept>

#include "compress/model/autocast.h"     // Autocast
#include "compress/task/batch_source.h"  // ignored_label
#include "compress/task/task.h"          // labelled_logits, without_padding

namespace compression::distill {
namespace {

using torch::Tensor;

Tensor full(const Tensor& x) {
  return x.to(torch::kFloat);
}

/// A loss is computed in float32, whatever the models' products are: autocast would round its own products too.
Autocast in_float32(const Tensor& like) {
  return Autocast(std::nullopt, like.device());
}

/// 1 - cosine along the last dimension.
Tensor cosine_distance(const Tensor& a, const Tensor& b) {
  return 1.0 - torch::cosine_similarity(a, b, -1);
}

/// The mean of `values` where `weight`, which is broadcast to them, is 1; 0 where it is 1 nowhere.
Tensor mean_where(const Tensor& values, const Tensor& weight) {
  return (values * weight).sum() / weight.expand_as(values).sum().clamp_min(1.0);
}

[[noreturn]] void no_such_distance(const char* loss) {
  throw std::invalid_argument(std::string(loss) + ": a distance that it does not know");
}

}  // namespace

Tensor logits_loss(const Tensor& student, const Tensor& teacher, double temperature, Distance distance) {
  if (student.size(0) == 0) return full(student).sum();  // 0, with a gradient
  const auto exact = in_float32(student);
  if (distance == Distance::mse) return torch::mse_loss(full(student), full(teacher));
  const auto log_student = torch::log_softmax(full(student) / temperature, -1);
  const auto log_teacher = torch::log_softmax(full(teacher) / temperature, -1);
  const auto by = temperature * temperature / static_cast<double>(student.size(0));
  switch (distance) {
    case Distance::kl:
      return torch::kl_div(log_student, log_teacher, at::Reduction::Sum, /*log_target=*/true) * by;
    case Distance::cross_entropy:
      return -(log_teacher.exp() * log_student).sum() * by;
    default:
      no_such_distance("logits");
  }
}

Tensor task_logits_loss(TaskType task, const Tensor& student, const Tensor& teacher, const Tensor& labels,
                        const Tensor& mask, double temperature, Distance distance) {
  const auto exact = in_float32(student);
  switch (task) {
    case TaskType::classification:
      return logits_loss(student, teacher, temperature, distance);
    case TaskType::multi_label:
      if (distance == Distance::mse) return torch::mse_loss(student, teacher);
      return torch::binary_cross_entropy_with_logits(student / temperature, torch::sigmoid(teacher / temperature)) *
             (temperature * temperature);
    case TaskType::regression:
      return torch::mse_loss(student, teacher);
    case TaskType::embedding: {
      if (student.size(1) == teacher.size(1)) return (student - teacher).square().sum(-1).mean();
      const auto cosines = [](const Tensor& rows) {
        const auto units = rows / rows.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
        return units.matmul(units.t());
      };
      return torch::mse_loss(cosines(student), cosines(teacher));
    }
    case TaskType::token_classification:
    case TaskType::masked_lm: {
      const auto chosen = labels.defined() ? labels : mask.masked_fill(mask.eq(0), ignored_label);
      return logits_loss(labelled_logits(student, chosen), labelled_logits(teacher, chosen), temperature, distance);
    }
    case TaskType::question_answering: {
      if (distance == Distance::mse) {
        return mean_where((full(student) - full(teacher)).square(), full(mask).unsqueeze(-1));
      }
      const auto own = without_padding(student, mask), other = without_padding(teacher, mask);
      const auto of = [&](int64_t end) {
        return logits_loss(own.select(-1, end), other.select(-1, end), temperature, distance);
      };
      return (of(0) + of(1)) / 2;
    }
  }
  throw std::logic_error("task");
}

int64_t task_logits_count(TaskType task, const Tensor& labels, const Tensor& mask, Distance distance, bool same_width) {
  const auto texts = mask.size(0), tokens = mask.sum().item<int64_t>();
  switch (task) {
    case TaskType::embedding:
      return same_width ? texts : texts * texts;
    case TaskType::token_classification:
    case TaskType::masked_lm:
      return labels.defined() ? label_count(task, labels) : tokens;
    case TaskType::question_answering:
      return distance == Distance::mse ? tokens : texts;
    default:
      return texts;
  }
}

namespace {

/// Of each token: [batch, sequence].
Tensor hidden_distances(const Tensor& student, const Tensor& teacher, Distance distance) {
  switch (distance) {
    case Distance::mse:
      return (full(student) - full(teacher)).square().mean(-1);
    case Distance::cosine:
      return cosine_distance(full(student), full(teacher));
    default:
      no_such_distance("hidden_states");
  }
}

}  // namespace

Tensor hidden_loss(const Tensor& student, const Tensor& teacher, const Tensor& mask, Distance distance) {
  const auto exact = in_float32(student);
  return mean_where(hidden_distances(student, teacher, distance), full(mask));
}

Tensor hidden_losses(const Tensor& student, const Tensor& teacher, const Tensor& mask, Distance distance) {
  const auto exact = in_float32(student);
  const auto real = full(mask);
  return (hidden_distances(student, teacher, distance) * real).sum(1) / real.sum(1).clamp_min(1.0);
}

int64_t attention_count(const Tensor& mask, Distance distance) {
  const auto tokens = mask.sum(1);
  return (distance == Distance::mse ? tokens * tokens : tokens).sum().item<int64_t>();
}

Tensor attention_loss(const Tensor& student, const Tensor& teacher, const Tensor& mask, Distance distance) {
  const auto exact = in_float32(student);
  const bool same_heads = student.size(1) == teacher.size(1);
  const auto maps = [&](const Tensor& t) { return same_heads ? full(t) : full(t).mean(1, true); };
  const auto s = maps(student), t = maps(teacher);
  const auto queries = full(mask).unsqueeze(1);  // [batch, 1, query]
  if (distance == Distance::mse) {
    return mean_where((s - t).square(), queries.unsqueeze(2) * queries.unsqueeze(3));
  }
  switch (distance) {
    case Distance::kl:  // keys that are padding have probability 0, and so has what the softmax lost
      return mean_where((torch::xlogy(t, t) - torch::xlogy(t, s.clamp_min(1e-12))).sum(-1), queries);
    case Distance::cosine:
      return mean_where(cosine_distance(s, t), queries);
    default:
      no_such_distance("attentions");
  }
}

Tensor relation_loss(const Tensor& student, const Tensor& teacher, const Tensor& mask, int64_t heads) {
  const auto exact = in_float32(student);
  const auto padding = mask.eq(0).unsqueeze(1).unsqueeze(2);  // [batch, 1, 1, key]
  const auto log_relation = [&](const Tensor& x) {
    const auto split = full(x).unflatten(-1, {heads, x.size(-1) / heads}).transpose(1, 2);
    const auto scores = torch::matmul(split, split.transpose(-1, -2)) / std::sqrt(static_cast<double>(split.size(-1)));
    return torch::log_softmax(scores.masked_fill(padding, std::numeric_limits<float>::lowest()), -1);
  };
  const auto t = log_relation(teacher);
  const auto divergence = t.exp() * (t - log_relation(student)).masked_fill(padding, 0.0);
  return mean_where(divergence.sum(-1), full(mask).unsqueeze(1));
}

std::vector<LayerPair> uniform_layer_map(int64_t student_layers, int64_t teacher_layers) {
  std::vector<LayerPair> map;
  for (int64_t i = 0; i < student_layers; ++i)
    map.push_back({i, std::max<int64_t>((i + 1) * teacher_layers / student_layers - 1, 0)});
  return map;
}

std::vector<LayerPair> last_layer_map(int64_t student_layers, int64_t teacher_layers) {
  const auto count = std::min(student_layers, teacher_layers);
  std::vector<LayerPair> map;
  for (int64_t i = count; i > 0; --i) map.push_back({student_layers - i, teacher_layers - i});
  return map;
}

}  // namespace compression::distill
