#include <ATen/Parallel.h>

#include "compress/kernels/adamw.h"
#include "compress/kernels/attention.h"
#include "compress/kernels/int16_matmul.h"
#include "compress/kernels/rows.h"
#include "compress/model/layers.h"
#include "compress/model/relative_positions.h"
#include "tests/kernels/kernels.h"

namespace compression {
namespace {

using namespace testing;
using torch::Tensor;

double relative_error(const Tensor& found, const Tensor& expected) {
  return ((found.to(torch::kDouble) - expected).norm() / expected.norm()).item<double>();
}

TEST_CASE("int16 products are exact to eleven bits for any shape") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  at::manual_seed(1);
  for (const auto& [rows, in, out] : std::vector<std::array<int64_t, 3>>{
           {1, 1, 1}, {2, 3, 5}, {7, 10, 6}, {37, 33, 50}, {64, 64, 96}, {131, 601, 47}, {1100, 96, 40}}) {
    INFO(rows << " x " << in << " -> " << out);
    const auto x = torch::randn({rows, in}), w = torch::randn({out, in}), bias = torch::randn({out}),
               dy = torch::randn({rows, out});
    const auto X = x.to(torch::kDouble), W = w.to(torch::kDouble), D = dy.to(torch::kDouble);
    kernels::Int16Rows packed;
    kernels::Int16Weight weight;
    kernels::quantize_rows(floats(x), rows, in, in, nullptr, packed);
    kernels::pack_weight(floats(w), out, in, weight);
    const auto y = torch::full({rows, out + 3}, 7.0f);  // rows that are apart
    kernels::matmul_forward(packed, weight, floats(bias), floats(y), out + 3);
    CHECK(relative_error(y.slice(1, 0, out), X.mm(W.t()) + bias) < 2e-3);
    CHECK(y.slice(1, out).eq(7.0f).all().item<bool>());
    for (const bool accumulate : {false, true}) {
      const auto dx = torch::ones({rows, in}), dw = torch::ones({out, in});
      kernels::matmul_input_gradient(floats(dy), rows, out, weight, floats(dx), in, accumulate);
      kernels::matmul_weight_gradient(floats(dy), out, out, packed, floats(dw), accumulate);
      CHECK(relative_error(dx - (accumulate ? 1.0 : 0.0), D.mm(W)) < 2e-3);
      CHECK(relative_error(dw - (accumulate ? 1.0 : 0.0), D.t().mm(X)) < 2e-3);
    }
  }
}

TEST_CASE("int16 products of the largest sums do not overflow, and NaN and zeros stay what they are") {
  const auto x = torch::ones({3, 1024}), w = torch::ones({2, 1024});
  x[1].fill_(0.0);
  x[2][5] = std::numeric_limits<float>::quiet_NaN();
  kernels::Int16Rows packed;
  kernels::Int16Weight weight;
  kernels::quantize_rows(floats(x), 3, 1024, 1024, nullptr, packed);
  kernels::pack_weight(floats(w), 2, 1024, weight);
  const auto y = torch::empty({3, 2});
  kernels::matmul_forward(packed, weight, nullptr, floats(y), 2);
  check_close(y[0], torch::full({2}, 1024.0), 1e-2);
  CHECK(y[1].eq(0.0).all().item<bool>());
  CHECK(y[2].isnan().all().item<bool>());
}

TEST_CASE("attention and its gradients are those of LibTorch, in sequences of any length") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  at::manual_seed(2);
  struct Kind {
    bool first_only = false, biased = false, causal = false;
    int64_t window = 0, group = 1;
  };
  for (const int64_t size : {8, 32, 20}) {
    for (const auto& [first_only, biased, causal, window, group] :
         {Kind{}, Kind{.first_only = true}, Kind{.biased = true}, Kind{.first_only = true, .biased = true},
          Kind{.window = 1}, Kind{.window = 5}, Kind{.window = 70}, Kind{.first_only = true, .window = 5},
          Kind{.biased = true, .window = 40}, Kind{.causal = true}, Kind{.causal = true, .window = 33},
          Kind{.group = 2}, Kind{.first_only = true, .group = 4}, Kind{.causal = true, .window = 7, .group = 4}}) {
      const double scale = (biased ? 0.7 : 1.0) / std::sqrt(static_cast<double>(size));
      INFO("size " << size << " first_only " << first_only << " biased " << biased << " causal " << causal << " window "
                   << window << " group " << group);
      constexpr int64_t heads = 4, reach = 120;
      const std::vector<int64_t> begin = {0, 1, 18, 131, 140};
      const auto bias = torch::randn({heads, 2 * reach - 1}).requires_grad_();
      const auto tokens = begin.back(), width = heads * size, sequences = static_cast<int64_t>(begin.size()) - 1;
      const auto rows = first_only ? sequences : tokens, kv_width = width / group;
      const auto query = torch::randn({rows, width}).requires_grad_(),
                 key = torch::randn({tokens, kv_width}).requires_grad_(),
                 value = torch::randn({tokens, kv_width}).requires_grad_();
      const auto gradient = torch::randn({rows, width});
      std::vector<Tensor> contexts;
      for (int64_t s = 0; s < sequences; ++s) {
        const auto part = [&](const Tensor& t, int64_t from, int64_t to) {
          return t.slice(0, from, to).view({1, to - from, -1, size}).transpose(1, 2);
        };
        const auto of_keys = [&](const Tensor& t, int64_t from, int64_t to) {
          return part(t, from, to).repeat_interleave(group, 1);
        };
        const auto b = begin[static_cast<size_t>(s)], e = begin[static_cast<size_t>(s) + 1];
        const auto q = first_only ? part(query, s, s + 1) : part(query, b, e);
        auto scores = torch::matmul(q, of_keys(key, b, e).transpose(-1, -2)) * scale;
        const auto place = torch::arange(e - b);
        const auto distance = place.unsqueeze(0) - place.slice(0, 0, q.size(2)).unsqueeze(1);  // of a key, behind
        if (biased) {
          const auto rows_of_bias = (distance + reach - 1).flatten();
          scores = scores + bias.index_select(1, rows_of_bias).view({heads, q.size(2), e - b});
        }
        if (causal) scores = scores.masked_fill(distance.gt(0), -INFINITY);
        if (window > 0) scores = scores.masked_fill(distance.abs().gt(window), -INFINITY);
        const auto p = torch::softmax(scores, -1);
        contexts.push_back(torch::matmul(p, of_keys(value, b, e)).transpose(1, 2).reshape({-1, width}));
      }
      const auto expected = torch::cat(contexts);
      expected.backward(gradient);

      const kernels::AttentionShape shape{.sequences = sequences,
                                          .begin = begin.data(),
                                          .heads = heads,
                                          .head_size = size,
                                          .group = group,
                                          .scale = static_cast<float>(scale),
                                          .first_query_only = first_only,
                                          .causal = causal,
                                          .window = window,
                                          .bias = biased ? floats(bias) : nullptr,
                                          .reach = biased ? reach : 0};
      const auto context = torch::empty({rows, width}), sums = torch::empty({heads, rows});
      const auto in = [&](const Tensor& t) { return kernels::ConstRows{floats(t), t.size(1)}; };
      const auto out = [&](const Tensor& t) { return kernels::Rows{floats(t), t.size(1)}; };
      kernels::attention_forward(shape, in(query), in(key), in(value), out(context), floats(sums));
      check_close(context, expected, 1e-5);
      const auto dq = torch::empty({rows, width}), dk = torch::empty({tokens, kv_width}),
                 dv = torch::empty({tokens, kv_width});
      const auto d_bias = torch::ones_like(bias);
      kernels::attention_backward(shape, in(query), in(key), in(value), in(context), floats(sums), in(gradient),
                                  out(dq), out(dk), out(dv), biased ? floats(d_bias) : nullptr);
      if (biased) check_close(d_bias - 1.0, bias.grad(), 1e-4);
      check_close(dq, query.grad(), 1e-5);
      check_close(dk, key.grad(), 2e-5);
      check_close(dv, value.grad(), 2e-5);
    }
  }
}

