#pragma once
// The reference of a recipe's keys, made from the fields of the configs: docs/recipe.md and `compress explain`.

#include <string>
#include <string_view>
#include <vector>

namespace compression::recipes {

/// The example that docs/recipe.md begins with.
std::string_view sample_recipe();

/// docs/recipe.md.
std::string reference_page();

/// What explain_keys() knows: recipe, model, data, data.train, finetune, distill, distill.student, goals, ...
std::vector<std::string> explainable_sections();

/// Plain text for a terminal: the keys of a section and of those below it, with type, default and meaning.
/// Throws ConfigError naming the sections there are.
std::string explain_keys(std::string_view section);

}  // namespace compression::recipes
