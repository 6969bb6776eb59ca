#pragma once
// The task's metric against cost, as a picture.

#include <string>
#include <vector>

#include "recipes/report.h"  // Report, StageReport

namespace compression::recipes {

/// What a stage costs: multiply-adds, bytes or milliseconds.
using Cost = double (*)(const StageReport&);

/// The stages that no other one beats, cheapest first: none is at least as good and at most as dear, and better in
/// one of the two. Of equal stages the last stands for all.
std::vector<const StageReport*> front(const Report& report, Cost cost);

/// An SVG picture: the metric against multiply-adds, size of the model file and latency, a point a stage; the fronts
/// are joined by lines.
std::string report_svg(const Report& report);

}  // namespace compression::recipes
