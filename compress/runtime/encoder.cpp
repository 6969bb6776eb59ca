#include "compress/runtime/encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "compress/base/error.h"          // UnsupportedError
#include "compress/kernels/team.h"        // run_together
#include "compress/kernels/threads.h"     // available_threads
#include "compress/runtime/batch.h"       // as_batch, without_padding, divided
#include "compress/runtime/group_pass.h"  // GroupPass, Space
#include "compress/runtime/weights.h"     // Weights

namespace compression::runtime {

Encoder::Encoder(EncoderState state) : weights_(std::make_unique<const Weights>(read_weights(std::move(state)))) {}

Encoder::~Encoder() = default;

EncoderState Encoder::state() const {
  return state_of(*weights_);
}

int64_t Encoder::classes() const {
  return weights_->classifier ? weights_->classifier->out : weights_->hidden;
}

const StoredMatrix& Encoder::words() const {
  return weights_->word;
}

int64_t Encoder::state_width() const {
  return weights_->reads_all_tokens() ? weights_->dense->out : weights_->hidden;
}

void Encoder::forward(const PaddedTokens& tokens, float* out) const {
  run(tokens, false, out);
}

void Encoder::last_hidden_state(const PaddedTokens& tokens, float* out) const {
  run(tokens, true, out);
}

void Encoder::forward(const Texts& texts, float* out) const {
  run(texts, false, out);
}

void Encoder::last_hidden_state(const Texts& texts, float* out) const {
  run(texts, true, out);
}

std::unique_ptr<Space> Encoder::take_space() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (spaces_.empty()) return std::make_unique<Space>();
  auto space = std::move(spaces_.back());
  spaces_.pop_back();
  return space;
}

namespace {

void check_length(int64_t tokens, int64_t most) {
  if (tokens == 0) throw UnsupportedError("compress.Encoder: texts of no tokens");
  if (tokens <= most) return;
  throw UnsupportedError(
      fmt::format("compress.Encoder: a text of {} tokens: this model has positions for {}", tokens, most));
}

}  // namespace

void Encoder::run(const PaddedTokens& tokens, bool all_tokens, float* out) const {
  if (tokens.rows > 0 || tokens.columns > 0) check_length(tokens.columns, weights_->max_length);
  if (all_tokens) std::fill_n(out, tokens.rows * tokens.columns * state_width(), 0.0f);
  run(without_padding(tokens, weights_->padding_position), all_tokens, out);
}

void Encoder::run(const Texts& texts, bool all_tokens, float* out) const {
  for (size_t t = 0; t + 1 < texts.begin.size(); ++t) {
    check_length(texts.begin[t + 1] - texts.begin[t], weights_->max_length);
  }
  run(as_batch(texts, weights_->padding_position), all_tokens, out);
}

void Encoder::run(const Batch& batch, bool all_tokens, float* out) const {
  check(batch, *weights_, !all_tokens && !weights_->head_mean);
  if (batch.texts() == 0) return;
  const auto width = all_tokens ? state_width() : classes();
  const auto threads = kernels::available_threads();
  const auto division = divided(batch, threads);
  std::vector<std::unique_ptr<Space>> spaces(static_cast<size_t>(division.together ? 1 : threads));
  for (auto& space : spaces) {
    space = take_space();
    reserve(*weights_, batch, division.groups, division.together ? threads : 1, *space);
  }
  std::atomic<size_t> taken{0};
  kernels::run_together(threads, [&](const kernels::Member& member) {
    const auto pass = [&](const Group& group, Space& space, const kernels::Member& one) {
      GroupPass(*weights_, batch, group, space, one).run(all_tokens, out, width);
    };
    if (division.together) {
      for (const auto& group : division.groups) pass(group, *spaces.front(), member);
      return;
    }
    for (auto i = taken++; i < division.groups.size(); i = taken++) {
      pass(division.groups[i], *spaces[static_cast<size_t>(member.index)], kernels::Member());
    }
  });
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto& space : spaces) spaces_.push_back(std::move(space));
}

}  // namespace compression::runtime
