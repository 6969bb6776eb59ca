#include "compress/serve/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <future>
#include <utility>

#include "compress/base/message.h"  // one_line
#include "compress/base/number.h"   // number_of
#include "compress/serve/routes.h"

namespace compression::serve {
namespace {

/// Whether the path is the route's, and what it has in the places of {name}.
bool matches(const Route& route, const std::vector<std::string>& segments, std::vector<std::string>& captured) {
  const auto own = path_segments(route.path).value();
  if (own.size() != segments.size()) return false;
  captured.clear();
  for (size_t i = 0; i < own.size(); ++i) {
    if (own[i].starts_with('{')) {
      captured.push_back(segments[i]);
    } else if (own[i] != segments[i]) {
      return false;
    }
  }
  return true;
}

constexpr size_t short_body = 2048;  // bytes, read in less time than a thread may take to wake up

/// Whether they are equal, in a time that tells nothing of where they differ.
bool same(std::string_view found, std::string_view key) {
  unsigned difference = found.size() == key.size() ? 0 : 1;
  for (size_t i = 0; i < found.size(); ++i) {
    difference |= static_cast<unsigned char>(found[i]) ^ static_cast<unsigned char>(key[i % key.size()]);
  }
  return difference == 0;
}

bool has_key(const Request& request, const std::vector<std::string>& keys) {
  constexpr std::string_view scheme = "bearer ";
  const std::string_view given = request.authorization;
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  const bool is_bearer =
      given.size() > scheme.size() && std::ranges::equal(given.substr(0, scheme.size()), scheme, {}, lower);
  bool found = false;
  for (const auto& key : keys) found |= is_bearer && same(given.substr(scheme.size()), key);
  return found;
}

Response answer_of(const Job& job, const std::function<Response(const std::vector<Result>&)>& answer) {
  try {
    return job.error() ? error_response(job.error()) : answer(job.results());
  } catch (...) {
    return error_response(std::current_exception());
  }
}

}  // namespace

Call::Call(std::atomic<int64_t>& open) : open_(open) {
  ++open_;
}

Call::~Call() {
  --open_;
}

void Call::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (job_) job_->cancel();
}

Service::Service(ServiceSettings settings)
    : settings_(std::move(settings)),
      started_at_(std::time(nullptr)),
      workers_(std::make_unique<Workers>(settings_.workers)),
      batcher_(settings_.batches, metrics_) {
  metrics_.gauge("process_start_time_seconds", "Since 1970").set(static_cast<double>(started_at_));
}

Service::~Service() = default;

void Service::add(const std::string& name, std::shared_ptr<const Model> model) {
  auto& queue = batcher_.add(*model, name);
  models_.push_back({name, std::move(model), &queue});
}

void Service::warm_up() {
  for (const auto& served : models_) {
    for (const auto words : {1, 16, 64}) {
      std::string text = "a";
      for (int i = 1; i < words; ++i) text += " word";
      const bool asks = traits_of(served.info().head.task).labels == LabelKind::answers;
      const auto input = asks ? TextInput{.text = "a", .pair = text} : TextInput{.text = text};
      std::promise<std::exception_ptr> computed;
      try {
        submit(served,
               std::make_shared<Job>(std::vector{served.model->read(input, {.truncate = true})},
                                     [&](const std::shared_ptr<Job>& job) { computed.set_value(job->error()); }));
        if (const auto error = computed.get_future().get()) std::rethrow_exception(error);
      } catch (const RequestError&) {  // of a text without a mask: the next request is the first
      } catch (const DataError&) {
      }
    }
  }
}

void Service::set_ready() {
  auto before = State::loading;
  state_.compare_exchange_strong(before, State::ready);
}

const Route* Service::find_route(const Request& request, std::vector<std::string>& captured,
                                 std::string& allowed) const {
  const auto segments = path_segments(request.path);
  if (!segments) return nullptr;
  const auto method = request.method == "HEAD" ? "GET" : std::string_view(request.method);
  for (const auto& route : routes()) {
    if (!matches(route, *segments, captured)) continue;
    if (route.method == method) return &route;
    allowed += fmt::format("{}{}", allowed.empty() ? "" : ", ", route.method);
    if (route.method == "GET") allowed += ", HEAD";
  }
  return nullptr;
}

