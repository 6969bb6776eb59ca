#include "recipes/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace compression::recipes {
namespace {

struct Panel {
  const char* title;
  const char* unit;
  Cost cost;
  bool timed;  // of stages that were measured alone
};
constexpr std::array<Panel, 3> panels = {{
    {"multiply-adds of the encoder", "M", [](const StageReport& s) { return static_cast<double>(s.macs) / 1e6; },
     false},
    {"model file", "MB", [](const StageReport& s) { return static_cast<double>(s.bytes) / 1e6; }, false},
    {"latency of one text", "ms", [](const StageReport& s) { return s.latency->median_ms; }, true},
}};

/// The metric's distance from 0, so that more is better; and the metric of that again.
double quality(const Report& report, double value) {
  return compression::drop(0.0, value, report.metric);
}
double quality(const Report& report, const StageReport& stage) {
  return quality(report, stage.value());
}

constexpr double panel_width = 400, panel_height = 320, left = 60, right = 30, top = 40, bottom = 50;

/// An interval of values, and the pixels that it is drawn on; logarithmic where asked, then `low` is above 0 and what
/// is below it is drawn there: a model that lost all heads and units costs nothing.
struct Axis {
  double low, high, from, to;
  bool logarithmic;

  double operator()(double value) const {
    const auto scale = [&](double x) { return logarithmic ? std::log(std::max(x, low)) : x; };
    return from + (scale(value) - scale(low)) / (scale(high) - scale(low)) * (to - from);
  }
};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : std::string(1, c);
  return out;
}

std::string text(double x, double y, const char* anchor, const std::string& content) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, escaped(content));
}

/// "1434", "273", "0.0123".
std::string axis_text(double value) {
  return value >= 1000 ? fmt::format("{:.0f}", value) : fmt::format("{:.3g}", value);
}

struct Box {
  double left, right, top, bottom;

