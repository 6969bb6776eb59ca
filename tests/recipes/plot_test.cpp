#include "tests/support.h"

#include <cmath>

#include "recipes/plot.h"
#include "recipes/run.h"

namespace compression::recipes {
namespace {

StageReport stage_of(Metric metric, double value, int64_t macs) {
  StageReport stage;
  stage.reached.metric = metric;
  stage.reached.values[metric] = value;
  stage.macs = macs;
  return stage;
}

Report report_of(const std::vector<std::pair<double, int64_t>>& stages) {
  Report report;
  for (const auto& [accuracy, macs] : stages) {
    auto stage = stage_of(Metric::accuracy, accuracy, macs);
    stage.id = fmt::format("stage{}", report.stages.size());
    stage.bytes = 1000;
    stage.latency = Timing{.median_ms = 1.0};
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
    errors.stages.push_back(stage_of(Metric::mse, error, 1));
  }
  CHECK(front(errors, [](const StageReport& s) { return static_cast<double>(s.macs); }) ==
        std::vector<const StageReport*>{&errors.stages[1]});
}

TEST_CASE("a report's drop is what the metric lost, whichever way it counts") {
  const auto [metric, expected] =
      GENERATE(std::pair(Metric::pearson, -0.2), std::pair(Metric::mse, 0.2), std::pair(Metric::perplexity, 0.2));
  Report report;
  report.metric = metric;
  const StageReport base{.reached = {.metric = metric, .values = {{metric, 0.5}}}},
      stage{.reached = {.metric = metric, .values = {{metric, 0.7}}}};
  CHECK(report.drop(stage, base) == Approx(expected));
  CHECK(report.drop(base, stage) == Approx(-expected));
}

TEST_CASE("a goal on the metric holds for what got worse, whichever way the metric counts") {
  const auto [metric, sign] =
      GENERATE(std::pair(Metric::pearson, 1.0), std::pair(Metric::mse, -1.0), std::pair(Metric::perplexity, -1.0));
  const auto met = [&, metric = metric, sign = sign](double first, double last, double max_drop) {
    Report report;
    report.metric = metric;
    for (const double quality : {first, last}) {
      const double value = sign > 0 ? quality : 9.0 - quality;
      report.stages.push_back({.id = report.stages.empty() ? "teacher" : "shipped",
                               .reached = {.metric = metric, .values = {{metric, value}}}});
    }
    Goals goals;
    goals.accuracy = AccuracyGoal{.relative_to = Reference{"teacher"}, .max_drop = max_drop};
    const auto results = check_goals(goals, report);
    REQUIRE(results.size() == 1);
    return results[0].met;
  };
  CHECK(met(0.9, 0.89, 0.01));  // equal up to rounding
  CHECK_FALSE(met(0.9, 0.88, 0.01));
  CHECK(met(0.5, 0.9, 0.0));
  CHECK_FALSE(met(0.9, std::nan(""), 1.0));
  Goals least;
  least.accuracy = AccuracyGoal{.min = 0.8};
  Report report = report_of({{0.8, 1}});
  CHECK(check_goals(least, report)[0].met);
  report = report_of({{0.7999, 1}});
  CHECK_FALSE(check_goals(least, report)[0].met);
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

TEST_CASE("names of stages that are close to each other do not lie over each other, nor outside of the picture") {
  std::vector<std::pair<double, int64_t>> stages;
  for (int i = 0; i < 9; ++i) stages.push_back({0.95 + 0.0001 * (i % 3), 1'000'000'000 + i % 2});
  auto report = report_of(stages);
  report.stages[4].id = std::string(64, 'x');
  const auto svg = report_svg(report);
  CHECK(svg.find("e+0") == std::string::npos);
  struct Name {
    double x, y, width;
  };
  std::vector<Name> names;
  for (auto at = svg.find("<text x=\""); at != std::string::npos; at = svg.find("<text x=\"", at + 1)) {
    const auto begin = svg.find('>', at) + 1, end = svg.find('<', begin);
    const auto shown = svg.substr(begin, end - begin);
    if (!shown.starts_with("stage") && !shown.starts_with("xxx")) continue;
    names.push_back({std::stod(svg.substr(at + 9)), std::stod(svg.substr(svg.find("y=\"", at) + 3)),
                     6.0 * static_cast<double>(shown.size())});
    CHECK(names.back().x + names.back().width <= 1200);
  }
  CHECK(names.size() == 27);
  for (size_t i = 0; i < names.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const auto &a = names[i], &b = names[j];
      const bool apart = std::abs(a.y - b.y) >= 11 || a.x + a.width <= b.x || b.x + b.width <= a.x;
      CHECK(apart);
    }
  }
}

TEST_CASE("stages that cost nothing, and those that were not measured, are drawn within the picture") {
  auto report = report_of({{0.95, 100}, {0.6, 0}, {0.5, 0}});
  report.stages[0].latency.reset();
  for (const bool all : {false, true}) {
    if (all) {
      for (auto& stage : report.stages) stage = {.id = stage.id, .reached = stage.reached};
    }
    const auto svg = report_svg(report);
    CHECK(svg.find("nan") == std::string::npos);
    CHECK(svg.find("inf") == std::string::npos);
    CHECK((svg.find("not measured") != std::string::npos) == all);
    for (size_t at = svg.find("cx=\""); at != std::string::npos; at = svg.find("cx=\"", at + 1)) {
      const double x = std::stod(svg.substr(at + 4));
      CHECK(x >= 0);
      CHECK(x <= 1200);
    }
  }
}

}  // namespace
}  // namespace compression::recipes
