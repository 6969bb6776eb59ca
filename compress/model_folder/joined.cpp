#include "compress/model_folder/joined.h"

#include <torch/types.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "compress/families/name_table.h"  // parts_of_joined, joined_tensors, norms_less_one

namespace compression {
namespace {

/// `leaf`: of the weight, its bias, or what storage and quantization keep beside it, of which a number is the largest
/// of all parts'.
void put_together(const JoinedTensor& joined, const std::string& leaf, StateDict& state) {
  std::vector<torch::Tensor> parts;
  for (const auto& part : joined.parts) {
    const auto found = state.find(beside(part.name, leaf));
    if (found == state.end()) return;
    parts.push_back(found->second);
  }
  for (const auto& part : joined.parts) state.erase(beside(part.name, leaf));
  const bool of_all = leaf != "weight" && leaf != "bias" && parts.front().dim() < 2 && parts.front().numel() == 1;
  const auto all = torch::cat(parts);
  state[beside(joined.name, leaf)] = of_all ? all.amax({0}, /*keepdim=*/true) : all;
}

}  // namespace

void take_apart(const ModelConfig& config, StoredState& state, const std::string& source) {
  for (const auto& name : transposed_tensors(config)) {
    const auto found = state.find(name);
    if (found == state.end() || found->second.sizes().size() != 2) continue;
    auto sizes = found->second.sizes().vec();
    std::swap(sizes[0], sizes[1]);
    found->second = found->second.derived(std::move(sizes), [](const torch::Tensor& t) { return t.t(); });
  }
  TensorShapes shapes;
  for (const auto& [name, tensor] : state) shapes[name] = tensor.sizes().vec();
  std::set<std::string> wholes;
  for (const auto& [whole, name, first, rows] : parts_of_joined(config, shapes, source)) {
    const auto& tensor = state.at(whole);
    auto sizes = tensor.sizes().vec();
    if (rows) sizes.front() = *rows;
    const auto take = [first = first, rows = rows](const torch::Tensor& t) {
      return rows ? t.narrow(0, first, *rows) : t;
    };
    state.insert_or_assign(name, tensor.derived(std::move(sizes), take));
    wholes.insert(whole);
  }
  for (const auto& whole : wholes) state.erase(whole);
  for (const auto& name : norms_less_one(config)) {
    const auto found = state.find(name);
    if (found == state.end()) continue;
    const auto sizes = found->second.sizes().vec();
    found->second = found->second.derived(sizes, [](const torch::Tensor& t) { return t.to(torch::kFloat) + 1.0; });
  }
}

void put_together(const ModelConfig& config, StateDict& state) {
  for (const auto& name : norms_less_one(config)) {
    if (const auto found = state.find(name); found != state.end()) found->second = found->second - 1.0;
  }
  for (const auto& joined : joined_tensors(config)) {
    const auto module = beside(joined.parts.front().name, "");
    std::vector<std::string> leaves;
    for (auto found = state.lower_bound(module); found != state.end() && found->first.starts_with(module); ++found) {
      leaves.push_back(found->first.substr(module.size()));
    }
    for (const auto& leaf : leaves) put_together(joined, leaf, state);
  }
  for (const auto& name : transposed_tensors(config)) {
    if (const auto found = state.find(name); found != state.end()) found->second = found->second.t().contiguous();
  }
}

}  // namespace compression
