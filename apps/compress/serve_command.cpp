#include "serve_command.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "compress/base/byte_size.h"        // parse_byte_size
#include "compress/base/error.h"            // ConfigError
#include "compress/base/message.h"          // json_text
#include "compress/serve/pipeline_model.h"  // load_model
#include "compress/serve/serve.h"
#include "options.h"  // between

namespace compression::app {
namespace {

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(std::llround(seconds * 1e3));
}

uint32_t header_bytes(const std::string& text) {
  constexpr int64_t most = 1 << 24;
  const auto bytes = parse_byte_size(text).bytes;
  if (bytes > most) throw ConfigError("--max-header: found " + text + ", expected at most 16MiB");
  return static_cast<uint32_t>(bytes);
}

}  // namespace

void add_serve(CLI::App& command, ServeArguments& a) {
  command.add_option("models", a.models, "Folders of stages or of Hugging Face form; NAME=FOLDER gives one a name")
      ->required();
  command.add_option("--host", a.host, "Address to listen at; 0.0.0.0 is all of this machine's [127.0.0.1]");
  command.add_option("--port", a.port, "0: any that is free [8080]");
  command.add_option("--max-length", a.max_length, "Tokens that a text may have, if not as many as the folder says")
      ->check(CLI::Range(1, 1 << 20));
  command.add_flag("--truncate", a.truncate,
                   "Texts that are too long are cut, where a request does not say; else refused");
  command.add_option("--max-wait", a.max_wait, "Milliseconds that a request waits for others to be computed with [0]")
      ->check(between(0.0, 10'000.0));
  command.add_option("--batch-tokens", a.batch_tokens, "Tokens that are computed together [512]")
      ->check(CLI::Range(1, 1 << 20));
  command
      .add_option("--queue-tokens", a.queue_tokens,
                  "Tokens of each model that may wait; beyond, requests get 429 [65536]")
      ->check(CLI::Range(1, 1 << 30));
  command.add_option("--max-texts", a.max_texts, "Texts of a request [256]")->check(CLI::Range(1, 65'536));
  command.add_option("--max-body", a.max_body, "Size of a request's body [2MiB]");
  command.add_option("--max-header", a.max_header, "Size of a request's header [16KiB]");
  command.add_option("--connections", a.connections, "Open at once; one more gets 503 [4096]")
      ->check(CLI::Range(1, 1 << 20));
  command
      .add_option("--timeout", a.timeout, "Seconds for a request's answer; X-Request-Timeout-Ms may ask for less [60]")
      ->check(between(0.001, 86'400.0));
  command.add_option("--request-time", a.request_time, "Seconds to send a request, or to take an answer [10]")
      ->check(between(0.001, 86'400.0));
  command.add_option("--idle-time", a.idle_time, "Seconds that a connection may have no request [60]")
      ->check(between(0.001, 86'400.0));
  command.add_option("--stop-time", a.stop_time, "Seconds for accepted requests when the server is stopped [30]")
      ->check(between(0.001, 86'400.0));
  command.add_option("--api-key-file", a.key_file,
                     "File with keys, one a line: requests need \"Authorization: Bearer KEY\"");
  command.add_option("--access-log", a.access_log,
                     "File for a line of JSON a request; -: standard error, off: none [-]");
}

int serve_command(const ServeArguments& a, int threads, bool json,
                  const std::function<void(const std::string& line)>& warning) {
  serve::ServeOptions options{.models = a.models};
  options.service = {.batches = {.batch_tokens = a.batch_tokens,
                                 .max_wait = std::chrono::microseconds(std::llround(a.max_wait * 1e3)),
                                 .queue_tokens = a.queue_tokens,
                                 .threads = threads},
                     .max_texts = a.max_texts,
                     .truncate = a.truncate,
                     .timeout = milliseconds(a.timeout),
                     .version = COMPRESS_VERSION};
  options.server = {.host = a.host,
                    .port = a.port,
                    .body_bytes = static_cast<uint64_t>(parse_byte_size(a.max_body).bytes),
                    .header_bytes = header_bytes(a.max_header),
                    .connections = a.connections,
                    .request_time = milliseconds(a.request_time),
                    .idle_time = milliseconds(a.idle_time),
                    .stop_time = milliseconds(a.stop_time)};
  if (a.key_file) options.key_file = *a.key_file;
  if (a.access_log != "off") options.access_log = a.access_log;
  const auto ready = [&](const std::string& url, const std::vector<std::string>& names) {
    if (json) {
      std::cout << json_text(nlohmann::json{{"url", url}, {"models", names}}) << std::endl;
      return;
    }
    std::cout << "serving";
    for (size_t i = 0; i < names.size(); ++i) std::cout << (i == 0 ? " " : ", ") << names[i];
    std::cout << " at " << url << std::endl;
  };
  serve::serve(options,
               [&](const std::filesystem::path& folder) { return serve::load_model(folder, a.max_length, warning); },
               {.warning = warning, .ready = ready});
  return 0;
}

}  // namespace compression::app
