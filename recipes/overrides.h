#pragma once
// --set key=value, applied to a recipe's text before anything else.

#include <string>
#include <vector>

#include "recipes/node.h"  // Node, Issues

namespace compression::recipes {

/// Puts every "key=value" into the tree, in order. In a key, "stages[1]" or "stages.ID" names a stage.
/// Keys that are not there yet are added: whether they are known is told when the recipe is read.
void apply_overrides(Node& root, const std::vector<std::string>& overrides, Issues& issues);

}  // namespace compression::recipes
