#include "prune/heat_map.h"

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "compress/base/fields.h"  // enum_name

namespace compression::prune {
namespace {

constexpr double left = 70, top = 46, row_width = 480, row_height = 14, gap = 4;
constexpr int64_t most_cells = 96;

/// The units of one layer, in cells of one or more.
struct Row {
  int64_t layer = 0, units = 0, kept = 0;
  std::vector<double> cells;  // logarithms of the mean scores
};

Row row_of(const GroupScores& group, const torch::Tensor& kept) {
  Row row{group.layer, group.scores.numel(), kept.numel(), {}};
  const auto sorted = std::get<0>(group.scores.to(torch::kDouble).sort(0, /*descending=*/true));
  const auto cells = std::min(row.units, most_cells);
  for (int64_t i = 0; i < cells; ++i) {
    const auto mean = sorted.slice(0, i * row.units / cells, (i + 1) * row.units / cells).mean().item<double>();
    row.cells.push_back(std::log(std::max(mean, 1e-30)));
  }
  return row;
}

/// From white to blue.
std::string colour(double share) {
  const auto between_ends = [&](double from, double to) {
    return static_cast<int>(std::lround(from + share * (to - from)));
  };
  return fmt::format("#{:02x}{:02x}{:02x}", between_ends(247, 8), between_ends(251, 48), between_ends(255, 107));
}

std::string panel(const std::string& title, const std::vector<Row>& rows, double offset) {
  double low = 1e300, high = -1e300;
  for (const auto& row : rows) {
    for (const auto cell : row.cells) low = std::min(low, cell), high = std::max(high, cell);
  }
  const auto range =
      low > high ? "none" : fmt::format("{:.3g} (light) to {:.3g} (dark)", std::exp(low), std::exp(high));
  std::string out =
      fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{}: {}</text>\n", offset + left, top - 14, title, range);
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto& row = rows[r];
    const double y = top + static_cast<double>(r) * (row_height + gap);
    const double width = row_width / static_cast<double>(std::max<size_t>(row.cells.size(), 1));
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">layer {}</text>\n", offset + left - 6,
                       y + row_height - 3, row.layer);
    for (size_t i = 0; i < row.cells.size(); ++i) {
      const double share = high > low ? (row.cells[i] - low) / (high - low) : 1.0;
      out += fmt::format("<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.0f}\" fill=\"{}\"/>\n",
                         offset + left + static_cast<double>(i) * width, y, width, row_height, colour(share));
    }
    const double mark =
        offset + left +
        row_width * static_cast<double>(row.kept) / static_cast<double>(std::max<int64_t>(row.units, 1));
    out += fmt::format(
        "<line x1=\"{0:.2f}\" x2=\"{0:.2f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\" stroke=\"#d00\" stroke-width=\"2\"/>\n",
        mark, y - 2, y + row_height + 2);
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{} of {}</text>\n", offset + left + row_width + 6,
                       y + row_height - 3, row.kept, row.units);
  }
  return out;
}

}  // namespace

std::string importance_svg(const Importance& importance, const std::vector<torch::Tensor>& kept) {
  std::string panels;
  double offset = 0, height = 0;
  size_t longest = 0;  // of "12 of 1536" at a row's end
  for (size_t i = 0; i < importance.size(); ++i) {
    longest = std::max(longest, fmt::format("{} of {}", kept.at(i).numel(), importance[i].scores.numel()).size());
  }
  const double between = 6.3 * static_cast<double>(longest) + 12;
  for (const auto kind : {UnitKind::heads, UnitKind::intermediate}) {
    std::vector<Row> rows;
    for (size_t i = 0; i < importance.size(); ++i) {
      if (importance[i].kind == kind) rows.push_back(row_of(importance[i], kept.at(i)));
    }
    if (rows.empty()) continue;
    panels += panel(kind == UnitKind::heads ? "scores of heads" : "scores of FFN units", rows, offset);
    offset += left + row_width + between;
    height = std::max(height, top + static_cast<double>(rows.size()) * (row_height + gap) + 10);
  }
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
             "font-family=\"sans-serif\" "
             "font-size=\"11\">\n<rect width=\"{0:.0f}\" height=\"{1:.0f}\" fill=\"white\"/>\n",
             offset + 10, height) +
         panels + "</svg>\n";
}

}  // namespace compression::prune
