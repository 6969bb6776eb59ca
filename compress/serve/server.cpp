#include "compress/serve/server.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <csignal>
#include <ctime>
#include <functional>
#include <optional>
#include <unordered_set>
#include <utility>

#include "compress/base/error.h"    // ConfigError, StorageError
#include "compress/base/message.h"  // one_line
#include "compress/serve/routes.h"  // is_openai

namespace compression::serve {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using Parser = http::request_parser<http::string_body>;

constexpr std::chrono::seconds linger_time{5}, grace_time{1};
constexpr size_t piece = 16 << 10;  // bytes that a read takes at most from a client whose words are not heeded

std::string text_of(boost::string_view text) {
  return {text.data(), text.size()};
}

std::string address(const tcp::endpoint& endpoint) {
  const auto host = endpoint.address().to_string();
  return fmt::format("{}:{}", endpoint.address().is_v6() ? "[" + host + "]" : host, endpoint.port());
}

/// Who is at the other end; empty where nobody is any more.
std::string remote_of(const tcp::socket& socket) {
  error_code error;
  const auto remote = socket.remote_endpoint(error);
  return error ? std::string() : address(remote);
}

/// An id that comes back in the answer's header.
bool is_plain(std::string_view id) {
  return id.size() <= 128 && std::ranges::all_of(id, [](char c) { return c > ' ' && c < 127; });
}

std::string head_of(const Response& response, const std::string& id, bool keep_alive) {
  const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
  auto head =
      fmt::format("HTTP/1.1 {} {}\r\nDate: {:%a, %d %b %Y %H:%M:%S} GMT\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
                  response.status, std::string_view(reason.data(), reason.size()), fmt::gmtime(std::time(nullptr)),
                  response.type, response.body.size());
  for (const auto& [name, value] : response.headers) head += fmt::format("{}: {}\r\n", name, value);
  if (!id.empty() && is_plain(id)) head += fmt::format("X-Request-Id: {}\r\n", id);
  return head + (keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n");
}

/// What a request that can't be read is answered with; nothing where nobody is there to read it.
std::optional<RequestError> problem_of(error_code error, const ServerSettings& settings) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return RequestError(
        431, ErrorType::validation,
        fmt::format("found a header that is too large, expected at most {} bytes", settings.header_bytes));
  }
  if (error == http::error::body_limit) {
    return RequestError(413, ErrorType::validation,
                        fmt::format("found a body that is too large, expected at most {} bytes", settings.body_bytes));
  }
  if (error == http::error::end_of_stream || error == http::error::partial_message) return std::nullopt;
  if (error.category() == http::make_error_code(http::error::bad_method).category()) {
    return RequestError(400, ErrorType::validation, "found no HTTP that is taken: " + error.message());
  }
  return std::nullopt;
}

/// What a head that could be read is refused for: RFC 9112 section 3.2 of hosts; no coding is decoded.
std::optional<RequestError> problem_of(const Parser::value_type& head) {
  if (const auto hosts = head.count(http::field::host); hosts > 1 || (hosts == 0 && head.version() >= 11)) {
    return RequestError(400, ErrorType::validation, fmt::format("Host: found it {} times, expected it once", hosts));
  }
  const auto coding = head[http::field::content_encoding];
  if (coding.empty() || boost::beast::iequals(coding, "identity")) return std::nullopt;
  return RequestError(415, ErrorType::validation,
                      "Content-Encoding: found \"" + one_line(text_of(coding), 40) + "\", expected none");
}

/// The path of a request's target, which may have scheme and host before it, as proxies send it, and a query behind.
std::string path_of(std::string_view target) {
  target = target.substr(0, target.find('?'));
  for (const std::string_view scheme : {"http://", "https://"}) {
    const boost::beast::string_view begin(target.data(), std::min(target.size(), scheme.size()));
    if (!boost::beast::iequals(begin, {scheme.data(), scheme.size()})) continue;
    const auto path = target.find('/', scheme.size());
    return path == std::string_view::npos ? "/" : std::string(target.substr(path));
  }
  return std::string(target);
}

}  // namespace

