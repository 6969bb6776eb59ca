#pragma once
// All of the server but the network: models with their queues, keys, limits, metrics; a request in, an answer out.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compress/serve/batcher.h"
#include "compress/serve/http.h"
#include "compress/serve/metrics.h"
#include "compress/serve/model.h"
#include "compress/serve/workers.h"

namespace compression::serve {

struct ServiceSettings {
  BatchLimits batches = {};
  int64_t workers = 2;
  int64_t max_texts = 256;                    // of a request
  bool truncate = false;                      // texts that are too long, where a request does not say
  std::chrono::milliseconds timeout{60'000};  // of a request, from when it was read; a request may ask for less
  std::vector<std::string> keys = {};         // of which a request names one; empty: none is needed
  std::string version = {};                   // of this program
};

struct Served {
  std::string name;
  std::shared_ptr<const Model> model;
  Batcher::Queue* queue;

  const ModelInfo& info() const { return model->info(); }
};

struct Route;

/// What an access log tells of a request besides its answer.
struct Account {
  std::string route, model;  // empty: none
  int64_t texts = 0, tokens = 0;
  double queue_seconds = 0.0, compute_seconds = 0.0;
};

/// A request that is being answered. Any thread may call it.
class Call {
 public:
  /// open: counts the calls that are there, and outlives them.
  explicit Call(std::atomic<int64_t>& open);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// Nobody waits for the answer any more: what is not computed yet will not be.
  void cancel();

 private:
  friend class Service;
  std::atomic<int64_t>& open_;
  std::mutex mutex_;
  bool cancelled_ = false;
  std::shared_ptr<Job> job_;
};

/// What a route makes of a request: texts for a model, and the answer of their results. Without texts the answer is
/// there at once.
struct Plan {
  const Served* served = nullptr;
  std::vector<Reading> readings = {};
  std::function<Response(const std::vector<Result>&)> answer;
};

class Service {
 public:
  explicit Service(ServiceSettings settings);
  ~Service();

  /// While it is loading.
  void add(const std::string& name, std::shared_ptr<const Model> model);

  /// Computes texts of several lengths with each model, so that nobody is the first. Throws what a model throws that
  /// can compute none.
  void warm_up();

  /// Until it is ready no model is asked anything. Does nothing where it stops already.
  void set_ready();

  /// Requests are answered as before, but whoever asks is told that it is not ready for more.
  void set_stopping() { state_ = State::stopping; }
  bool is_ready() const { return state_ == State::ready; }

  /// What is refused by the head of a request alone: 401, 404, 405. Takes `captured` down in the request.
  std::optional<Response> refuse(Request& request) const;

  using Done = std::function<void(Response, const Account&)>;

  /// Answers once, but not where the call was cancelled: in a thread of its own or, what is known soon, in the
  /// caller's. Any thread may call it.
  std::shared_ptr<Call> start(Request request, Done done);

  /// How long the request may take. Throws RequestError 422 where it says something that is no number.
  std::chrono::milliseconds timeout_of(const Request& request) const;

  /// The route's path, as metrics name it; "other" of requests without one.
  std::string_view route_of(const Request& request) const;

  /// Counts an answer, which took so many seconds from the request's end.
  void count(std::string_view route, int status, double seconds);

  /// Texts of a model, to be computed. Throws as Batcher::submit().
  void submit(const Served& served, std::shared_ptr<Job> job) { batcher_.submit(*served.queue, std::move(job)); }

  // For routes. The model by name, or where that is empty the first that `fits`. Throws RequestError 404, 424 with what
  // is `expected` of it.
  const Served& find(std::string_view name) const;
  const Served& find(const std::optional<std::string>& name, const std::function<bool(const ModelInfo&)>& fits,
                     std::string_view expected) const;
  const std::vector<Served>& models() const { return models_; }
  const ServiceSettings& settings() const { return settings_; }
  Metrics& metrics() const { return metrics_; }
  int64_t started_at() const { return started_at_; }  // seconds since 1970

 private:
  enum class State { loading, ready, stopping };

  const Route* find_route(const Request& request, std::vector<std::string>& captured, std::string& allowed) const;
  void answer(const std::shared_ptr<Call>& call, Request& request, const Done& done);

  const ServiceSettings settings_;
  mutable Metrics metrics_;
  const int64_t started_at_;
  std::atomic<State> state_{State::loading};
  std::atomic<int64_t> open_calls_{0};
  std::unique_ptr<Workers> workers_;  // goes after the batcher, which gives it work
  std::vector<Served> models_;
  Batcher batcher_;
};

}  // namespace compression::serve