std::optional<Response> Service::refuse(Request& request) const {
  std::string allowed;
  const auto* route = find_route(request, request.captured, allowed);
  if (!settings_.keys.empty() && !(route != nullptr && route->open) && !has_key(request, settings_.keys)) {
    return error_response(RequestError(401, ErrorType::unauthorized,
                                       "found no key that is known, expected \"Authorization: Bearer KEY\""));
  }
  if (route != nullptr) return std::nullopt;
  if (allowed.empty()) {
    return error_response(
        RequestError(404, ErrorType::not_found,
                     fmt::format("{}: there is no such path; /openapi.json lists those that there are",
                                 one_line(request.path, 200))));
  }
  auto response = error_response(RequestError(
      405, ErrorType::not_found, fmt::format("found {}, expected {}", one_line(request.method, 40), allowed)));
  response.headers.emplace_back("Allow", allowed);
  return response;
}

std::string_view Service::route_of(const Request& request) const {
  std::vector<std::string> captured;
  std::string allowed;
  const auto* route = find_route(request, captured, allowed);
  return route != nullptr ? route->path : "other";
}

std::chrono::milliseconds Service::timeout_of(const Request& request) const {
  if (!request.timeout) return settings_.timeout;
  const auto given = number_of<int64_t>(*request.timeout);
  if (!given || *given < 1) {
    throw RequestError(422, ErrorType::validation,
                       fmt::format("X-Request-Timeout-Ms: found \"{}\", expected a whole number of at least 1",
                                   one_line(*request.timeout, 40)));
  }
  return std::min(settings_.timeout, std::chrono::milliseconds(std::min<int64_t>(*given, settings_.timeout.count())));
}

void Service::count(std::string_view route, int status, double seconds) {
  const std::string path(route), code = std::to_string(status);
  metrics_.counter("compress_requests", "Answers by route and status", {{"route", path}, {"code", code}}).add();
  metrics_
      .histogram("compress_request_seconds", "From the end of a request to its answer", second_bounds(),
                 {{"route", path}})
      .observe(seconds);
  if (status >= 400)
    metrics_.counter("compress_errors", "Answers with a status of 400 or above", {{"code", code}}).add();
}

const Served& Service::find(std::string_view name) const {
  const auto found = std::ranges::find(models_, name, &Served::name);
  if (found != models_.end()) return *found;
  std::string known;
  for (const auto& served : models_) known += (known.empty() ? "" : ", ") + served.name;
  throw RequestError(404, ErrorType::not_found,
                     fmt::format("model: found \"{}\", expected {}", one_line(name, 100), known));
}

const Served& Service::find(const std::optional<std::string>& name, const std::function<bool(const ModelInfo&)>& fits,
                            std::string_view expected) const {
  if (name) {
    const auto& served = find(*name);
    if (fits(served.info())) return served;
  } else {
    const auto found = std::ranges::find_if(models_, [&](const Served& served) { return fits(served.info()); });
    if (found != models_.end()) return *found;
  }
  const auto& served = name ? find(*name) : models_.front();
  throw RequestError(424, ErrorType::backend,
                     fmt::format("model {}: found one of {}, expected {}", served.name,
                                 traits_of(served.info().head.task).name, expected));
}

std::shared_ptr<Call> Service::start(Request request, Done done) {
  auto call = std::make_shared<Call>(open_calls_);
  if (open_calls_ == 1 && request.body.size() <= short_body) {  // it is alone: another thread would only wake up for it
    answer(call, request, done);
    return call;
  }
  workers_->add(
      [this, call, request = std::move(request), done = std::move(done)]() mutable { answer(call, request, done); });
  return call;
}

void Service::answer(const std::shared_ptr<Call>& call, Request& request, const Done& done) {
  Account account;
  {
    const std::lock_guard lock(call->mutex_);
    if (call->cancelled_) return;
  }
  try {
    std::vector<std::string> captured;
    std::string allowed;
    const auto* route = find_route(request, captured, allowed);
    if (route == nullptr) return done(*refuse(request), account);
    account.route = route->path;
    if (route->waits && state_ == State::loading) {
      throw RequestError(503, ErrorType::unhealthy, "the models are not ready yet", 1);
    }
    auto plan = route->plan(*this, request);
    if (plan.served != nullptr) account.model = plan.served->name;
    account.texts = static_cast<int64_t>(plan.readings.size());
    if (plan.readings.empty()) return done(plan.answer({}), account);

    auto job = std::make_shared<Job>(std::move(plan.readings), [done, account, answer = std::move(plan.answer)](
                                                                   const std::shared_ptr<Job>& finished) mutable {
      account.tokens = finished->tokens();
      account.queue_seconds = finished->queue_seconds();
      account.compute_seconds = finished->compute_seconds();
      done(answer_of(*finished, answer), account);
    });
    {
      const std::lock_guard lock(call->mutex_);
      if (call->cancelled_) return;
      call->job_ = job;
    }
    submit(*plan.served, std::move(job));
  } catch (...) {
    done(error_response(std::current_exception()), account);
  }
}

}  // namespace compression::serve
