#pragma once
// One group's way through the layers, as one member of a team goes it.

#include <cstdint>

#include "compress/kernels/buffer.h"   // Buffer
#include "compress/kernels/linear.h"   // LinearInput
#include "compress/kernels/team.h"     // Member
#include "compress/runtime/batch.h"    // Batch, Group
#include "compress/runtime/weights.h"  // Weights

namespace compression::runtime {

/// Buffers of one group.
struct Space {
  kernels::Buffer<float> x, middle, sum, qkv, context, wide, first;
  kernels::Buffer<uint32_t> input, inner_input;  // of products
  kernels::Buffer<float> input_scale, inner_scale;
  kernels::Buffer<float> turns;       // of rotary positions: [base][column][head_size], as rotate_rows() has them
  int64_t turned = 0;                 // columns that `turns` has
  kernels::Buffer<uint32_t> scratch;  // of attention
  int64_t scratch_words = 0;          // a member's
};

/// Room for the largest of the groups, worked on by so many members.
void reserve(const Weights& weights, const Batch& batch, const std::vector<Group>& groups, int64_t members,
             Space& space);

/// What is made of the sum of a product and the residual; null norms change nothing.
struct Junction {
  const NormWeight* norm = nullptr;             // of what goes on
  const NormWeight* input_norm = nullptr;       // of what `next` alone reads
  const kernels::LinearWeight* next = nullptr;  // null: no product reads it
};

class GroupPass {
 public:
  GroupPass(const Weights& weights, const Batch& batch, Group group, Space& space, const kernels::Member& member)
      : weights_(weights),
        batch_(batch),
        group_(group),
        space_(space),
        member_(member),
        token_(batch.tokens_before(group.first)),
        tokens_(batch.tokens_before(group.last) - token_),
        texts_(group.last - group.first) {}

  /// `out`: [texts, width] of the batch, or, all tokens, [rows * columns, width].
  void run(bool all_tokens, float* out, int64_t width) const;

 private:
  bool by_columns(int64_t rows) const;
  void meet(int64_t rows) const;
  void product(const kernels::LinearInput& x, const kernels::LinearWeight& weight, int64_t rows, kernels::Range panels,
               const kernels::Epilogue& epilogue, float* y, int64_t ld) const;
  void product(const kernels::LinearInput& x, const kernels::LinearWeight& weight, int64_t rows,
               const kernels::Epilogue& epilogue, float* y, int64_t ld) const;
  kernels::LinearInput input(const kernels::LinearWeight& weight) const;
  kernels::LinearInput inner_input(const kernels::LinearWeight& weight) const;
  void prepare(const float* x, int64_t rows, const kernels::LinearInput& to, int64_t columns) const;
  void join(const Junction& junction, const float* x, const float* residual, kernels::Range rows, int64_t width,
            float* y) const;
  template <class Place>
  void copy_rows(const float* from, int64_t rows, int64_t width, Place&& place) const;
  kernels::Range share(int64_t count) const;
  int64_t text_begin(int64_t text) const { return batch_.tokens_before(group_.first + text) - token_; }

  void embed() const;
  void layer(const Layer& l, bool first_only, const Junction& next) const;
  void queries_of_first(const Layer& l, const kernels::LinearInput& in, float* queries) const;
  void change_heads(const Layer& l, float* first_queries) const;
  void attention(const Layer& l, bool first_only, const float* query) const;
  void attend(const Layer& l, int64_t text, int64_t head, bool first_only, const float* query) const;
  template <class Multiply>
  void intermediate(const Layer& l, float* units, Multiply&& multiply) const;
  void feed_forward_by_columns(const Layer& l, int64_t rows, const Junction& next) const;
  void feed_forward_by_rows(const Layer& l, int64_t rows, const Junction& next) const;
  void pool() const;
  void write_all_tokens(float* out, int64_t width) const;
  void head(float* out, int64_t classes) const;

  const Weights& weights_;
  const Batch& batch_;
  const Group group_;
  Space& space_;
  const kernels::Member& member_;
  const int64_t token_, tokens_, texts_;
};

}  // namespace compression::runtime
