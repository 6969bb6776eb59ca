#pragma once
// ${name} in the values of a recipe.

#include "recipes/node.h"  // Node, Issues

namespace compression::recipes {

/// Replaces every ${name} by an entry of `variables`, else by the single value at that key path: ${seed},
/// ${data.max_length}. These may have variables in turn. A value that is one variable and nothing else takes its type;
/// $${ is a plain ${. Unknown names and cycles become issues, and the values that have them are marked as broken; so do
/// variables of --set that no value uses.
void resolve_variables(Node& root, Issues& issues);

}  // namespace compression::recipes
