#include "compress/serve/batcher.h"

#include <catch2/catch.hpp>
#include <future>

#include "fake_model.h"

using namespace compression;
using namespace compression::serve;
using serve::testing::FakeModel;
using namespace std::chrono_literals;

namespace {

std::vector<Reading> readings(const FakeModel& model, std::initializer_list<int> words) {
  std::vector<Reading> all;
  for (const auto count : words) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "word ";
    all.push_back(model.read({.text = text}, {}));
  }
  return all;
}

/// A job with its end to wait for.
struct Asked {
  std::shared_ptr<std::promise<std::shared_ptr<Job>>> promise = std::make_shared<std::promise<std::shared_ptr<Job>>>();
  std::future<std::shared_ptr<Job>> done = promise->get_future();
  std::shared_ptr<Job> job;

  explicit Asked(std::vector<Reading> texts)
      : job(std::make_shared<Job>(std::move(texts),
                                  [p = promise](const std::shared_ptr<Job>& finished) { p->set_value(finished); })) {}

  std::shared_ptr<Job> wait() {
    REQUIRE(done.wait_for(20s) == std::future_status::ready);
    return done.get();
  }
};

}  // namespace

TEST_CASE("A batch is filled up to its budget of tokens, in the order in which texts came") {
  FakeModel model;
  Metrics metrics;
  model.hold(true);
  Batcher batcher({.batch_tokens = 12}, metrics);
  auto& queue = batcher.add(model, "m");
  Asked first(readings(model, {1}));
  batcher.submit(queue, first.job);
  model.wait_for_batches(1);
  Asked second(readings(model, {3, 4})), third(readings(model, {1, 8, 1}));  // 5, 6; 3, 10, 3 tokens
  batcher.submit(queue, second.job);
  batcher.submit(queue, third.job);
  model.hold(false);
  CHECK(first.wait()->results().size() == 1);
  const auto found = third.wait();
  CHECK(second.wait()->results().size() == 2);
  CHECK(model.batches() == std::vector<std::vector<int64_t>>{{3}, {5, 6}, {3}, {10}, {3}});
  REQUIRE(found->results().size() == 3);
  CHECK(found->results()[1].values[0] == 10.0f);
  CHECK(found->error() == nullptr);
  CHECK(found->compute_seconds() > 0.0);
  CHECK(metrics.counter("compress_tokens", "", {{"model", "m"}}).value() == 30.0);
}

TEST_CASE("A text longer than the budget is a batch by itself") {
  FakeModel model;
  Metrics metrics;
  Batcher batcher({.batch_tokens = 4}, metrics);
  auto& queue = batcher.add(model, "m");
  Asked asked(readings(model, {9, 1}));
  batcher.submit(queue, asked.job);
  CHECK(asked.wait()->results().size() == 2);
  CHECK(model.batches() == std::vector<std::vector<int64_t>>{{11}, {3}});
}

TEST_CASE("A text has all threads, and several texts are divided among them") {
  FakeModel model;
  Metrics metrics;
  Batcher batcher({.threads = 3}, metrics);
  auto& queue = batcher.add(model, "m");
  Asked alone(readings(model, {1}));
  batcher.submit(queue, alone.job);
  alone.wait();
  CHECK(model.threads() == std::vector{3});

  model.hold(true);
  Asked first(readings(model, {1, 1, 1, 1, 1, 1}));
  batcher.submit(queue, first.job);
  model.wait_for_batches(4);
  Asked second(readings(model, {1, 1}));  // no thread is free
  batcher.submit(queue, second.job);
  CHECK(model.batches() == std::vector<std::vector<int64_t>>{{3}, {3, 3}, {3, 3}, {3, 3}});
  CHECK(model.threads() == std::vector{3, 1, 1, 1});
  model.hold(false);
  CHECK(first.wait()->results().size() == 6);
  CHECK(second.wait()->results().size() == 2);
}

TEST_CASE("Whoever finds a thread free leaves their part to those that are still at work") {
  FakeModel model;
  Metrics metrics;
  model.hold(true);
  Batcher batcher({.threads = 2}, metrics);
  auto& queue = batcher.add(model, "m");
  Asked first(readings(model, {1, 1}));
  batcher.submit(queue, first.job);
  model.wait_for_batches(2);
  Asked second(readings(model, {1, 1, 1, 1}));
  batcher.submit(queue, second.job);
  model.hold(false);
  second.wait();
  first.wait();
  for (const auto& batch : model.batches()) CHECK(batch.size() <= 3);  // two of four and what the other has
}

TEST_CASE("Models take turns in the order in which requests came") {
  FakeModel one, other;
  Metrics metrics;
  Batcher batcher({}, metrics);
  auto &queue = batcher.add(one, "one"), &other_queue = batcher.add(other, "other");
  one.hold(true);
  Asked first(readings(one, {1}));
  batcher.submit(queue, first.job);
  one.wait_for_batches(1);
  other.hold(true);
  Asked second(readings(other, {1})), third(readings(one, {2}));
  batcher.submit(other_queue, second.job);
  batcher.submit(queue, third.job);
  one.hold(false);
  other.wait_for_batches(1);
  CHECK(one.batches().size() == 1);
  other.hold(false);
  third.wait();
  second.wait();
  CHECK(one.batches() == std::vector<std::vector<int64_t>>{{3}, {4}});
}

