#pragma once
// Teachers of another family than their student's.

#include <string>
#include <vector>

#include "recipes/recipe.h"  // Recipe

namespace compression::recipes {

struct OtherFamily {
  std::string key;      // of the teacher: "stages[1].distill.teacher"
  std::string stage;    // its id
  std::string text;     // "mpnet with 30527 tokens, the student bert with 30522 tokens"
  std::string refused;  // the key of the first loss on tokens, if the vocabularies differ; else ""
};

/// What can be told of a recipe's distill and gradual stages before it runs, by the config.json of the checkpoints that
/// teacher and student go back to: pairs whose model_type or vocab_size differ, or of which a stage has cut the
/// vocabulary of one. Folders that can't be read are left out.
std::vector<OtherFamily> teachers_of_other_families(const Recipe& recipe);

}  // namespace compression::recipes