class Server::Network : public std::enable_shared_from_this<Network> {
 public:
  Network(Service& own_service, const ServerSettings& own_settings, AccessLog* own_log)
      : service(own_service),
        settings(own_settings),
        log(own_log),
        open_connections_(service.metrics().gauge("compress_connections", "Connections that are open")),
        refused_(service.metrics().counter("compress_refused_connections", "Connections beyond the limit")),
        gone_(service.metrics().counter("compress_gone_clients", "Clients that went away before their answer")) {
    error_code error;
    const auto found = tcp::resolver(io).resolve(settings.host, std::to_string(settings.port), error);
    if (error || found.empty()) {
      throw ConfigError(
          fmt::format("host: found \"{}\", expected an address of this machine: {}", settings.host, error.message()));
    }
    const auto endpoint = found.begin()->endpoint();
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(4096, error);
    if (!error) acceptor_.non_blocking(true, error);
    if (error) throw StorageError(fmt::format("{}: can't be listened at: {}", address(endpoint), error.message()));
    port_ = acceptor_.local_endpoint().port();
  }
  ~Network() { stopping = false; }  // connections that go with `io` stop nothing
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  uint16_t port() const { return port_; }

  void run() {
    for (const int signal : {SIGINT, SIGTERM}) {
      struct sigaction before {};
      const bool is_ignored = ::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN;
      if (!is_ignored) signals_.add(signal);
    }
    signals_.async_wait([this](error_code error, int) {
      if (!error) stop();
    });
    accept();
    for (bool runs = true; runs;) {
      try {
        io.run();
        runs = false;
      } catch (const std::bad_alloc&) {  // of one connection, which goes when its time is up
      }
    }
  }

  void stop() {
    asio::post(io, [this] { begin_stop(); });
  }

  class Connection;
  void added(Connection* connection) {
    connections_.insert(connection);
    open_connections_.set(static_cast<double>(connections_.size()));
  }
  void removed(Connection* connection) {
    connections_.erase(connection);
    open_connections_.set(static_cast<double>(connections_.size()));
    if (stopping && connections_.empty()) finish_stop();
  }
  void client_is_gone() { gone_.add(); }

  Service& service;
  const ServerSettings settings;
  AccessLog* const log;
  bool stopping = false;

 private:
  std::unordered_set<Connection*> connections_;
  Number &open_connections_, &refused_, &gone_;

 public:
  asio::io_context io{1};

 private:
  void accept();
  void take(tcp::socket socket);
  void begin_stop();
  void finish_stop() { stop_timer_.cancel(); }

  tcp::acceptor acceptor_{io};
  uint16_t port_ = 0;
  asio::signal_set signals_{io};
  asio::steady_timer stop_timer_{io}, accept_timer_{io};
};

