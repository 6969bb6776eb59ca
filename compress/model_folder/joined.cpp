#include "compress/model_folder/joined.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <string>
#include <utility>
#include <vector>

#include "compress/base/error.h"           // CheckpointError
#include "compress/families/name_table.h"  // joined_tensors, transposed_tensors

namespace compression {
namespace {

/// "attn.Wqkv.input_scale" of "attn.Wqkv.weight".
std::string beside(const std::string& name, std::string_view leaf) {
  return name.substr(0, name.rfind('.') + 1) + std::string(leaf);
}

void take_apart(const JoinedTensor& joined, std::string_view leaf, StoredState& state, const std::string& source) {
  const auto found = state.find(beside(joined.name, leaf));
  if (found == state.end()) return;
  const auto whole = found->second;
  const bool of_all = leaf == "input_scale";  // one number
  int64_t rows = 0;
  for (const auto& part : joined.parts) rows += part.rows;
  if (!of_all && (whole.sizes().empty() || whole.sizes().front() != rows)) {
    throw CheckpointError(fmt::format("{}: tensor {}: found {} rows, expected {}: those of {} and {} others", source,
                                      found->first, whole.sizes().empty() ? 1 : whole.sizes().front(), rows,
                                      joined.parts.front().name, joined.parts.size() - 1));
  }
  state.erase(found);
  int64_t first = 0;
  for (const auto& [name, count] : joined.parts) {
    auto sizes = whole.sizes().vec();
    if (!of_all) sizes.front() = count;
    const auto take = [of_all, first, count](const torch::Tensor& t) { return of_all ? t : t.narrow(0, first, count); };
    state.emplace(beside(name, leaf), whole.derived(std::move(sizes), take));
    first += count;
  }
}

void put_together(const JoinedTensor& joined, std::string_view leaf, StateDict& state) {
  std::vector<torch::Tensor> parts;
  for (const auto& part : joined.parts) {
    const auto found = state.find(beside(part.name, leaf));
    if (found == state.end()) return;
    parts.push_back(found->second);
    state.erase(found);
  }
  const auto all = torch::cat(parts);
  state[beside(joined.name, leaf)] = leaf == "input_scale" ? all.amax({0}, /*keepdim=*/true) : all;
}

template <class Visit>
void each_leaf(const ModelConfig& config, Visit&& visit) {
  for (const auto& joined : joined_tensors(config)) {
    const auto leaf = joined.name.substr(joined.name.rfind('.') + 1);
    visit(joined, leaf);
    if (leaf != "weight") continue;
    visit(joined, "weight_scale");
    visit(joined, "input_scale");
  }
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
  each_leaf(config,
            [&](const JoinedTensor& joined, std::string_view leaf) { take_apart(joined, leaf, state, source); });
}

void put_together(const ModelConfig& config, StateDict& state) {
  each_leaf(config, [&](const JoinedTensor& joined, std::string_view leaf) { put_together(joined, leaf, state); });
  for (const auto& name : transposed_tensors(config)) {
    if (const auto found = state.find(name); found != state.end()) found->second = found->second.t().contiguous();
  }
}

}  // namespace compression
