#include "compress/serve/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <thread>

#include "compress/base/json_file.h"
#include "compress/serve/access_log.h"
#include "compress/serve/serve.h"
#include "fake_model.h"

using namespace compression;
using namespace compression::serve;
using serve::testing::FakeModel;
using namespace std::chrono_literals;

namespace {

TaskType embedding() {
  return std::ranges::find(task_traits, "embedding", &TaskTraits::name)->type;
}

class Client {
 public:
  explicit Client(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    is_open_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Client() { end(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool is_open() const { return is_open_; }

  void end() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

  /// As much of it as the server takes.
  void send(std::string_view text) {
    while (!text.empty()) {
      const auto count = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (count <= 0) return;
      text.remove_prefix(static_cast<size_t>(count));
    }
  }

  /// An answer: its head and its body; empty where the connection ends before.
  std::string receive() {
    for (;;) {
      const auto head = received_.find("\r\n\r\n");
      if (head != std::string::npos) {
        const std::string name = "Content-Length: ";
        const auto length = received_.find(name);
        const auto size = head + 4 + (length < head ? std::stoul(received_.substr(length + name.size())) : 0);
        if (received_.size() >= size) {
          auto answer = received_.substr(0, size);
          received_.erase(0, size);
          return answer;
        }
      }
      if (!more()) return "";
    }
  }

  /// Whether the server ends the connection without another word.
  bool is_ended() { return !more() && received_.empty(); }

 private:
  bool more() {
    pollfd poll{.fd = socket_, .events = POLLIN, .revents = 0};
    REQUIRE(::poll(&poll, 1, 20'000) == 1);
    char buffer[4096];
    const auto count = ::recv(socket_, buffer, sizeof(buffer), 0);
    if (count <= 0) return false;
    received_.append(buffer, static_cast<size_t>(count));
    return true;
  }

  int socket_;
  bool is_open_ = false;
  std::string received_;
};

struct Running {
  std::shared_ptr<FakeModel> model = std::make_shared<FakeModel>(embedding());
  Service service;
  std::unique_ptr<AccessLog> log;
  Server server;
  std::jthread thread;

  explicit Running(ServerSettings settings = {}, ServiceSettings service_settings = {},
                   const std::filesystem::path& log_file = {})
      : service(std::move(service_settings)),
        log(log_file.empty() ? nullptr : std::make_unique<AccessLog>(log_file, service.metrics())),
        server(service, with_any_port(settings), log.get()) {
    service.add("m", model);
    service.set_ready();
    thread = std::jthread([this] { server.run(); });
  }
  ~Running() {
    model->hold(false);
    server.stop();
  }

  static ServerSettings with_any_port(ServerSettings settings) {
    settings.port = 0;
    return settings;
  }
  double metric(const std::string& name) { return service.metrics().counter(name, "").value(); }
};

std::string post(const std::string& text, const std::string& headers = "") {
  const auto body = nlohmann::json{{"inputs", text}}.dump();
  return "POST /embed HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers +
         "\r\n" + body;
}

bool has(const std::string& answer, const std::string& part) {
  INFO(answer);
  CHECK(answer.find(part) != std::string::npos);
  return answer.find(part) != std::string::npos;
}

void wait_until(const std::function<bool()>& holds) {
  for (int i = 0; i < 2000 && !holds(); ++i) std::this_thread::sleep_for(10ms);
  REQUIRE(holds());
}

}  // namespace

TEST_CASE("Requests of a connection are answered in their order, also those that are sent before an answer") {
  Running running;
  Client client(running.server.port());
  client.send(post("a", "X-Request-Id: one\r\n") + post("a b") + "GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto first = client.receive();
  has(first, "HTTP/1.1 200 OK\r\n");
  has(first, "X-Request-Id: one\r\n");
  has(first, "Connection: keep-alive\r\n");
  has(first, "[[1,0]]");
  has(client.receive(), "[[1,0]]");
  has(client.receive(), "text/plain");
  client.send("HEAD /info HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.0\r\n\r\n");
  const auto head = client.receive().substr(0, 15);
  CHECK(head == "");  // its length is told, but not sent: the next answer is what was waited for
}

TEST_CASE("A request in pieces, in chunks or with a question first is read") {
  Running running;
  Client client(running.server.port());
  for (const char c : post("a")) client.send(std::string(1, c));
  has(client.receive(), "200 OK");
  client.send(
      "POST /embed HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
      "chunked\r\n\r\n8\r\n{\"inputs\r\n6\r\n\":\"a\"}\r\n0\r\n\r\n");
  has(client.receive(), "200 OK");
  client.send("POST /embed HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 14\r\n\r\n");
  has(client.receive(), "100 Continue");
  client.send("{\"inputs\":\"a\"}");
  has(client.receive(), "200 OK");
}

TEST_CASE("What is too large is refused, and the client can read why") {
  Running running({.body_bytes = 1000, .header_bytes = 1000});
  const auto answer = [&](const std::string& text) {
    Client client(running.server.port());
    client.send(text);
    return client.receive();
  };
  has(answer("POST /embed HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n" + std::string(1 << 20, 'x')),
      "413 Payload Too Large");
  std::string chunks = "POST /embed HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 1000; ++i) chunks += "10\r\n0123456789abcdef\r\n";
  has(answer(chunks), "413 Payload Too Large");
  has(answer("POST /embed HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(1 << 20, 'x')),
      "HTTP/1.1 4");
  has(answer("GET /" + std::string(1 << 20, 'x')), "431 Request Header Fields Too Large");
  has(answer("GET / HTTP/1.1\r\nHost: a\r\nA: " + std::string(1 << 20, 'x')), "431 Request Header Fields Too Large");
  has(answer("not HTTP at all\r\n\r\n"), "400 Bad Request");
  has(answer("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"), "400 Bad Request");
  has(answer(post("a")), "200 OK");
}

TEST_CASE("Hosts, targets with a host and compressed bodies are as the standard has them") {
  Running running;
  const auto answer = [&](const std::string& text) {
    Client client(running.server.port());
    client.send(text);
    return client.receive();
  };
  has(answer("GET /health HTTP/1.1\r\n\r\n"), "400 Bad Request");
  has(answer("GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), "Host: found it 2 times");
  has(answer("GET /health HTTP/1.0\r\n\r\n"), "200 OK");
  has(answer("GET http://a/health?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"), "200 OK");
  has(answer("GET HTTP://a:80 HTTP/1.1\r\nHost: a\r\n\r\n"), "200 OK");
  has(answer("GET http://a/none HTTP/1.1\r\nHost: a\r\n\r\n"), "404 Not Found");
  has(answer(post("a", "Content-Encoding: identity\r\n")), "200 OK");
  has(answer(post("a", "Content-Encoding: gzip\r\n")), "415 Unsupported Media Type");
  has(answer(post("a", "Content-Encoding: gzip\r\n")), "Content-Encoding: found \\\"gzip\\\", expected none");
}

TEST_CASE("Errors below OpenAI's paths have the form that its clients read") {
  Running running;
  Client client(running.server.port());
  const auto error_of = [&](const std::string& request) {
    client.send(request);
    const auto answer = client.receive();
    return nlohmann::json::parse(answer.substr(answer.find("\r\n\r\n") + 4)).at("error");
  };
  CHECK(error_of("POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}") ==
        nlohmann::json{
            {"message", "input: not there, expected it"}, {"type", "validation"}, {"param", nullptr}, {"code", 400}});
  CHECK(error_of("GET /v1/none HTTP/1.1\r\nHost: a\r\n\r\n").at("code") == 404);
  CHECK(error_of("POST /embed HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}") == "inputs: not there, expected it");
}

TEST_CASE("A request that is sent too slowly is ended with 408, a connection without one in silence") {
  Running running({.request_time = 300ms, .idle_time = 300ms});
  Client idle(running.server.port()), slow_head(running.server.port()), slow_body(running.server.port());
  slow_head.send("POST /embed HTT");
  slow_body.send("POST /embed HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{\"inputs\": ");
  has(slow_head.receive(), "408 Request Timeout");
  has(slow_body.receive(), "408 Request Timeout");
  CHECK(idle.is_ended());
}

TEST_CASE("A client that went away is not computed") {
  Running running({}, {.batches = {.batch_tokens = 3}});
  running.model->hold(true);
  Client first(running.server.port()), gone(running.server.port());
  first.send(post("a"));
  running.model->wait_for_batches(1);
  gone.send(post("a b c"));
  std::this_thread::sleep_for(100ms);
  gone.end();
  wait_until([&] { return running.metric("compress_gone_clients") == 1.0; });
  running.model->hold(false);
  has(first.receive(), "200 OK");
  Client last(running.server.port());
  last.send(post("a"));
  has(last.receive(), "200 OK");
  CHECK(running.model->batches() == std::vector<std::vector<int64_t>>{{3}, {3}});
}

TEST_CASE("A request whose time is up is answered with 504 and not computed") {
  Running running({}, {.batches = {.batch_tokens = 3}});
  running.model->hold(true);
  Client first(running.server.port()), hasty(running.server.port());
  first.send(post("a"));
  running.model->wait_for_batches(1);
  hasty.send(post("a b c", "X-Request-Timeout-Ms: 50\r\n"));
  has(hasty.receive(), "504 Gateway Timeout");
  running.model->hold(false);
  has(first.receive(), "200 OK");
  hasty.send(post("a"));  // the connection stays
  has(hasty.receive(), "200 OK");
  CHECK(running.model->batches() == std::vector<std::vector<int64_t>>{{3}, {3}});
  hasty.send(post("a", "X-Request-Timeout-Ms: soon\r\n"));
  has(hasty.receive(), "422 Unprocessable Entity");
}

TEST_CASE("A full queue is answered with 429 and when to try again") {
  Running running({}, {.batches = {.batch_tokens = 3, .queue_tokens = 6}});
  running.model->hold(true);
  Client first(running.server.port()), waits(running.server.port()), refused(running.server.port());
  first.send(post("a"));
  running.model->wait_for_batches(1);
  waits.send(post("a b c"));
  wait_until(
      [&] { return running.service.metrics().gauge("compress_queue_tokens", "", {{"model", "m"}}).value() == 5.0; });
  refused.send(post("a"));
  const auto answer = refused.receive();
  has(answer, "429 Too Many Requests");
  has(answer, "Retry-After: 1\r\n");
  running.model->hold(false);
  has(waits.receive(), "200 OK");
}

TEST_CASE("More connections than there may be are told so, and logged") {
  const auto log = std::filesystem::temp_directory_path() / ("compress_access_" + std::to_string(::getpid()) + ".log");
  Running running({.connections = 2}, {}, log);
  Client first(running.server.port()), second(running.server.port());
  first.send(post("a"));
  second.send(post("a"));
  has(first.receive(), "200 OK");
  has(second.receive(), "200 OK");
  Client third(running.server.port());
  has(third.receive(), "503 Service Unavailable");
  wait_until([&] { return read_text_file(log).find("\"status\":503") != std::string::npos; });
  std::filesystem::remove(log);
  first.end();
  wait_until([&] { return running.service.metrics().gauge("compress_connections", "").value() < 2.0; });
  Client fourth(running.server.port());
  fourth.send(post("a"));
  has(fourth.receive(), "200 OK");
}

TEST_CASE("A server that stops answers what it has, and what comes on open connections for a while, and no more") {
  Running running;
  running.model->hold(true);
  const auto port = running.server.port();
  Client computed(port), sends(port), idle(port), pauses(port);
  computed.send(post("a"));
  running.model->wait_for_batches(1);
  const auto request = post("a b");
  sends.send(request.substr(0, 20));
  pauses.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
  has(pauses.receive(), "200 OK");
  running.server.stop();
  wait_until([&] { return !Client(port).is_open(); });
  sends.send(request.substr(20));
  pauses.send("GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto last = pauses.receive();
  has(last, "200 OK");
  has(last, "Connection: close");
  running.model->hold(false);
  for (auto* client : {&computed, &sends}) {
    const auto answer = client->receive();
    has(answer, "200 OK");
    has(answer, "Connection: close");
    CHECK(client->is_ended());
    client->end();
  }
  CHECK(idle.is_ended());
  pauses.end();
  running.thread.join();
}

TEST_CASE("Hosts and ports that can't be are told") {
  Service service({});
  CHECK_THROWS_AS(Server(service, {.host = "no such host.invalid"}, nullptr), ConfigError);
  Server first(service, {.port = 0}, nullptr);
  CHECK_THROWS_AS(Server(service, {.host = "203.0.113.1", .port = 0}, nullptr), StorageError);
}

TEST_CASE("Models have the names of their folders, or their own") {
  const auto found = named_folders({"models/a/", "b", "c=models/a", "../d=e/f"});
  std::vector<std::string> names;
  for (const auto& folder : found) names.push_back(folder.name + ":" + folder.folder.string());
  CHECK(names == std::vector<std::string>{"a:models/a/", "b:b", "c:models/a", "f:../d=e/f"});
  CHECK_THROWS_AS(named_folders({"a", "x/a"}), ConfigError);
  CHECK_THROWS_AS(named_folders({"=a"}), ConfigError);
  CHECK_THROWS_AS(named_folders({"a="}), ConfigError);
}