TEST_CASE("dropout of attention is the same mask with a window as without") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  constexpr int64_t tokens = 60, size = 60;
  const std::vector<int64_t> begin = {0, tokens};
  const auto same = torch::zeros({tokens, size}), value = torch::eye(tokens);
  const auto kept_of = [&](int64_t window) {
    const auto context = torch::empty({tokens, size}), sums = torch::empty({1, tokens});
    kernels::attention_forward(
        {.sequences = 1, .begin = begin.data(), .heads = 1, .head_size = size, .window = window, .dropout = {0.3f, 5}},
        {floats(same), size}, {floats(same), size}, {floats(value), size}, {floats(context), size}, floats(sums));
    return context.ne(0.0);
  };
  const auto place = torch::arange(tokens);
  const auto near = (place.unsqueeze(0) - place.unsqueeze(1)).abs().le(9);
  CHECK(torch::equal(kept_of(9), kept_of(0).logical_and(near)));
}

TEST_CASE("norms and their gradients are LibTorch's, of sums that are kept, with and without mean and bias") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  at::manual_seed(6);
  constexpr int64_t rows = 70, width = 37;
  for (const bool rms : {false, true}) {
    for (const bool biased : {false, true}) {
      INFO("rms " << rms << " biased " << biased);
      const auto leaf = [&](const Tensor& t) { return t.clone().requires_grad_(); };
      const auto x = leaf(torch::randn({rows, width})), residual = leaf(torch::randn({rows, width}) + 1),
                 gamma = leaf(torch::rand({width}) + 0.5), beta = leaf(torch::randn({width}));
      const auto dy = torch::randn({rows, width}), others = torch::randn({rows, width});
      const auto sum = x + residual;
      const auto expected = rms ? torch::rms_norm(sum, {width}, gamma, 1e-5) + (biased ? beta : torch::zeros({width}))
                                : torch::layer_norm(sum, {width}, gamma, biased ? beta : Tensor(), 1e-5);
      ((expected * dy).sum() + (sum * others).sum()).backward();

      const kernels::NormShape shape{.rows = rows, .width = width, .eps = 1e-5, .rms = rms};
      const auto y = torch::empty_like(dy), kept = torch::empty_like(dy), normalized = torch::empty_like(dy),
                 inverse = torch::empty({rows}), dx = torch::empty_like(dy), d_gamma = torch::ones({width}),
                 d_beta = torch::ones({width}), d_bias = torch::ones({width});
      kernels::add_norm_forward(shape, floats(x), floats(residual), floats(gamma), biased ? floats(beta) : nullptr, {},
                                floats(y), floats(normalized), floats(inverse), floats(kept));
      check_close(y, expected, 1e-5);
      check_close(kept, sum, 0.0);
      kernels::add_norm_backward(shape, floats(dy), floats(normalized), floats(inverse), floats(gamma), {}, floats(dx),
                                 floats(dx), floats(d_gamma), biased ? floats(d_beta) : nullptr, floats(d_bias),
                                 floats(others));
      check_close(dx, x.grad(), 1e-5);
      check_close(d_gamma - 1, gamma.grad(), 2e-5);
      check_close(d_bias - 1, x.grad().sum(0), 2e-5);
      if (biased) check_close(d_beta - 1, beta.grad(), 2e-5);
    }
  }
}

