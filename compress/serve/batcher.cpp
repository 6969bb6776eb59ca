#include "compress/serve/batcher.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "compress/serve/http.h"  // RequestError

namespace compression::serve {
namespace {

/// What each text gets, or why it gets nothing: where a batch fails, its texts are computed one by one, so that one
/// that can't be computed is no other's loss.
std::vector<Result> run(const Model& model, std::span<const Reading* const> readings,
                        std::vector<std::exception_ptr>& errors) {
  errors.assign(readings.size(), nullptr);
  try {
    auto results = model.run(readings);
    if (results.size() != readings.size()) throw std::logic_error("as many results as texts");
    return results;
  } catch (...) {
    errors.assign(readings.size(), std::current_exception());
  }
  std::vector<Result> results(readings.size());
  if (readings.size() == 1) return results;
  for (size_t i = 0; i < readings.size(); ++i) {
    std::vector<std::exception_ptr> own;
    results[i] = std::move(run(model, readings.subspan(i, 1), own).front());
    errors[i] = own.front();
  }
  return results;
}

}  // namespace

Job::Job(std::vector<Reading> readings, Done done)
    : readings_(std::move(readings)), done_(std::move(done)), left_(readings_.size()), results_(readings_.size()) {
  for (const auto& reading : readings_) tokens_ += reading.tokens;
}

Batcher::Queue::Queue(const Model& model, const std::string& name, Metrics& metrics)
    : model_(model),
      queue_seconds_(metrics.histogram("compress_queue_seconds",
                                       "From a request's arrival in the queue to its first batch", second_bounds(),
                                       {{"model", name}})),
      compute_seconds_(metrics.histogram("compress_compute_seconds", "Of a batch", second_bounds(), {{"model", name}})),
      batch_texts_(
          metrics.histogram("compress_batch_texts", "Texts of a batch", power_bounds(1024), {{"model", name}})),
      batch_tokens_(
          metrics.histogram("compress_batch_tokens", "Tokens of a batch", power_bounds(65536), {{"model", name}})),
      computed_tokens_(metrics.counter("compress_tokens", "Tokens that were computed", {{"model", name}})),
      computed_texts_(metrics.counter("compress_texts", "Texts that were computed", {{"model", name}})),
      unwanted_(metrics.counter("compress_unwanted_texts",
                                "Texts that were not computed, because nobody waited any more", {{"model", name}})),
      size_(metrics.gauge("compress_queue_tokens", "Tokens that wait to be computed", {{"model", name}})) {}

/// Takes the texts of requests that nobody wants out of the queue.
void Batcher::Queue::drop_unwanted() {
  std::erase_if(jobs_, [&](const std::shared_ptr<Job>& job) {
    if (job->wanted_ && !job->error_) return false;
    const auto left = job->readings_.size() - job->next_;
    for (auto i = job->next_; i < job->readings_.size(); ++i) tokens_ -= job->readings_[i].tokens;
    texts_ -= static_cast<int64_t>(left);
    unwanted_.add(static_cast<double>(left));
    return true;
  });
  say_size();
}

Batcher::Batcher(const BatchLimits& limits, Metrics& metrics)
    : limits_(limits), metrics_(metrics), workers_(static_cast<size_t>(limits.threads)), free_threads_(limits.threads) {
  for (int64_t i = 0; i < limits_.threads; ++i) threads_.emplace_back([this, i] { work(i); });
}

Batcher::~Batcher() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  wake_one();
}

/// Whether all those before it are awake.
bool Batcher::is_first(int64_t index) const {
  return std::all_of(workers_.begin(), workers_.begin() + index,
                     [](const Worker& worker) { return worker.state == State::awake; });
}

void Batcher::wake_one() {
  const auto found = std::ranges::find(workers_, State::idle, &Worker::state);
  if (found == workers_.end()) return;
  found->state = State::called;
  found->wake.notify_one();
}

Batcher::Queue& Batcher::add(const Model& model, const std::string& name) {
  const std::lock_guard lock(mutex_);
  return *queues_.emplace_back(std::make_unique<Queue>(model, name, metrics_));
}

void Batcher::submit(Queue& queue, std::shared_ptr<Job> job) {
  {
    const std::lock_guard lock(mutex_);
    const auto is_full = [&] { return queue.tokens_ + job->tokens() > limits_.queue_tokens; };
    if (is_full()) queue.drop_unwanted();
    if (!queue.jobs_.empty() && is_full()) {
      const auto rate = queue.tokens_a_second_;
      const auto seconds = rate > 0.0 ? std::ceil(static_cast<double>(queue.tokens_) / rate) : 1.0;
      throw RequestError(
          429, ErrorType::overloaded,
          fmt::format("found {} tokens in the queue, and the request has {}: expected at most {} together",
                      queue.tokens_, job->tokens(), limits_.queue_tokens),
          static_cast<int64_t>(std::clamp(seconds, 1.0, 60.0)));
    }
    job->queued_ = Job::Clock::now();
    queue.texts_ += static_cast<int64_t>(job->readings_.size());
    queue.tokens_ += job->tokens();
    queue.say_size();
    queue.jobs_.push_back(std::move(job));
    wake_one();
  }
}

