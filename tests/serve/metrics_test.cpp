#include "compress/serve/metrics.h"

#include <catch2/catch.hpp>

#include "compress/serve/access_log.h"

using namespace compression::serve;

TEST_CASE("Metrics are written as Prometheus and as OpenMetrics read them") {
  Metrics metrics;
  metrics.counter("requests", "Answers", {{"route", "/a\"b\\"}, {"code", "200"}}).add();
  metrics.counter("requests", "Answers", {{"route", "/a\"b\\"}, {"code", "200"}}).add();
  metrics.gauge("open", "Connections").set(3.0);
  auto& histogram = metrics.histogram("seconds", "Time", {0.5, 1.0});
  histogram.observe(0.5);
  histogram.observe(0.7);
  histogram.observe(9.0);
  const std::string samples =
      "requests_total{route=\"/a\\\"b\\\\\",code=\"200\"} 2\n"
      "# HELP seconds Time\n# TYPE seconds histogram\n"
      "seconds_bucket{le=\"0.5\"} 1\nseconds_bucket{le=\"1\"} 2\nseconds_bucket{le=\"+Inf\"} 3\n"
      "seconds_sum 10.2\nseconds_count 3\n";
  const std::string open = "# HELP open Connections\n# TYPE open gauge\nopen 3\n";
  CHECK(metrics.text(false) == open + "# HELP requests_total Answers\n# TYPE requests_total counter\n" + samples);
  CHECK(metrics.text(true) == open + "# HELP requests Answers\n# TYPE requests counter\n" + samples + "# EOF\n");
}

TEST_CASE("A line of the access log is JSON, whatever a client sends") {
  const auto line = access_line({.remote = "127.0.0.1:1",
                                 .method = "POST",
                                 .path = "/\"\xff\n",
                                 .status = 200,
                                 .bytes_in = 3,
                                 .bytes_out = 4,
                                 .seconds = 0.5,
                                 .account = {.route = "/embed", .model = "m", .texts = 1, .tokens = 2}},
                                std::chrono::system_clock::time_point(std::chrono::milliseconds(1'500)));
  CHECK(
      line ==
      "{\"time\":\"1970-01-01T00:00:01.500Z\",\"remote\":\"127.0.0.1:1\",\"method\":\"POST\",\"path\":\"/"
      "\\\"\xef\xbf\xbd\\n\","
      "\"status\":200,\"bytes_in\":3,\"bytes_out\":4,\"seconds\":0.5,\"route\":\"/embed\",\"model\":\"m\",\"texts\":1,"
      "\"tokens\":2,\"queue_seconds\":0.0,\"compute_seconds\":0.0}\n");
}
