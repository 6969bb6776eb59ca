#include "compress/evaluate/instances.h"

#include <ATen/Parallel.h>
#include <sched.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;

TEST_CASE("instances run at once, in threads and on processors of their own") {
  const auto before = at::get_num_threads();
  at::set_num_threads(4);
  std::mutex mutex;
  std::set<std::thread::id> ids;
  std::set<int64_t> seen;
  std::atomic<int> here{0};
  std::vector<cpu_set_t> places(2);
  run_instances(2, [&](int64_t i) {
    ++here;
    while (here < 2) std::this_thread::yield();  // hangs if they do not run at once
    const std::lock_guard<std::mutex> lock(mutex);
    CHECK(at::get_num_threads() == 2);
    sched_getaffinity(0, sizeof(cpu_set_t), &places[static_cast<size_t>(i)]);
    ids.insert(std::this_thread::get_id());
    seen.insert(i);
  });
  CHECK(ids.size() == 2);
  CHECK(seen == std::set<int64_t>{0, 1});
  CHECK(at::get_num_threads() == 4);
  at::set_num_threads(before);
  cpu_set_t all, both;
  sched_getaffinity(0, sizeof all, &all);
  CPU_AND(&both, &places[0], &places[1]);
  if (CPU_COUNT(&all) > 1) CHECK(CPU_COUNT(&both) == 0);
  CHECK(CPU_COUNT(&places[0]) >= 1);
}

TEST_CASE("one model is called from many threads at once, and gives what it gives to one") {
  const auto kind = GENERATE(0, 1, 2, 3);
  auto model = tiny_model();
  if (kind == 0) model->set_fused(Arithmetic::int16);
  if (kind == 1) model->set_fused(Arithmetic::bfloat16);
  if (kind > 1) {
    const at::NoGradGuard no_grad;
    for (auto& linear : model->linears()) {
      linear->store(WeightFormat::int8);
    }
    // 3: layer by layer, not as a whole.
    model->config().linear_format = kind == 2 ? WeightFormat::int8 : WeightFormat::float32;
  }
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  auto twin = kind < 2 ? copy(model) : model;
  std::vector<torch::Tensor> found(8);
  run_instances(8, [&](int64_t i) {  // the first calls make what is kept
    const at::NoGradGuard no_grad;
    for (int again = 0; again < 3; ++again) found[static_cast<size_t>(i)] = model->forward(batch).logits;
  });
  twin->set_fused(model->encoder->fused);
  const at::NoGradGuard no_grad;
  const auto expected = twin->forward(batch).logits;
  for (const auto& logits : found) CHECK(torch::equal(logits, expected));
}

TEST_CASE("an instance that fails is told when all are done") {
  std::atomic<int> done{0};
  CHECK_THROWS_WITH(run_instances(3,
                                  [&](int64_t i) {
                                    ++done;
                                    if (i == 1) throw std::runtime_error("no");
                                  }),
                    "no");
  CHECK(done == 3);
  CHECK_THROWS_AS(run_instances(0, [](int64_t) {}), std::invalid_argument);
}

}  // namespace
}  // namespace compression
