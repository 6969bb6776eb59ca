#pragma once
// From a recipe's YAML to a Recipe that is known to be sound.
//
// Overrides ("--set key=value") are applied first, then ${variables}, then everything is read and validated.
//   key    the path that messages show: data.max_length, stages[1].distill.losses[0].weight. A stage may be named by
//   its id
//          in place of its position: stages.student.distill.epochs.
//   value  YAML: 64, [1, 3, 5], {max: 30MB}; nothing takes the key away.
// Variables: see variables.h. Relative paths are relative to the folder that the program runs in, not to the recipe.

#include <filesystem>
#include <string>
#include <vector>

#include "recipes/recipe.h"  // Recipe

namespace compression::recipes {

enum class FileCheck { on, off };

/// Throws ConfigError with all problems, one a line, in the order of the file and those of overrides last:
///   recipes/x.yaml:12: stages[2].prune.heads: found "six", expected an integer
///   --set stages[1].distill.epochs=0: stages[1].distill.epochs: found 0, expected from 1 to 100000
/// Text that is no YAML, or no map, ends with that problem alone. With FileCheck::off, the files and checkpoint folders
/// that the recipe names need not be there.
Recipe load_recipe(const std::filesystem::path& path, const std::vector<std::string>& overrides = {},
                   FileCheck files = FileCheck::on);

/// The same from memory; `name` stands for the file in messages.
Recipe parse_recipe(const std::string& text, const std::string& name, const std::vector<std::string>& overrides = {},
                    FileCheck files = FileCheck::on);

/// Throws ConfigError with all problems that were found after a recipe was loaded, in the same form; with their keys
/// alone for a recipe that was made in code.
void throw_if_any(const Problems& problems, const Recipe& recipe);

}  // namespace compression::recipes
