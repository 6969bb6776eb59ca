#include "compress/serve/serve.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <thread>

#include "compress/base/json_file.h"   // read_text_file
#include "compress/base/limits.h"      // KiB
#include "compress/base/processors.h"  // require_threads
#include "compress/kernels/waiting.h"  // SleepingTeam

namespace compression::serve {
namespace {

namespace fs = std::filesystem;

/// As many open files as the system lets the process have; how many connections that allows.
int64_t most_connections() {
  constexpr rlim_t others = 64;  // models, logs, the network's own
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024 - static_cast<int64_t>(others);
  if (limit.rlim_cur < limit.rlim_max) {
    const auto before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = before;
  }
  if (limit.rlim_cur == RLIM_INFINITY) return INT64_MAX;
  return std::max<int64_t>(static_cast<int64_t>(limit.rlim_cur) - static_cast<int64_t>(others), 1);
}

/// Ends the network's thread however the caller goes on.
class Running {
 public:
  explicit Running(Server& server) : server_(server), thread_([&server] { server.run(); }) {}
  ~Running() { server_.stop(); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  void wait() { thread_.join(); }

 private:
  Server& server_;
  std::jthread thread_;
};

}  // namespace

std::vector<std::string> read_keys(const fs::path& file) {
  const auto text = read_text_file(file, 64 * limits::KiB);
  std::vector<std::string> keys;
  for (size_t begin = 0; begin < text.size();) {
    const auto end = std::min(text.find('\n', begin), text.size());
    std::string_view line(text.data() + begin, end - begin);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (!line.empty()) keys.emplace_back(line);
    begin = end + 1;
  }
  if (keys.empty()) throw ConfigError(fmt::format("{}: found no keys, expected one a line", file.string()));
  return keys;
}

std::vector<NamedFolder> named_folders(const std::vector<std::string>& models) {
  std::vector<NamedFolder> folders;
  for (const auto& model : models) {
    const auto sign = model.find('=');
    const bool is_named = sign != std::string::npos && model.find('/') > sign;
    const fs::path folder = is_named ? model.substr(sign + 1) : model;
    auto name = is_named ? model.substr(0, sign)
                         : fs::absolute(folder / "").lexically_normal().parent_path().filename().string();
    if (name.empty() || folder.empty()) {
      throw ConfigError(fmt::format("model: found \"{}\", expected FOLDER or NAME=FOLDER", model));
    }
    if (std::ranges::find(folders, name, &NamedFolder::name) != folders.end()) {
      throw ConfigError(
          fmt::format("model: found two with the name {}, expected names of their own: NAME=FOLDER", name));
    }
    folders.push_back({std::move(name), folder});
  }
  return folders;
}

void serve(const ServeOptions& options, const ModelLoader& load, const ServeMessages& messages) {
  const auto folders = named_folders(options.models);
  std::signal(SIGPIPE, SIG_IGN);  // of a log that nobody reads any more
  auto service_settings = options.service;
  if (options.key_file) service_settings.keys = read_keys(*options.key_file);
  auto server_settings = options.server;
  if (const auto most = most_connections(); most < server_settings.connections) {
    messages.warning(fmt::format("connections: the system's limit of open files leaves {} of {}", most,
                                 server_settings.connections));
    server_settings.connections = most;
  }
  require_threads(Batcher::most_started(service_settings.batches.threads) + service_settings.workers + 2);
  const kernels::SleepingTeam team;  // threads that compute leave their processors to those that answer, when they wait
  Service service(std::move(service_settings));
  std::optional<AccessLog> log;
  if (options.access_log) log.emplace(*options.access_log, service.metrics());
  Server server(service, server_settings, log ? &*log : nullptr);
  Running running(server);
  std::vector<std::string> names;
  for (const auto& [name, folder] : folders) {
    service.add(name, load(folder));
    names.push_back(name);
  }
  service.warm_up();
  service.set_ready();
  const auto host =
      server_settings.host.find(':') != std::string::npos ? "[" + server_settings.host + "]" : server_settings.host;
  messages.ready(fmt::format("http://{}:{}", host, server.port()), names);
  running.wait();
}

}  // namespace compression::serve