TEST_CASE("heads are turned by their places, and back") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  at::manual_seed(7);
  constexpr int64_t rows = 50, heads = 3;
  for (const int64_t size : {2, 10, 64}) {
    INFO("size " << size);
    const auto x = torch::randn({rows, heads * size}), turned = x.clone();
    const auto place = torch::randint(0, 20, {rows}, torch::kLong);
    const auto [cosine, sine] = rotary_angles(100.0, 20, size, torch::kCPU);
    const auto rotate = [&](bool back) {
      kernels::rotate_heads(rows, heads, size, place.data_ptr<int64_t>(), floats(cosine), floats(sine), back,
                            floats(turned));
    };
    rotate(false);
    const auto pairs = torch::complex(x.view({rows, heads, 2, size / 2}).select(2, 0),
                                      x.view({rows, heads, 2, size / 2}).select(2, 1));
    const auto step = torch::pow(100.0, -torch::arange(0, size, 2, torch::kDouble) / static_cast<double>(size));
    const auto angle = torch::outer(place.to(torch::kDouble), step).unsqueeze(1);
    const auto expected = torch::view_as_real(pairs * torch::polar(torch::ones_like(angle), angle));
    check_close(turned.view({rows, heads, 2, size / 2}), expected.permute({0, 1, 3, 2}), 2e-5);
    rotate(true);
    check_close(turned, x, 2e-6);
  }
}

