#pragma once
// Encoded examples that a model reads together.

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace compression {

/// In a batch's labels: a token that has none.
inline constexpr int64_t ignored_label = -100;

/// Tensors by the names that Hugging Face's models have for what they read. The first dimension of each is the batch:
///   input_ids       int64 [batch, sequence]
///   attention_mask  int64 [batch, sequence]: 1 for a token, 0 for padding
///   token_type_ids  int64 [batch, sequence]
///   labels          of the task (docs/tasks.md), int64 [batch] for classes
/// One that is undefined is as one that is not there.
struct Batch {
  std::map<std::string, torch::Tensor, std::less<>> tensors = {};
  torch::Tensor examples = {};  // int64 [batch]: the rows' positions in the source

  /// The tensor of a name, to be changed; undefined where it is new.
  torch::Tensor& operator[](std::string_view name) { return tensors.try_emplace(std::string(name)).first->second; }

  /// Undefined where there is none.
  const torch::Tensor& find(std::string_view name) const;

  /// Throws std::invalid_argument, which tells the names that there are, where there is none.
  const torch::Tensor& at(std::string_view name) const;

  const torch::Tensor& input_ids() const { return at("input_ids"); }
  const torch::Tensor& attention_mask() const { return find("attention_mask"); }
  const torch::Tensor& token_type_ids() const { return find("token_type_ids"); }
  const torch::Tensor& labels() const { return find("labels"); }

  /// Rows; 0 without a tensor.
  int64_t size() const;

  /// The same on `device`; `examples` stay on the CPU, with the caches that they are looked up in.
  Batch to(torch::Device device) const;
};

/// A batch of texts; tensors that are undefined are left out.
Batch text_batch(const torch::Tensor& input_ids, const torch::Tensor& attention_mask = {},
                 const torch::Tensor& token_type_ids = {}, const torch::Tensor& labels = {},
                 const torch::Tensor& examples = {});

/// Positions of the tokens that have a label: int64 [labelled tokens], counted through labels [batch, sequence].
torch::Tensor labelled_tokens(const torch::Tensor& labels);

}  // namespace compression