TEST_CASE("A request waits for others at most as long as it is told to") {
  FakeModel model;
  Metrics metrics;
  Batcher batcher({.batch_tokens = 12, .max_wait = 200ms}, metrics);
  auto& queue = batcher.add(model, "m");
  const auto begin = Job::Clock::now();
  Asked alone(readings(model, {1}));
  batcher.submit(queue, alone.job);
  alone.wait();
  const auto waited = Job::Clock::now() - begin;
  CHECK(waited >= 200ms);
  CHECK(waited < 10s);
}

TEST_CASE("A batch that is full does not wait") {
  FakeModel model;
  Metrics metrics;
  Batcher batcher({.batch_tokens = 12, .max_wait = 60s}, metrics);
  auto& queue = batcher.add(model, "m");
  Asked first(readings(model, {4})), second(readings(model, {4}));
  batcher.submit(queue, first.job);
  batcher.submit(queue, second.job);
  first.wait();
  second.wait();
  CHECK(model.batches() == std::vector<std::vector<int64_t>>{{6, 6}});
}

TEST_CASE("A queue that is full refuses, says when to try again, and takes more when there is room") {
  FakeModel model;
  Metrics metrics;
  model.hold(true);
  Batcher batcher({.batch_tokens = 4, .queue_tokens = 10}, metrics);
  auto& queue = batcher.add(model, "m");
  Asked computed(readings(model, {1})), waits(readings(model, {6}));  // 3, 8 tokens
  batcher.submit(queue, computed.job);
  model.wait_for_batches(1);
  batcher.submit(queue, waits.job);
  Asked refused(readings(model, {1}));
  try {
    batcher.submit(queue, refused.job);
    FAIL("was not refused");
  } catch (const RequestError& error) {
    CHECK(error.status() == 429);
    CHECK(error.retry_after().value_or(0) >= 1);
  }
  waits.job->cancel();  // room for another
  batcher.submit(queue, refused.job);
  model.hold(false);
  refused.wait();
  computed.wait();
  CHECK(model.batches() == std::vector<std::vector<int64_t>>{{3}, {3}});
  CHECK(waits.done.wait_for(0s) == std::future_status::timeout);
}

TEST_CASE("A request larger than the queue is taken where nothing waits") {
  FakeModel model;
  Metrics metrics;
  Batcher batcher({.batch_tokens = 4, .queue_tokens = 5}, metrics);
  auto& queue = batcher.add(model, "m");
  Asked asked(readings(model, {9, 9}));
  batcher.submit(queue, asked.job);
  CHECK(asked.wait()->results().size() == 2);
}

TEST_CASE("What nobody waits for any more is not computed") {
  FakeModel model;
  Metrics metrics;
  model.hold(true);
  Batcher batcher({.batch_tokens = 3}, metrics);
  auto& queue = batcher.add(model, "m");
  Asked first(readings(model, {1})), gone(readings(model, {5, 5})), last(readings(model, {1}));
  batcher.submit(queue, first.job);
  model.wait_for_batches(1);
  batcher.submit(queue, gone.job);
  batcher.submit(queue, last.job);
  gone.job->cancel();
  model.hold(false);
  last.wait();
  CHECK(model.batches() == std::vector<std::vector<int64_t>>{{3}, {3}});
  CHECK(metrics.counter("compress_unwanted_texts", "", {{"model", "m"}}).value() == 2.0);
}

TEST_CASE("A text that can't be computed is no other request's loss") {
  FakeModel model;
  Metrics metrics;
  model.hold(true);
  Batcher batcher({.batch_tokens = 100}, metrics);
  auto& queue = batcher.add(model, "m");
  Asked first(readings(model, {1}));
  batcher.submit(queue, first.job);
  model.wait_for_batches(1);
  Asked good(readings(model, {2}));
  Asked bad({model.read({.text = "fine"}, {}), model.read({.text = "bad"}, {})});
  batcher.submit(queue, good.job);
  batcher.submit(queue, bad.job);
  model.hold(false);
  CHECK(good.wait()->error() == nullptr);
  CHECK_THROWS_AS(std::rethrow_exception(bad.wait()->error()), DataError);
}

TEST_CASE("A batcher that ends computes what it was given") {
  FakeModel model;
  Metrics metrics;
  model.hold(true);
  std::vector<Asked> all;
  {
    Batcher batcher({.batch_tokens = 6, .threads = 2}, metrics);
    auto& queue = batcher.add(model, "m");
    for (int i = 0; i < 20; ++i) {
      all.emplace_back(readings(model, {1, 1}));
      batcher.submit(queue, all.back().job);
    }
    model.hold(false);
  }
  for (auto& asked : all) {
    REQUIRE(asked.done.wait_for(0s) == std::future_status::ready);
    CHECK(asked.done.get()->results().size() == 2);
  }
}
