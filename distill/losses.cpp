#include "distill/losses.h"

#include <torch/types.h>

namespace compression::distill {

torch::Tensor logits_loss(const torch::Tensor& student, const torch::Tensor& teacher, double temperature) {
  const auto log_student = torch::log_softmax(student.to(torch::kFloat) / temperature, -1);
  const auto log_teacher = torch::log_softmax(teacher.to(torch::kFloat) / temperature, -1);
  const auto divergence = torch::kl_div(log_student, log_teacher, at::Reduction::Sum, /*log_target=*/true);
  return divergence * (temperature * temperature / static_cast<double>(student.size(0)));
}

torch::Tensor hidden_loss(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& mask) {
  const auto real = mask.to(torch::kFloat);
  const auto per_token = (student.to(torch::kFloat) - teacher.to(torch::kFloat)).square().mean(-1);
  return (per_token * real).sum() / real.sum();
}

torch::Tensor attention_loss(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& mask) {
  const bool same_heads = student.size(1) == teacher.size(1);
  const auto maps = [&](const torch::Tensor& t) {
    return same_heads ? t.to(torch::kFloat) : t.to(torch::kFloat).mean(1, true);
  };
  const auto real = mask.to(torch::kFloat);
  const auto pairs = real.unsqueeze(1).unsqueeze(2) * real.unsqueeze(1).unsqueeze(3);  // [batch, 1, query, key]
  const auto squares = (maps(student) - maps(teacher)).square() * pairs;
  return squares.sum() / (pairs.sum() * squares.size(1));
}

std::vector<LayerPair> uniform_layer_map(int64_t student_layers, int64_t teacher_layers) {
  std::vector<LayerPair> map;
  for (int64_t i = 0; i < student_layers; ++i)
    map.push_back({i, std::max<int64_t>((i + 1) * teacher_layers / student_layers - 1, 0)});
  return map;
}

}  // namespace compression::distill