TEST_CASE("activations and their gradients are LibTorch's, each of them, and gated") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  at::manual_seed(5);
  const auto x = (torch::randn({5, 37}) * 4).requires_grad_(), dy = torch::randn({5, 37});
  const auto gate = torch::randn({5, 37}).requires_grad_();
  for (const auto& [activation, name] : enum_names(Activation{})) {
    for (const bool gated : {false, true}) {
      INFO(name << (gated ? " gated" : ""));
      x.mutable_grad().reset();
      gate.mutable_grad().reset();
      const auto expected = gated ? activate(x, activation) * gate : activate(x, activation) * 1;
      expected.backward(dy);
      const auto y = torch::empty_like(x), dx = torch::empty_like(x), d_gate = torch::empty_like(x),
                 sums = torch::ones({37}), gate_sums = torch::ones({37});
      const float* given = gated ? floats(gate) : nullptr;
      kernels::activation_forward(activation, 5, 37, floats(x), floats(y), given);
      kernels::activation_backward(activation, 5, 37, floats(x), floats(dy), floats(dx), floats(sums), given,
                                   floats(d_gate), floats(gate_sums));
      check_close(y, expected, 4e-6);
      check_close(dx, x.grad(), 4e-6);
      check_close(sums, 1 + x.grad().sum(0), 2e-5);
      if (!gated) continue;
      check_close(d_gate, gate.grad(), 1e-5);
      check_close(gate_sums, 1 + gate.grad().sum(0), 2e-5);
    }
  }
}

TEST_CASE("dropout beside a residual alone is that before a norm") {
  const OnlyTarget target(GENERATE(from_range(targets())));
  constexpr int64_t rows = 40, width = 37;
  const auto x = torch::randn({rows, width}), residual = torch::randn({rows, width}), gamma = torch::ones({width});
  const kernels::Dropout dropout{0.3f, 9};
  auto sum = torch::empty_like(x), y = torch::empty_like(x), inverse = torch::empty({rows});
  kernels::add_norm_forward({.rows = rows, .width = width}, floats(x), floats(residual), floats(gamma), nullptr,
                            dropout, floats(y), nullptr, floats(inverse), floats(sum));
  kernels::add_dropout(rows, width, floats(x), floats(residual), dropout, floats(y));
  CHECK(torch::equal(y, sum));
  kernels::add_dropout(rows, width, floats(x), nullptr, dropout, floats(y));
  const auto kept = y.ne(0.0).to(torch::kFloat);
  CHECK(kept.mean().item<double>() == Approx(0.7).margin(0.05));
  check_close(y, x * kept / 0.7, 1e-6);
}

