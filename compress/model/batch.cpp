#include "compress/model/batch.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>
#include <vector>

namespace compression {

const torch::Tensor& Batch::find(std::string_view name) const {
  static const torch::Tensor none;
  const auto found = tensors.find(name);
  return found == tensors.end() ? none : found->second;
}

const torch::Tensor& Batch::at(std::string_view name) const {
  if (const auto& tensor = find(name); tensor.defined()) return tensor;
  std::vector<std::string_view> there;
  for (const auto& [own, tensor] : tensors) {
    if (tensor.defined()) there.push_back(own);
  }
  throw std::invalid_argument(fmt::format("a batch of [{}], expected {} in it", fmt::join(there, ", "), name));
}

int64_t Batch::size() const {
  for (const auto& [name, tensor] : tensors) {
    if (tensor.defined()) return tensor.size(0);
  }
  return 0;
}

Batch Batch::to(torch::Device device) const {
  Batch moved = *this;
  for (auto& [name, tensor] : moved.tensors) {
    if (tensor.defined()) tensor = tensor.to(device);
  }
  return moved;
}

Batch text_batch(const torch::Tensor& input_ids, const torch::Tensor& attention_mask,
                 const torch::Tensor& token_type_ids, const torch::Tensor& labels, const torch::Tensor& examples) {
  Batch batch{.tensors = {}, .examples = examples};
  const auto add = [&](std::string_view name, const torch::Tensor& tensor) {
    if (tensor.defined()) batch[name] = tensor;
  };
  add("input_ids", input_ids);
  add("attention_mask", attention_mask);
  add("token_type_ids", token_type_ids);
  add("labels", labels);
  return batch;
}

torch::Tensor labelled_tokens(const torch::Tensor& labels) {
  return labels.flatten().ne(ignored_label).nonzero().squeeze(1);
}

}  // namespace compression