/// A client's connection, from request to request. All of it runs in the network's thread. What it waits for holds it,
/// and there is always one thing at least, until it is closed.
class Server::Network::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Network& network, tcp::socket socket) : network_(network), socket_(std::move(socket)), timer_(network.io) {
    error_code error;
    socket_.set_option(tcp::no_delay(true), error);
    remote_ = remote_of(socket_);
    network_.added(this);
  }
  ~Connection() { network_.removed(this); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void wait_for_request() {
    state_ = State::idle;
    if (buffer_.size() > 0) return read_head();  // of a client that does not wait for answers
    arm(network_.stopping ? std::chrono::milliseconds(grace_time) : network_.settings.idle_time, [this] { close(); });
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
      if (self->state_ == State::idle && !error) self->read_head();
    });
  }

  /// A connection without a request has the time of grace for one.
  void server_stops() {
    if (state_ == State::idle) arm(grace_time, [this] { close(); });
  }

  void close() {
    if (call_) call_->cancel();
    call_ = nullptr;
    state_ = State::closed;
    timer_.cancel();
    error_code ignored;
    socket_.close(ignored);
  }

 private:
  enum class State { idle, reading, working, writing, lingering, closed };

  void arm(std::chrono::milliseconds time, std::function<void()> act) {
    timer_.expires_after(time);
    timer_.async_wait([self = shared_from_this(), number = ++armed_, act = std::move(act)](error_code error) {
      if (!error && number == self->armed_) act();
    });
  }

  void read_head() {
    state_ = State::reading;
    parser_.emplace();
    parser_->header_limit(network_.settings.header_bytes);
    parser_->body_limit(network_.settings.body_bytes);
    request_ = {};
    account_ = {};
    begin_ = Clock::now();
    is_late_ = false;
    arm(network_.settings.request_time, [this] {
      is_late_ = true;
      error_code ignored;
      socket_.cancel(ignored);
    });
    http::async_read_header(socket_, buffer_, *parser_,
                            [self = shared_from_this()](error_code error, size_t) { self->head_is_read(error); });
  }

  void head_is_read(error_code error) {
    if (state_ != State::reading) return;
    const auto& head = parser_->get();
    request_ = {.method = text_of(head.method_string()),
                .path = path_of({head.target().data(), head.target().size()}),
                .accept = text_of(head[http::field::accept]),
                .authorization = text_of(head[http::field::authorization]),
                .id = text_of(head["X-Request-Id"])};
    if (const auto own = head.find("X-Request-Timeout-Ms"); own != head.end()) request_.timeout = text_of(own->value());
    if (error) return refuse(error);
    const auto problem = problem_of(head);
    if (auto refusal = problem ? std::optional(error_response(*problem)) : network_.service.refuse(request_)) {
      const bool has_body = parser_->chunked() || parser_->content_length().value_or(0) > 0;
      return respond(std::move(*refusal), !has_body && head.keep_alive());
    }
    const bool asks = boost::beast::iequals(head[http::field::expect], "100-continue");
    if (!asks || parser_->is_done()) return read_body();
    static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(socket_, asio::buffer(go_on.data(), go_on.size()),
                      [self = shared_from_this()](error_code failed, size_t) {
                        if (self->state_ != State::reading) return;
                        if (failed) return self->refuse(failed);
                        self->read_body();
                      });
  }

  void read_body() {
    http::async_read(socket_, buffer_, *parser_, [self = shared_from_this()](error_code error, size_t) {
      if (self->state_ != State::reading) return;
      if (error) return self->refuse(error);
      self->work();
    });
  }

  /// A request that can't be read to its end.
  void refuse(error_code error) {
    if (is_late_ && parser_->got_some()) {
      return respond(error_response(RequestError(
                         408, ErrorType::timeout,
                         fmt::format("the request was not there after {} ms", network_.settings.request_time.count()))),
                     false);
    }
    const auto problem = problem_of(error, network_.settings);
    if (!problem) return close();
    respond(error_response(*problem), false);
  }

  void work() {
    state_ = State::working;
    keep_alive_ = parser_->get().keep_alive();
    request_.body = std::move(parser_->get().body());
    bytes_in_ = request_.body.size();
    begin_ = Clock::now();
    std::chrono::milliseconds time{};
    try {
      time = network_.service.timeout_of(request_);
    } catch (const RequestError& error) {
      return respond(error_response(error), keep_alive_);
    }
    arm(time, [this, time] {
      call_->cancel();
      respond(error_response(
                  RequestError(504, ErrorType::timeout, fmt::format("there was no answer after {} ms", time.count()))),
              keep_alive_);
    });
    auto asked = request_;
    request_.body.clear();
    call_ = network_.service.start(
        std::move(asked), [network = network_.shared_from_this(), weak = weak_from_this(), number = ++request_number_](
                              Response response, const Account& account) {
          asio::post(network->io, [weak, number, response = std::move(response), account]() mutable {
            const auto self = weak.lock();
            if (!self || self->state_ != State::working || self->request_number_ != number) return;
            self->account_ = account;
            self->respond(std::move(response), self->keep_alive_);
          });
        });
    watch();
  }

  /// Sees that the client goes away; one that already sends its next request is believed to be there.
  void watch() {
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this(), number = request_number_](error_code error) {
      if (self->state_ != State::working || self->request_number_ != number || error) return;
      char byte = 0;
      const auto count = ::recv(self->socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      if (count > 0) return;
      if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return self->watch();
      self->tell(499, 0);
      self->close();
      self->network_.client_is_gone();  // whoever sees it counted finds its request given up
    });
  }

  void respond(Response response, bool keep_alive) {
    if (response.status >= 400 && is_openai(request_.path)) response = openai_error(std::move(response));
    error_code ignored;
    if (state_ == State::working) socket_.cancel(ignored);  // the watch
    state_ = State::writing;
    call_ = nullptr;
    keep_alive_ = keep_alive && !network_.stopping;
    head_ = head_of(response, request_.id, keep_alive_);
    body_ = request_.method == "HEAD" ? std::string() : std::move(response.body);
    const std::array<asio::const_buffer, 2> buffers{asio::buffer(head_), asio::buffer(body_)};
    const auto next_part = [this](error_code error, size_t) -> size_t {  // each part may take as long as a request
      if (error || state_ != State::writing) return 0;
      arm(network_.settings.request_time, [this] { close(); });
      return 1 << 20;
    };
    asio::async_write(socket_, buffers, next_part,
                      [self = shared_from_this(), status = response.status](error_code error, size_t count) {
                        if (self->state_ != State::writing) return;
                        self->tell(status, count);
                        if (error) return self->close();
                        self->body_ = {};
                        if (self->keep_alive_) return self->wait_for_request();
                        self->linger();
                      });
  }

  /// Takes what the client still sends, or it would find its answer gone when the connection is reset.
  void linger() {
    state_ = State::lingering;
    error_code error;
    socket_.shutdown(tcp::socket::shutdown_send, error);
    if (error) return close();
    arm(network_.stopping ? grace_time : linger_time, [this] { close(); });
    parser_.reset();
    discard();
  }

  void discard() {
    buffer_.clear();
    socket_.async_read_some(buffer_.prepare(piece), [self = shared_from_this()](error_code error, size_t) {
      if (self->state_ != State::lingering) return;
      if (error) return self->close();
      self->discard();
    });
  }

  void tell(int status, size_t bytes_out) {
    const auto seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    network_.service.count(account_.route.empty() ? network_.service.route_of(request_) : account_.route, status,
                           seconds);
    if (network_.log == nullptr) return;
    network_.log->add({.remote = remote_,
                       .method = one_line(request_.method, 40),
                       .path = one_line(request_.path, 200),
                       .id = is_plain(request_.id) ? request_.id : std::string(),
                       .status = status,
                       .bytes_in = bytes_in_,
                       .bytes_out = bytes_out,
                       .seconds = seconds,
                       .account = account_});
  }

  Network& network_;
  tcp::socket socket_;
  asio::steady_timer timer_;
  uint64_t armed_ = 0;  // how often the timer was set: an older setting's end means nothing
  State state_ = State::idle;
  std::string remote_;

  boost::beast::flat_buffer buffer_{network_.settings.header_bytes + 4 * piece};
  std::optional<Parser> parser_;
  bool is_late_ = false, keep_alive_ = false;
  Request request_;
  uint64_t request_number_ = 0, bytes_in_ = 0;
  Clock::time_point begin_;
  std::shared_ptr<Call> call_;
  Account account_;
  std::string head_, body_;  // of the answer that is being written
};

