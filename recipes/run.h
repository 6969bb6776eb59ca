#pragma once
// Runs a recipe: its stages in order, a folder each, and a report.

#include "compress/workflow/context.h"  // Context
#include "recipes/recipe.h"             // Recipe
#include "recipes/report.h"             // Report
#include "recipes/task_data.h"          // TaskData

namespace compression::recipes {

/// Runs the stages whose config or inputs have changed since their folder was written; others are skipped. Each stage's
/// folder is whole or not there, and finished ones stay whatever happens later. Evaluates every stage on the validation
/// and the test texts, measures it on this machine, checks the goals, and writes report.json and report.md into
/// recipe.output. context: logger, device, progress and stop are used; seed and work folder come from the recipe.
/// Throws Error of every kind, ConfigError before any work if the output folder is not as output_folder.h asks; after a
/// stage is finished, the report of what there is (Report::error, unfinished) is written first, whatever is thrown. A
/// missed goal is no error: Report::met().
Report run(const Recipe& recipe, Context& context);

/// What came of each goal, which are about the last stage of the report.
std::vector<GoalReport> check_goals(const Goals& goals, const Report& report);

/// What run() would do with each stage: "up to date", or why it has to run. `data`: the recipe's.
struct StagePlan {
  std::string id, kind, reason;
  bool up_to_date = false;
};
std::vector<StagePlan> plan(const Recipe& recipe, const TaskData& data);

}  // namespace compression::recipes
