#pragma once
// What a recipe's texts and labels are like, and what of it may spoil a run: looked at before any training.

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "recipes/recipe.h"     // Recipe
#include "recipes/task_data.h"  // TaskData

namespace compression::recipes {

/// Lengths in tokens of the recipe's model, special ones included, before anything is cut.
struct Lengths {
  int64_t median = 0, p90 = 0, p99 = 0, longest = 0;
  double cut = 0.0;       // share of the texts that are longer than max_length; of question answering, of no meaning: 0
  int64_t looked_at = 0;  // texts: all, or most_lengths of them, evenly spaced
};
constexpr int64_t most_lengths = 20'000;

struct SplitReport {
  Split split = Split::train;
  std::string file;
  int64_t texts = 0;
  int64_t empty = 0;                       // texts, or either text of a pair, of white space alone
  int64_t repeated = 0;                    // texts that stand in the split before
  int64_t unanswerable = 0;                // questions without an answer
  std::map<std::string, int64_t> classes;  // of tasks with classes: how often each label is there
  std::optional<Lengths> lengths;          // absent without a tokenizer that can be read
};

struct DataReport {
  int64_t max_length = 0;
  std::vector<std::string> class_names;  // in the order of their ids
  std::vector<SplitReport> splits;
  std::vector<std::string> warnings;  // a line each, for people
};

/// The order of the labels is TaskData's. `tokenizer` may be null.
DataReport look_at(const TaskData& data, const Tokenizer* tokenizer);

/// The same with the tokenizer of a recipe's model, if that can be read.
DataReport look_at(const TaskData& data, const Recipe& recipe);

/// {"max_length", "splits": [{"split", "file", "texts", "empty", "repeated", "unanswerable", "classes", "lengths"}],
/// "warnings"}
nlohmann::json data_json(const DataReport& report);

/// Lines for people.
std::vector<std::string> data_lines(const DataReport& report);

}  // namespace compression::recipes
