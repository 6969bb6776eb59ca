#include "compress/serve/batcher.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "compress/base/processors.h"  // stay_on, allowed_processors
#include "compress/serve/http.h"       // RequestError

namespace compression::serve {

Job::Job(std::vector<Reading> readings, Done done)
    : readings_(std::move(readings)), done_(std::move(done)), left_(readings_.size()), results_(readings_.size()) {
  for (const auto& reading : readings_) tokens_ += reading.tokens;
}

Batcher::Batcher(const Model& model, const std::string& name, const BatchLimits& limits, Metrics& metrics)
    : model_(model),
      limits_(limits),
      queue_seconds_(metrics.histogram("compress_queue_seconds",
                                       "From a request's arrival in the queue to its first batch", second_bounds(),
                                       {{"model", name}})),
      compute_seconds_(metrics.histogram("compress_compute_seconds", "Of a batch", second_bounds(), {{"model", name}})),
      batch_texts_(
          metrics.histogram("compress_batch_texts", "Texts of a batch", power_bounds(1024), {{"model", name}})),
      batch_tokens_(
          metrics.histogram("compress_batch_tokens", "Tokens of a batch", power_bounds(65536), {{"model", name}})),
      tokens_(metrics.counter("compress_tokens", "Tokens that were computed", {{"model", name}})),
      texts_(metrics.counter("compress_texts", "Texts that were computed", {{"model", name}})),
      unwanted_(metrics.counter("compress_unwanted_texts",
                                "Texts that were not computed, because nobody waited any more", {{"model", name}})),
      queue_size_(metrics.gauge("compress_queue_tokens", "Tokens that wait to be computed", {{"model", name}})) {
  for (int64_t i = 0; i < limits_.instances; ++i) threads_.emplace_back([this, i] { work(i); });
}

Batcher::~Batcher() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
}

void Batcher::submit(std::shared_ptr<Job> job) {
  {
    const std::lock_guard lock(mutex_);
    if (queued_tokens_ + job->tokens() > limits_.queue_tokens) drop_unwanted();
    if (!queue_.empty() && queued_tokens_ + job->tokens() > limits_.queue_tokens) {
      const auto seconds =
          tokens_a_second_ > 0.0 ? std::ceil(static_cast<double>(queued_tokens_) / tokens_a_second_) : 1.0;
      throw RequestError(
          429, ErrorType::overloaded,
          fmt::format("found {} tokens in the queue, and the request has {}: expected at most {} together",
                      queued_tokens_, job->tokens(), limits_.queue_tokens),
          static_cast<int64_t>(std::clamp(seconds, 1.0, 60.0)));
    }
    job->queued_ = Job::Clock::now();
    queued_tokens_ += job->tokens();
    queue_size_.set(static_cast<double>(queued_tokens_));
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
}

/// Takes the texts of requests that nobody wants out of the queue.
void Batcher::drop_unwanted() {
  std::erase_if(queue_, [&](const std::shared_ptr<Job>& job) {
    if (job->wanted_ && !job->error_) return false;
    for (auto i = job->next_; i < job->readings_.size(); ++i) queued_tokens_ -= job->readings_[i].tokens;
    unwanted_.add(static_cast<double>(job->readings_.size() - job->next_));
    return true;
  });
}

/// The texts that came first, as many as the budget allows.
std::vector<Batcher::Part> Batcher::take() {
  drop_unwanted();
  std::vector<Part> batch;
  int64_t tokens = 0;
  const auto now = Job::Clock::now();
  while (!queue_.empty()) {
    const auto& job = queue_.front();
    const auto more = job->readings_[job->next_].tokens;
    if (!batch.empty() && tokens + more > limits_.batch_tokens) break;
    if (job->next_ == 0) job->started_ = now;
    batch.push_back({job, job->next_++});
    tokens += more;
    if (job->next_ == job->readings_.size()) queue_.pop_front();
  }
  queued_tokens_ -= tokens;
  queue_size_.set(static_cast<double>(queued_tokens_));
  return batch;
}

void Batcher::work(int64_t instance) {
  if (limits_.instances > 1) stay_on(allowed_processors(), instance, limits_.instances);
  omp_set_num_threads(static_cast<int>(std::max<int64_t>(limits_.threads / limits_.instances, 1)));
  Lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    wake_.wait_until(lock, queue_.front()->queued_ + limits_.max_wait,
                     [&] { return stopping_ || queue_.empty() || queued_tokens_ >= limits_.batch_tokens; });
    const auto batch = take();
    if (batch.empty()) continue;
    if (!queue_.empty()) wake_.notify_one();
    compute(batch, lock);
  }
}

/// What each text gets, or why it gets nothing: where a batch fails, its texts are computed one by one, so that one
/// that can't be computed is no other's loss.
std::vector<Result> Batcher::run(std::span<const Part> parts, std::vector<std::exception_ptr>& errors) const {
  std::vector<const Reading*> readings;
  for (const auto& part : parts) readings.push_back(&part.reading());
  errors.assign(parts.size(), nullptr);
  try {
    auto results = model_.run(readings);
    if (results.size() != parts.size()) throw std::logic_error("as many results as texts");
    return results;
  } catch (...) {
    errors.assign(parts.size(), std::current_exception());
  }
  std::vector<Result> results(parts.size());
  if (parts.size() == 1) return results;
  for (size_t i = 0; i < parts.size(); ++i) {
    std::vector<std::exception_ptr> own;
    results[i] = std::move(run(parts.subspan(i, 1), own).front());
    errors[i] = own.front();
  }
  return results;
}

void Batcher::compute(const std::vector<Part>& batch, Lock& lock) {
  lock.unlock();
  const auto begin = Job::Clock::now();
  std::vector<std::exception_ptr> errors;
  auto results = run(batch, errors);
  const auto seconds = std::chrono::duration<double>(Job::Clock::now() - begin).count();
  double tokens = 0.0;
  for (const auto& part : batch) tokens += static_cast<double>(part.reading().tokens);
  compute_seconds_.observe(seconds);
  batch_texts_.observe(static_cast<double>(batch.size()));
  batch_tokens_.observe(tokens);
  tokens_.add(tokens);
  texts_.add(static_cast<double>(batch.size()));

  std::vector<std::shared_ptr<Job>> finished;
  lock.lock();
  if (seconds > 0.0) {
    const auto rate = tokens / seconds;
    tokens_a_second_ = tokens_a_second_ > 0.0 ? 0.8 * tokens_a_second_ + 0.2 * rate : rate;
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    auto& job = *batch[i].job;
    if (i == 0 || batch[i - 1].job != batch[i].job) job.compute_seconds_ += seconds;
    job.results_[batch[i].text] = std::move(results[i]);
    --job.left_;
    if (errors[i] && !job.error_) {
      job.error_ = errors[i];
      finished.push_back(batch[i].job);
    } else if (job.left_ == 0 && !job.error_) {
      finished.push_back(batch[i].job);
    }
  }
  lock.unlock();
  for (const auto& job : finished) {
    queue_seconds_.observe(job->queue_seconds());
    if (job->wanted_) job->done_(job);
  }
  finished.clear();
  lock.lock();
}

}  // namespace compression::serve
