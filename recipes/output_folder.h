#pragma once
// The folder of a run: that it is apart from what the run reads, and that nothing of others is replaced in it.

#include <filesystem>

#include "recipes/recipe.h"  // Recipe, Problems

namespace compression::recipes {

/// Where a stage's training keeps its state while it is at work.
std::filesystem::path resume_folder(const Recipe& recipe, const std::string& id);

/// Removes what a run has written into a resume_folder(), and the folder if nothing else is in it. Throws StorageError.
void remove_resume_folder(const std::filesystem::path& folder);

/// Problems: an output folder that is, holds or lies in something that the recipe reads, by whatever links and names
/// the two are reached; a folder of teachers' outputs that is or lies in one; and, under the name of a stage's folder,
/// of a report or of what a run keeps beside them, anything that is not of this program's making (own_folder.h).
void validate_output(const Recipe& recipe, Problems& problems);

}  // namespace compression::recipes
