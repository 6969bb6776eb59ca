#pragma once
// The network side: HTTP/1.1 on one thread for all connections, with limits of size and time for everything that a
// client does. TLS is a proxy's work.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "compress/serve/access_log.h"
#include "compress/serve/service.h"

namespace compression::serve {

struct ServerSettings {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;  // 0: any that is free
  uint64_t body_bytes = 2 << 20;
  uint32_t header_bytes = 16 << 10;
  int64_t connections = 4096;                      // beyond: 503
  std::chrono::milliseconds request_time{10'000};  // to send a request from its first byte, and to take an answer
  std::chrono::milliseconds idle_time{60'000};     // between requests of a connection
  std::chrono::milliseconds stop_time{30'000};     // that accepted requests have when the server stops
};

/// Answers until it is told to stop: by stop(), SIGINT or SIGTERM. Then it takes no more connections, answers what was
/// accepted, gives connections without a request a second for one that is under way, and returns from run().
class Server {
 public:
  /// Binds and listens. service and log must outlive it; log: null where none is kept. Throws ConfigError for a host
  /// that is none, StorageError where the system refuses (a port that is taken).
  Server(Service& service, const ServerSettings& settings, AccessLog* log);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  uint16_t port() const;

  /// Once, in the thread that is to do all of the network's work.
  void run();

  /// Any thread may call it.
  void stop();

 private:
  class Network;
  const std::shared_ptr<Network> network_;
};

}  // namespace compression::serve
