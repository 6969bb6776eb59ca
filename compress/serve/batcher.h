#pragma once
// Dynamic batching: texts of several requests are computed together, up to a budget of tokens. The runtime leaves
// padding out, so tokens are what a batch costs, whatever the lengths of its texts.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "compress/serve/metrics.h"
#include "compress/serve/model.h"

namespace compression::serve {

struct BatchLimits {
  int64_t batch_tokens = 1024;  // of a batch; a longer text is one by itself
  std::chrono::microseconds max_wait{
      0};                         // that a request waits for others to be computed with, where nothing else runs
  int64_t queue_tokens = 65'536;  // that wait to be computed; a request beyond is refused, but not the first
  int64_t instances = 1;          // batches at once
  int64_t threads = 1;            // of all of them together
};

/// The texts of a request, on their way through the queue.
class Job {
 public:
  using Clock = std::chrono::steady_clock;
  using Done = std::function<void(const std::shared_ptr<Job>&)>;

  /// done: called once, by a thread of the batcher's, when the last of at least one text is computed or one has failed;
  /// not where nobody wants it any more.
  Job(std::vector<Reading> readings, Done done);

  /// Nobody wants it any more: what is not computed yet will not be. Any thread may call it.
  void cancel() { wanted_ = false; }

  int64_t tokens() const { return tokens_; }

  // For `done`:
  const std::exception_ptr& error() const { return error_; }  // null: there are results
  const std::vector<Result>& results() const { return results_; }
  double queue_seconds() const { return std::chrono::duration<double>(started_ - queued_).count(); }
  double compute_seconds() const { return compute_seconds_; }  // of the batches that it was in

 private:
  friend class Batcher;
  const std::vector<Reading> readings_;
  const Done done_;
  int64_t tokens_ = 0;
  std::atomic<bool> wanted_{true};

  // The batcher's mutex guards these until `done`.
  size_t next_ = 0;  // the first text that is in no batch yet
  size_t left_;      // texts that are not finished
  std::vector<Result> results_;
  std::exception_ptr error_;
  Clock::time_point queued_, started_;
  double compute_seconds_ = 0.0;
};

/// The queue of one model, and the threads that compute.
class Batcher {
 public:
  /// model and metrics must outlive it. name: the model's, a label of the metrics.
  Batcher(const Model& model, const std::string& name, const BatchLimits& limits, Metrics& metrics);

  /// Finishes what is in the queue first.
  ~Batcher();
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  /// Throws RequestError 429 that says when to try again, where the queue is full. Any thread may call it.
  void submit(std::shared_ptr<Job> job);

 private:
  struct Part {
    std::shared_ptr<Job> job;
    size_t text;
    const Reading& reading() const { return job->readings_[text]; }
  };
  using Lock = std::unique_lock<std::mutex>;

  void work(int64_t instance);
  std::vector<Part> take();
  void drop_unwanted();
  void compute(const std::vector<Part>& batch, Lock& lock);
  std::vector<Result> run(std::span<const Part> parts, std::vector<std::exception_ptr>& errors) const;

  const Model& model_;
  const BatchLimits limits_;
  Histogram &queue_seconds_, &compute_seconds_, &batch_texts_, &batch_tokens_;
  Number &tokens_, &texts_, &unwanted_, &queue_size_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> queue_;  // with a text that is in no batch yet
  int64_t queued_tokens_ = 0;               // of the texts in no batch yet
  double tokens_a_second_ = 0.0;            // of the last batches; 0: none yet
  bool stopping_ = false;
  std::vector<std::jthread> threads_;  // last: what they use is there before and after
};

}  // namespace compression::serve
