#pragma once
// A recipe as JSON and as YAML, with every default written out and every variable replaced.

#include <nlohmann/json.hpp>
#include <string>

#include "recipes/recipe.h"  // Recipe

namespace compression::recipes {

nlohmann::json recipe_json(const Recipe& recipe);

/// Reads back as the same recipe.
std::string to_yaml(const Recipe& recipe);

/// One value on one line: {type: logits, weight: 1.0}.
std::string yaml_flow(const nlohmann::ordered_json& value);

}  // namespace compression::recipes
