#include "prune/cut.h"

#include <fmt/format.h>
#include <torch/types.h>

#include "compress/base/error.h"   // ConfigError
#include "compress/base/fields.h"  // enum_name

namespace compression::prune {
namespace {

void check_groups(size_t groups, size_t kept) {
  if (groups != kept) throw std::invalid_argument(fmt::format("{} groups of units, and choices for {}", groups, kept));
}

}  // namespace

torch::Tensor features_of(const torch::Tensor& units, int64_t width) {
  return (units.unsqueeze(1) * width + torch::arange(width, torch::kLong)).flatten();
}

torch::Tensor best_units(const torch::Tensor& scores, int64_t count) {
  const auto order = std::get<1>(scores.sort(/*stable=*/true, /*dim=*/0, /*descending=*/true));
  return std::get<0>(order.slice(0, 0, count).sort());
}

std::vector<torch::Tensor> keep_best(const Importance& importance, const std::vector<int64_t>& counts) {
  check_groups(importance.size(), counts.size());
  check_finite(importance, "importance");
  std::vector<torch::Tensor> kept;
  for (size_t i = 0; i < importance.size(); ++i) {
    const auto& group = importance[i];
    const auto all = group.scores.size(0);
    if (counts[i] < 0 || counts[i] > all) {
      throw ConfigError(fmt::format("{}: {} to keep in every layer, but layer {} has {}", enum_name(group.kind),
                                    counts[i], group.layer, all));
    }
    kept.push_back(best_units(group.scores, counts[i]));
  }
  return kept;
}

std::vector<torch::Tensor> choose_units(const Importance& importance, const Counts& counts) {
  std::vector<int64_t> each;
  for (const auto& group : importance) {
    const auto count = group.kind == UnitKind::heads ? counts.heads : counts.intermediate_size;
    each.push_back(count.value_or(group.scores.size(0)));
  }
  return keep_best(importance, each);
}

void mask_units(Prunable& model, const std::vector<torch::Tensor>& kept) {
  const auto groups = model.prunable_units();
  check_groups(groups.size(), kept.size());
  for (size_t i = 0; i < groups.size(); ++i) {
    auto mask = torch::zeros({groups[i].count}, torch::kFloat);
    mask.index_fill_(0, kept[i], 1.0);
    *groups[i].mask = mask.to(groups[i].columns.front().device());
  }
}

void clear_masks(Prunable& model) {
  for (const auto& group : model.prunable_units()) group.mask->reset();
}

void cut_units(Prunable& model, const std::vector<torch::Tensor>& kept) {
  const c10::InferenceMode ordinary(false);  // what is left can be trained
  const at::NoGradGuard no_grad;
  auto groups = model.prunable_units();
  check_groups(groups.size(), kept.size());
  for (size_t i = 0; i < groups.size(); ++i) {
    auto& group = groups[i];
    const auto features = features_of(kept[i], group.width);
    const auto cut = [&](torch::Tensor& tensor, int64_t dimension) {
      tensor.mutable_grad().reset();
      tensor.set_data(tensor.index_select(dimension, features.to(tensor.device())).contiguous());
    };
    for (auto& tensor : group.rows) cut(tensor, 0);
    for (auto& tensor : group.columns) cut(tensor, 1);
    group.mask->reset();
    if (group.resized) {
      const auto* units = kept[i].data_ptr<int64_t>();
      group.resized({units, units + kept[i].numel()});
    }
  }
}

}  // namespace compression::prune
