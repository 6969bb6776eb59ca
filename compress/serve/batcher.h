#pragma once
// Dynamic batching: texts of several requests are computed together, up to a budget of tokens. The runtime leaves
// padding out, so tokens are what a batch costs, whatever the lengths of its texts. As many batches are computed at
// once as there are texts for: threads that need not wait for each other compute more, and a single text has all of
// them.

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
  int64_t batch_tokens = 512;  // of a batch; a longer text is one by itself
  std::chrono::microseconds max_wait{
      0};                         // that a request waits for others to be computed with, where nothing else runs
  int64_t queue_tokens = 65'536;  // of a model, that wait to be computed; a request beyond is refused, not the first
  int64_t threads = 1;            // of all batches at once together
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

/// The threads that compute, and a queue for each model.
class Batcher {
 public:
  /// metrics must outlive it.
  Batcher(const BatchLimits& limits, Metrics& metrics);

  /// Finishes what is in the queues first.
  ~Batcher();
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  /// Threads that a batcher for `threads` at once starts at most. A team of OpenMP's stays with the thread that began
  /// it, so those that begin the later batches have smaller ones.
  static int64_t most_started(int64_t threads) {
    int64_t all = 0;
    for (int64_t i = 0; i < threads; ++i) all += threads / (i + 1);
    return all;
  }

  class Queue;

  /// model must outlive the batcher. name: the model's, a label of the metrics. Any thread may call it.
  Queue& add(const Model& model, const std::string& name);

  /// Throws RequestError 429 that says when to try again, where the queue is full. Any thread may call it.
  void submit(Queue& queue, std::shared_ptr<Job> job);

 private:
  struct Part {
    std::shared_ptr<Job> job;
    size_t text;
    const Reading& reading() const { return job->readings_[text]; }
  };
  struct Batch {
    Queue& queue;
    std::vector<Part> parts = {};
    int64_t tokens = 0, threads = 1;
  };
  enum class State { called, idle, awake };  // called: looks for work as soon as it runs
  struct Worker {
    std::condition_variable wake;
    State state = State::called;
  };
  using Lock = std::unique_lock<std::mutex>;

  void work(int64_t index);
  int64_t most_threads(int64_t index) const { return limits_.threads / (index + 1); }
  int64_t wanted_threads(const Queue& queue) const;
  bool is_first(int64_t index) const;
  void wake_one();
  Queue* oldest() const;
  Batch take(Queue& queue, int64_t threads);
  void compute(const Batch& batch, Lock& lock);

  const BatchLimits limits_;
  Metrics& metrics_;

  std::mutex mutex_;
  std::vector<std::unique_ptr<Queue>> queues_;
  std::vector<Worker> workers_;
  int64_t free_threads_;
  bool stopping_ = false;
  std::vector<std::jthread> threads_;  // last: what they use is there before and after
};

/// A model's.
class Batcher::Queue {
 public:
  Queue(const Model& model, const std::string& name, Metrics& metrics);

 private:
  friend class Batcher;
  void drop_unwanted();
  void say_size() { size_.set(static_cast<double>(tokens_)); }

  const Model& model_;
  Histogram &queue_seconds_, &compute_seconds_, &batch_texts_, &batch_tokens_;
  Number &computed_tokens_, &computed_texts_, &unwanted_, &size_;

  // The batcher's mutex guards these.
  std::deque<std::shared_ptr<Job>> jobs_;  // with a text that is in no batch yet
  int64_t texts_ = 0, tokens_ = 0;         // of theirs, in no batch yet
  int64_t tokens_at_work_ = 0;             // of batches that are being computed
  double tokens_a_second_ = 0.0;           // of all threads, after the last batches; 0: none yet
};

}  // namespace compression::serve
