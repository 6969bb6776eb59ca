#include "tests/support.h"

#include "recipes/plot.h"

namespace compression::recipes {
namespace {

Report report_of(const std::vector<std::pair<double, int64_t>>& stages) {
  Report report;
  for (const auto& [accuracy, macs] : stages) {
    StageReport stage{.id = fmt::format("stage{}", report.stages.size()),
                      .reached = {.values = {{Metric::accuracy, accuracy}}},
                      .macs = macs};
    stage.bytes = 1000;
    stage.latency.median_ms = 1.0;
    report.stages.push_back(stage);
  }
  return report;
}

TEST_CASE("the front holds the stages that no other one beats, cheapest first") {
  const auto report = report_of({{0.95, 100}, {0.90, 20}, {0.91, 50}, {0.90, 60}, {0.95, 100}, {0.89, 10}});
  std::vector<std::string> ids;
  for (const auto* stage : front(report, [](const StageReport& s) { return static_cast<double>(s.macs); })) {
    ids.push_back(stage->id);
  }
  CHECK(ids == std::vector<std::string>{"stage5", "stage1", "stage2", "stage4"});

  auto errors = report_of({});
  errors.metric = Metric::mse;
  for (const double error : {0.2, 0.1, 0.3}) {  // of one cost
    errors.stages.push_back({.reached = {.metric = Metric::mse, .values = {{Metric::mse, error}}}, .macs = 1});
  }
  CHECK(front(errors, [](const StageReport& s) { return static_cast<double>(s.macs); }) ==
        std::vector<const StageReport*>{&errors.stages[1]});
}

TEST_CASE("the picture names every stage in each of its three parts; one stage alone is drawn too") {
  const auto svg = report_svg(report_of({{0.95, 100}, {0.90, 20}}));
  for (const auto* id : {"stage0", "stage1"}) {
    size_t count = 0;
    for (auto at = svg.find(id); at != std::string::npos; at = svg.find(id, at + 1)) ++count;
    CHECK(count == 3);
  }
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(report_svg(report_of({{0.5, 7}})).find("nan") == std::string::npos);
}

}  // namespace
}  // namespace compression::recipes