TEST_CASE("dropout zeroes the share that it is asked for and keeps the mean") {
  constexpr int64_t rows = 400, width = 256;
  const auto x = torch::ones({rows, width}), gamma = torch::ones({width}), beta = torch::zeros({width});
  auto y = torch::empty_like(x), normalized = torch::empty_like(x), inverse = torch::empty({rows});
  const auto run = [&](double probability, uint64_t seed) {
    kernels::add_norm_forward({.rows = rows, .width = width, .eps = 1e-12}, floats(x), nullptr, floats(gamma),
                              floats(beta), {static_cast<float>(probability), seed}, floats(y), floats(normalized),
                              floats(inverse));
    return y.lt(0.0).to(torch::kFloat);  // a dropped value lies below its row's mean
  };
  for (const double p : {0.1, 0.25, 0.5}) {
    const auto dropped = run(p, 9).clone();
    CHECK(dropped.mean().item<double>() == Approx(p).margin(0.005));
    CHECK(dropped.mean(0).sub(p).abs().max().item<double>() < 0.15);  // no column is special
    CHECK(dropped.mean(1).sub(p).abs().max().item<double>() < 0.15);
    const auto other = run(p, 10);
    CHECK(dropped.eq(other).to(torch::kFloat).mean().item<double>() == Approx(p * p + (1 - p) * (1 - p)).margin(0.01));
  }
}

TEST_CASE("one step of AdamW is PyTorch's, and rows caught up later have the bits of steps with zero gradients") {
  at::manual_seed(3);
  constexpr int64_t rows = 7, width = 21;
  const auto step_of = [](int t) {
    const double lr = 1e-2 / t;
    return kernels::AdamWStep{.decay = static_cast<float>(1 - lr * 0.1),
                              .rate = static_cast<float>(lr / (1 - std::pow(0.9, t))),
                              .root = static_cast<float>(1 / std::sqrt(1 - std::pow(0.999, t))),
                              .beta1 = 0.9f,
                              .beta2 = 0.999f,
                              .eps = 1e-8f,
                              .gradient_scale = 1.0f};
  };
  auto p = torch::randn({rows, width}), m = torch::zeros_like(p), v = torch::zeros_like(p);
  p[6].zero_();
  auto theirs = p.clone(), their_m = m.clone(), their_v = v.clone();
  auto late = p.clone(), late_m = m.clone(), late_v = v.clone();
  std::vector<kernels::AdamWStep> steps;
  std::vector<int64_t> all = {0, 1, 2, 3, 4, 5, 6}, since(rows, 0);
  for (int t = 1; t <= 1200; ++t) {
    auto gradient = torch::zeros({rows, width});
    const int64_t touched = t % 5 == 0 && t < 100 ? t % 3 : -1;
    if (touched >= 0) gradient[touched] = torch::randn({width});
    steps.push_back(step_of(t));
    kernels::adamw_update(steps.back(), p.numel(), floats(gradient), floats(p), floats(m), floats(v));
    const auto count = torch::full({}, t, torch::kFloat);
    at::_fused_adamw_({theirs}, {gradient}, {their_m}, {their_v}, {}, {count}, 1e-2 / t, 0.9, 0.999, 0.1, 1e-8, false,
                      false);
    if (touched < 0) continue;
    const std::vector<int64_t> row = {touched}, from = {since[static_cast<size_t>(touched)]};
    const std::span<const kernels::AdamWStep> before(steps.data(), steps.size() - 1);
    kernels::adamw_catch_up(before, row, from, width, floats(late), floats(late_m), floats(late_v));
    const auto values = gradient[touched].contiguous();
    kernels::adamw_update_rows(steps.back(), row, width, floats(values), floats(late), floats(late_m), floats(late_v));
    since[static_cast<size_t>(touched)] = t;
  }
  check_close(p, theirs, 1e-6);
  kernels::adamw_catch_up(steps, all, since, width, floats(late), floats(late_m), floats(late_v));
  CHECK(torch::equal(late, p));
  CHECK(torch::equal(late_m, m));
  CHECK(torch::equal(late_v, v));
}

TEST_CASE("sums of rows have the same bits with any number of threads") {
  const auto x = torch::randn({500, 33});
  const auto threads = at::get_num_threads();
  std::vector<Tensor> sums;
  for (const int n : {1, 2}) {
    at::set_num_threads(n);
    sums.push_back(torch::zeros({33}));
    kernels::add_column_sums(500, 33, floats(x), 33, floats(sums.back()));
  }
  at::set_num_threads(threads);
  CHECK(torch::equal(sums[0], sums[1]));
  check_close(sums[0], x.sum(0), 1e-4);
}

}  // namespace
}  // namespace compression
