#pragma once
// What the files of a recipe's models tell before any work: config.json, the names and shapes of weights, and the
// tokenizer's.

#include <filesystem>
#include <string>
#include <vector>

#include "recipes/recipe.h"  // Recipe

namespace compression::recipes {

struct ModelChecks {
  std::vector<std::string> warnings;          // of what may be as it is meant, a line each
  std::vector<std::filesystem::path> beyond;  // folders whose tokenizer has added tokens that the model has no row for:
                                              // texts may have them
};

/// Follows the models through the stages by their sizes. Adds a problem, with the recipe's key, for each setting that
/// the model it is about can't have: heads and units that are not there, layers and hidden dimensions, a reduction that
/// the units which have to stay do not allow, texts longer than a model has positions for, weights that can't be
/// trained or cut any more, a runtime without kernels, a head for the task and its classes where a stage or goal takes
/// the model as it is; and for a model or tokenizer that can't be read, or do not fit each other
/// (compress/model_files/fit.h). `pairs`: texts are pairs. `head`: without labels where the data has not been read.
/// What a stage leaves of its layers is not known after budgets that the scores deal out, and no problem then.
ModelChecks check_models(const Recipe& recipe, bool pairs, const TaskHead& head, Problems& problems);

}  // namespace compression::recipes