void Server::Network::accept() {
  acceptor_.async_accept([this](error_code failed, tcp::socket socket) {
    if (!failed) take(std::move(socket));  // also one that was accepted as the server began to stop
    if (stopping || failed == asio::error::operation_aborted) return;
    if (!failed) return accept();
    accept_timer_.expires_after(std::chrono::milliseconds(100));  // no more descriptors: wait for some
    accept_timer_.async_wait([this](error_code aborted) {
      if (!aborted && !stopping) accept();
    });
  });
}

void Server::Network::take(tcp::socket socket) {
  if (connections_.size() < static_cast<size_t>(settings.connections)) {
    std::make_shared<Connection>(*this, std::move(socket))->wait_for_request();
    return;
  }
  refused_.add();
  const auto response = error_response(RequestError(
      503, ErrorType::overloaded,
      fmt::format("found {} connections, expected at most {}", connections_.size() + 1, settings.connections), 1));
  const auto text = head_of(response, "", false) + response.body;
  error_code ignored;
  socket.non_blocking(true, ignored);
  const auto written = socket.write_some(asio::buffer(text), ignored);
  if (log != nullptr) log->add({.remote = remote_of(socket), .status = response.status, .bytes_out = written});
}

void Server::Network::begin_stop() {
  if (stopping) return;
  service.set_stopping();
  signals_.clear();  // a second signal ends the program
  error_code error;
  while (!error) {  // those who were told that they are connected
    tcp::socket socket(io);
    acceptor_.accept(socket, error);
    if (!error) take(std::move(socket));
  }
  stopping = true;
  acceptor_.close(error);
  accept_timer_.cancel();
  signals_.cancel();
  if (connections_.empty()) return;
  for (auto* connection : std::vector(connections_.begin(), connections_.end())) connection->server_stops();
  stop_timer_.expires_after(settings.stop_time);
  stop_timer_.async_wait([this](error_code aborted) {
    if (aborted) return;
    for (auto* connection : std::vector(connections_.begin(), connections_.end())) connection->close();
  });
}

Server::Server(Service& service, const ServerSettings& settings, AccessLog* log)
    : network_(std::make_shared<Network>(service, settings, log)) {}

Server::~Server() = default;

uint16_t Server::port() const {
  return network_->port();
}

void Server::run() {
  network_->run();
}

void Server::stop() {
  network_->stop();
}

}  // namespace compression::serve