  bool within(const Box& outer) const {
    return left >= outer.left && right <= outer.right && top >= outer.top && bottom <= outer.bottom;
  }
  bool overlaps(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

/// Names beside their points, none over another name or a point.
class Names {
 public:
  explicit Names(Box panel) : panel_(panel) {}

  void add_point(double x, double y) { taken_.push_back({x - radius, x + radius, y - radius, y + radius}); }

  /// As near to the point as there is room, with a line to it from afar; where there is none at all, above it.
  std::string place(double x, double y, const std::string& name) {
    constexpr size_t longest = 32;
    const auto shown = name.size() > longest ? name.substr(0, longest - 3) + "..." : name;
    const double width = 6.3 * static_cast<double>(shown.size());  // of the font at most
    const auto [found, step] = free_place(x, y, width);
    taken_.push_back(found);
    std::string out = text(found.left, found.bottom - 3, "start", shown);
    if (step > 0) {
      const bool right = found.left >= x;
      out += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#999\"/>\n", x, y,
                         right ? found.left - 1 : found.right + 1, (found.top + found.bottom) / 2);
    }
    return out;
  }

 private:
  static constexpr double radius = 4, height = 12;

  std::pair<Box, int> free_place(double x, double y, double width) const {
    constexpr int steps = 24;
    for (int step = 0; step < steps; ++step) {
      for (const auto& [above, right] : {std::pair{true, true}, {true, false}, {false, true}, {false, false}}) {
        const auto tried = box(x, y, width, step, above, right);
        const bool free = std::ranges::none_of(taken_, [&](const Box& other) { return tried.overlaps(other); });
        if (free && tried.within(panel_)) return {tried, step};
      }
    }
    return {box(x, y, width, 0, true, true), 0};
  }

  Box box(double x, double y, double width, int step, bool above, bool right) const {
    const double beside = right ? x + radius + 3 : x - radius - 3 - width;
    const double from = std::max(std::min(beside, panel_.right - width), panel_.left);
    const double bottom = above ? y - 1 - step * height / 2 : y + 1 + height + step * height / 2;
    return {from, from + width, bottom - height, bottom};
  }

  Box panel_;
  std::vector<Box> taken_;
};

/// The stages and folders that have a place in the panel.
Report drawn_in(const Report& report, const Panel& panel) {
  auto drawn = report;
  drawn.stages.insert(drawn.stages.begin(), report.references.begin(), report.references.end());
  std::erase_if(drawn.stages, [&](const StageReport& stage) {
    return !std::isfinite(stage.value()) || (panel.timed && !stage.latency);
  });
  return drawn;
}

std::string draw(const Report& whole, const Panel& panel, double offset) {
  const auto report = drawn_in(whole, panel);
  if (report.stages.empty()) {
    return text(offset + panel_width / 2, top - 15, "middle", fmt::format("{}: not measured", panel.title));
  }
  double low = 1e300, high = 0, worst = 1e300, best = -1e300;
  for (const auto& stage : report.stages) {
    if (panel.cost(stage) > 0) low = std::min(low, panel.cost(stage));
    high = std::max(high, panel.cost(stage));
    worst = std::min(worst, quality(report, stage));
    best = std::max(best, quality(report, stage));
  }
  if (high == 0) low = high = 1e-3;  // nothing costs anything
  const double margin = std::max(0.1 * (best - worst), 0.002);
  const Axis x{low / 1.15, high * 1.15, offset + left, offset + panel_width - right, true};
  const Axis y{worst - margin, best + margin, panel_height - bottom, top, false};
  std::string out = fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"none\" stroke=\"#999\"/>\n", x.from,
      y.to, x.to - x.from, y.from - y.to);
  out += text((x.from + x.to) / 2, top - 15, "middle", panel.title);
  for (const double value : {low, std::sqrt(low * high), high}) {
    out += text(x(value), panel_height - bottom + 18, "middle", axis_text(value) + " " + panel.unit);
  }
  for (const double value : {worst, best}) {
    out += text(x.from - 5, y(value) + 4, "end", value_text(report.metric, quality(report, value)));
  }
  const auto best_stages = front(report, panel.cost);
  std::string line;
  for (const auto* stage : best_stages)
    line += fmt::format("{:.1f},{:.1f} ", x(panel.cost(*stage)), y(quality(report, *stage)));
  out += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"#06c\"/>\n", line);
  Names names({x.from, x.to, y.to, y.from});
  for (const auto& stage : report.stages) {
    const bool on_front = std::ranges::find(best_stages, &stage) != best_stages.end();
    const double cx = x(panel.cost(stage)), cy = y(quality(report, stage));
    out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\" stroke=\"#06c\"/>\n", cx, cy,
                       on_front ? "#06c" : "white");
    names.add_point(cx, cy);
  }
  for (const auto& stage : report.stages) {
    out += names.place(x(panel.cost(stage)), y(quality(report, stage)), stage.id);
  }
  return out;
}

}  // namespace

std::vector<const StageReport*> front(const Report& report, Cost cost) {
  std::vector<const StageReport*> stages;
  for (const auto& stage : report.stages) stages.push_back(&stage);
  std::ranges::stable_sort(stages, [&](const auto* a, const auto* b) {
    const double x = cost(*a), y = cost(*b);
    return x != y ? x < y : quality(report, *a) > quality(report, *b);
  });
  std::vector<const StageReport*> best;
  for (const auto* stage : stages) {
    if (best.empty() || quality(report, *stage) > quality(report, *best.back())) {
      best.push_back(stage);
    } else if (quality(report, *stage) == quality(report, *best.back()) && cost(*stage) == cost(*best.back())) {
      best.back() = stage;
    }
  }
  return best;
}

std::string report_svg(const Report& report) {
  constexpr double width = panel_width * static_cast<double>(panels.size()), legend_height = 24;
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" font-family=\"sans-serif\" "
      "font-size=\"11\">\n<rect width=\"{0:.0f}\" height=\"{1:.0f}\" fill=\"white\"/>\n",
      width, panel_height + legend_height);
  for (size_t i = 0; i < panels.size(); ++i) out += draw(report, panels[i], static_cast<double>(i) * panel_width);
  out += text(width / 2, panel_height + legend_height / 2, "middle",
              "filled: no other stage is better at no more cost; costs on logarithmic axes");
  return out + "</svg>\n";
}

}  // namespace compression::recipes
