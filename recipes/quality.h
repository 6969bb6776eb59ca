#pragma once
// What fewer bits cost, and whether they pay in time, in words.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "recipes/recipe.h"  // Recipe
#include "recipes/report.h"  // Report

namespace compression::recipes {

/// Sentences on the report's last stage, whose manifest this is: those that the stage left (notes.warnings); and, of
/// one that quantizes or exports, how much worse the metric is than that of the float stage it goes back to, from half
/// a point on (mse, perplexity: 0.5 per cent). What is told of a stage is not told again of its export.
std::vector<std::string> quality_warnings(const Recipe& recipe, const Report& report, const nlohmann::json& manifest);

/// A sentence on each stage that quantizes or exports and is measured, and takes, for one text and for many, at least
/// 95 per cent of the time that the float stage takes which it goes back to: why, and which stage of the same weights
/// is faster.
std::vector<std::string> speed_warnings(const Recipe& recipe, const Report& report);

}  // namespace compression::recipes