/// The queue whose first request has waited longest; null: all are empty.
Batcher::Queue* Batcher::oldest() const {
  Queue* found = nullptr;
  for (const auto& queue : queues_) {
    if (queue->jobs_.empty()) continue;
    if (found == nullptr || queue->jobs_.front()->queued_ < found->jobs_.front()->queued_) found = queue.get();
  }
  return found;
}

/// Where there are fewer texts than free threads, several compute each.
int64_t Batcher::wanted_threads(const Queue& queue) const {
  return free_threads_ / std::clamp<int64_t>(queue.texts_, 1, free_threads_);
}

/// The texts that came first: these threads' part of all that waits or is being computed, as far as the budget allows.
/// Whoever took all that waits would leave nothing to the threads that are free next.
Batcher::Batch Batcher::take(Queue& queue, int64_t threads) {
  Batch batch{.queue = queue, .threads = threads};
  const auto share = (queue.tokens_ + queue.tokens_at_work_) * threads / limits_.threads;
  const auto now = Job::Clock::now();
  while (!queue.jobs_.empty()) {
    const auto& job = queue.jobs_.front();
    const auto more = job->readings_[job->next_].tokens;
    if (!batch.parts.empty() && (batch.tokens >= share || batch.tokens + more > limits_.batch_tokens)) break;
    if (job->next_ == 0) job->started_ = now;
    batch.parts.push_back({job, job->next_++});
    batch.tokens += more;
    if (job->next_ == job->readings_.size()) queue.jobs_.pop_front();
  }
  queue.texts_ -= std::ssize(batch.parts);
  queue.tokens_ -= batch.tokens;
  queue.say_size();
  return batch;
}

void Batcher::work(int64_t index) {
  auto& self = workers_[static_cast<size_t>(index)];
  Lock lock(mutex_);
  for (;;) {
    self.state = State::awake;
    auto* queue = oldest();
    if (queue == nullptr && stopping_) return wake_one();  // the others end too
    const bool nothing_runs = free_threads_ == limits_.threads;
    if (queue != nullptr && free_threads_ > 0) {
      queue->drop_unwanted();
      if (queue->jobs_.empty()) continue;
      const auto until = queue->jobs_.front()->queued_ + limits_.max_wait;
      const bool waits = nothing_runs && !stopping_ && queue->tokens_ < limits_.batch_tokens;
      if (waits && Job::Clock::now() < until) {
        self.state = State::idle;
        self.wake.wait_until(lock, until);
        continue;
      }
      if (wanted_threads(*queue) <= most_threads(index) || is_first(index)) {
        const auto batch = take(*queue, std::min(wanted_threads(*queue), most_threads(index)));
        free_threads_ -= batch.threads;
        queue->tokens_at_work_ += batch.tokens;
        if (oldest() != nullptr) wake_one();
        compute(batch, lock);
        free_threads_ += batch.threads;
        queue->tokens_at_work_ -= batch.tokens;
        continue;
      }
      wake_one();  // who may have more threads
    }
    self.state = State::idle;
    self.wake.wait(lock);
  }
}

/// Without the lock, but for what it notes down.
void Batcher::compute(const Batch& batch, Lock& lock) {
  lock.unlock();
  auto& queue = batch.queue;
  const auto begin = Job::Clock::now();
  std::vector<const Reading*> readings;
  for (const auto& part : batch.parts) readings.push_back(&part.reading());
  std::vector<std::exception_ptr> errors;
  omp_set_num_threads(static_cast<int>(batch.threads));
  auto results = run(queue.model_, readings, errors);
  const auto seconds = std::chrono::duration<double>(Job::Clock::now() - begin).count();
  queue.compute_seconds_.observe(seconds);
  queue.batch_texts_.observe(static_cast<double>(batch.parts.size()));
  queue.batch_tokens_.observe(static_cast<double>(batch.tokens));
  queue.computed_tokens_.add(static_cast<double>(batch.tokens));
  queue.computed_texts_.add(static_cast<double>(batch.parts.size()));

  std::vector<std::shared_ptr<Job>> finished;
  lock.lock();
  if (seconds > 0.0) {
    const auto rate =
        static_cast<double>(batch.tokens * limits_.threads) / (seconds * static_cast<double>(batch.threads));
    queue.tokens_a_second_ = queue.tokens_a_second_ > 0.0 ? 0.8 * queue.tokens_a_second_ + 0.2 * rate : rate;
  }
  for (size_t i = 0; i < batch.parts.size(); ++i) {
    const auto& [shared, text] = batch.parts[i];
    auto& job = *shared;
    if (i == 0 || batch.parts[i - 1].job != shared) job.compute_seconds_ += seconds;
    job.results_[text] = std::move(results[i]);
    --job.left_;
    if (errors[i] && !job.error_) {
      job.error_ = errors[i];
      finished.push_back(shared);
    } else if (job.left_ == 0 && !job.error_) {
      finished.push_back(shared);
    }
  }
  lock.unlock();
  for (const auto& job : finished) {
    queue.queue_seconds_.observe(job->queue_seconds());
    if (job->wanted_) job->done_(job);
  }
  finished.clear();
  lock.lock();
}

}  // namespace compression::serve
