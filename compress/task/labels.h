#pragma once
// Which class a label is of: one rule for data and models, wherever a label meets the classes of a head.
//
//   1. a class of that very name;
//   2. else one of that name but for letter case and white space around it, if only one is;
//   3. else, where no class is named by a number, the class of that number: "1" is the second one.
//
// "LABEL_0", "LABEL_1", ... is what transformers calls classes that nobody named.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "compress/spec/config.h"  // TaskHead

namespace compression {

/// The number that a label is, if it is written as to_string() would: "7", not "07".
std::optional<int64_t> class_number(std::string_view label);

/// A label without white space around it, in lower case. Bytes that are not UTF-8 become U+FFFD.
std::string folded_label(std::string_view label);

enum class LabelRule { name, folded_name, number };

class ClassFinder {
 public:
  explicit ClassFinder(const std::vector<std::string>& classes);

  struct Found {
    int64_t id;
    LabelRule rule;
  };
  /// Nothing where no rule tells, or where two classes have the name.
  std::optional<Found> find(const std::string& label) const;

 private:
  std::unordered_map<std::string, int64_t> by_name_, by_folded_name_;  // -1: several classes have it
  int64_t count_;
  bool numbers_are_ids_;
};

/// Whether the classes are LABEL_0, LABEL_1, ...
bool are_unnamed(const std::vector<std::string>& classes);

/// Where each class that a task asks for is among a model's classes; empty where one of them is not there, or two are
/// the same. Those that the model has in excess are left out only where all were found by their names.
std::vector<int64_t> class_order(const TaskHead& wanted, const std::vector<std::string>& classes);

/// The head of data for a model: with the model's classes, in its order, where every label of the data is one of them;
/// else as it is. Several labels may be of one class. A model with more classes than the data is taken where the labels
/// are names; one whose classes nobody named leaves the data its own.
TaskHead with_classes_of(const TaskHead& data, const std::vector<std::string>& classes);

/// What one should know of labels that are not the names of their classes: "labels 0, 1 are taken for NEGATIVE,
/// POSITIVE, by number"; empty if all are, or if nobody named the classes. Labels that are no class are left out.
std::string label_note(const std::vector<std::string>& labels, const std::vector<std::string>& classes);

}  // namespace compression
