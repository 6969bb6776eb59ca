#pragma once
// `compress serve`, and the same as a program of its own without LibTorch (apps/serve).

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace compression::app {

struct ServeArguments {
  std::vector<std::string> models;
  std::string host = "127.0.0.1";
  uint16_t port = 8080;
  std::optional<int64_t> max_length;
  double max_wait = 0.0;  // milliseconds
  int64_t batch_tokens = 512, queue_tokens = 65'536;
  int64_t max_texts = 256, connections = 4096;
  bool truncate = false;
  std::string max_body = "2MiB", max_header = "16KiB";
  double timeout = 60.0, request_time = 10.0, idle_time = 60.0, stop_time = 30.0;  // seconds
  std::optional<std::string> key_file;
  std::string access_log = "-";
};

void add_serve(CLI::App& command, ServeArguments& arguments);

/// Until the server was told to stop. Tells where it listens on standard output, when it is ready.
int serve_command(const ServeArguments& arguments, int threads, bool json,
                  const std::function<void(const std::string& line)>& warning);

}  // namespace compression::app
