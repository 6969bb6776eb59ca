#include "distill/losses.h"

#include <torch/types.h>

#include <stdexcept>

#include "compress/model/autocast.h"  // Autocast

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

constexpr double smallest = 1e-12;  // mean square of a token that others are divided by

/// 1 - cosine along the last dimension.
Tensor cosine_distance(const Tensor& a, const Tensor& b) {
  return 1.0 - torch::cosine_similarity(a, b, -1);
}

[[noreturn]] void no_such_distance(const char* loss) {
  throw std::invalid_argument(std::string(loss) + ": a distance that it does not know");
}

/// Of each token: [batch, sequence].
Tensor hidden_distances(const Tensor& student, const Tensor& teacher, Distance distance) {
  switch (distance) {
    case Distance::mse:
      return (full(student) - full(teacher)).square().mean(-1);
    case Distance::normalized_mse:
      return (full(student) - full(teacher)).square().mean(-1) / full(teacher).square().mean(-1).clamp_min(smallest);
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
