#include "compress/task/labels.h"

#include <catch2/catch.hpp>

namespace compression {
namespace {

using Names = std::vector<std::string>;
using Ids = std::vector<int64_t>;

/// The class of a label, and the rule that told it: "1 by number".
std::string told(const Names& classes, const std::string& label) {
  const auto found = ClassFinder(classes).find(label);
  if (!found) return "nothing";
  return std::to_string(found->id) + (found->rule == LabelRule::name          ? " by name"
                                      : found->rule == LabelRule::folded_name ? " by folded name"
                                                                              : " by number");
}

TEST_CASE("a label is the class of its name, else but for case and blanks, else of its number") {
  const Names sst{"NEGATIVE", "POSITIVE"};
  CHECK(told(sst, "POSITIVE") == "1 by name");
  CHECK(told(sst, "Positive") == "1 by folded name");
  CHECK(told(sst, " positive\t") == "1 by folded name");
  CHECK(told(sst, "1") == "1 by number");
  CHECK(told({"LABEL_0", "LABEL_1"}, "0") == "0 by number");
  CHECK(told({"Äpfel", "Birnen"}, "äPFEL") == "0 by folded name");
  for (const auto* label : {"2", "-1", "01", "1.0", "", "neutral", "99999999999999999999999"}) {
    INFO(label);
    CHECK(told(sst, label) == "nothing");
  }
}

TEST_CASE("a number is no class where classes are named by numbers, nor a name that two classes have") {
  CHECK(told({"1", "2", "3"}, "1") == "0 by name");
  CHECK(told({"1", "2", "3"}, "0") == "nothing");
  CHECK(told({"0", "other"}, "1") == "nothing");
  CHECK(told({"us", "US"}, "US") == "1 by name");
  CHECK(told({"us", "US"}, "Us") == "nothing");
  CHECK(told({"a", "a", "b"}, "a") == "nothing");
  CHECK(told({"a", "a", "b"}, "b") == "2 by name");
}

TEST_CASE("the classes that a task asks for are found in a model's, whatever their order") {
  CHECK(class_order({{"contradiction", "entailment", "neutral"}}, {"CONTRADICTION", "NEUTRAL", "ENTAILMENT"}) ==
        Ids{0, 2, 1});
  CHECK(class_order({{"0", "1"}}, {"NEGATIVE", "POSITIVE"}) == Ids{0, 1});
  CHECK(class_order({{"1", "0"}}, {"NEGATIVE", "POSITIVE"}) == Ids{1, 0});
  CHECK(class_order({{"0", "1"}}, {"LABEL_0", "LABEL_1"}) == Ids{0, 1});
  CHECK(class_order({{"a", "A"}}, {"a", "b"}).empty());
  CHECK(class_order({{"a", "c"}}, {"a", "b"}).empty());
  CHECK(class_order({{"a", "b", "c"}}, {"a", "b"}).empty());
}

TEST_CASE("classes in excess are left out by name, never by number") {
  CHECK(class_order({{"O", "B-PER"}}, {"B-LOC", "B-PER", "O"}) == Ids{2, 1});
  CHECK(class_order({{"0", "1"}}, {"contradiction", "neutral", "entailment"}).empty());
  CHECK(class_order({{"0", "1"}}, {"LABEL_0", "LABEL_1", "LABEL_2"}).empty());
}

TEST_CASE("data takes the names and the order of a model's classes, and remembers how it writes them") {
  const TaskHead numbers{{"0", "1"}};
  const auto named = with_classes_of(numbers, {"NEGATIVE", "POSITIVE"});
  CHECK(named.labels == Names{"NEGATIVE", "POSITIVE"});
  CHECK(named.written == Names{"0", "1"});
  // Another model, whose classes nobody named, is compared by what the data writes.
  CHECK(class_order(named, {"LABEL_0", "LABEL_1"}) == Ids{0, 1});
  CHECK(class_order(named, {"positive", "negative"}) == Ids{1, 0});

  const auto more = with_classes_of({{"b-per", "o"}, TaskType::token_classification}, {"O", "B-LOC", "B-PER"});
  CHECK(more.labels == Names{"O", "B-LOC", "B-PER"});
  CHECK(more.written == Names{"o", "", "b-per"});
  CHECK(more.task == TaskType::token_classification);

  const Names sentiments{"NEGATIVE", "POSITIVE"};
  const auto spelt = with_classes_of({{"Negative", "POSITIVE ", "Positive", "negative"}}, sentiments);
  CHECK(spelt.labels == sentiments);
  CHECK(spelt.written == Names{"Negative", "POSITIVE "});
  CHECK(with_classes_of({{"0", "POSITIVE", "1", "negative"}}, sentiments).labels == sentiments);

  CHECK(with_classes_of(numbers, {"LABEL_0", "LABEL_1"}) == numbers);
  CHECK(with_classes_of(numbers, {"a", "b", "c"}) == numbers);
  CHECK(with_classes_of(numbers, {}) == numbers);
}

TEST_CASE("labels that are not their classes' names are told, others are not") {
  const Names classes{"NEGATIVE", "POSITIVE"};
  CHECK(label_note({"NEGATIVE", "POSITIVE"}, classes).empty());
  CHECK(label_note({"0", "1"}, classes) == R"(labels "0", "1" are taken for "NEGATIVE", "POSITIVE", by number)");
  CHECK(label_note({"negative", "POSITIVE"}, classes) ==
        R"(labels "negative" are taken for "NEGATIVE", letter case and white space around aside)");
  CHECK(label_note({"nonsense"}, classes).empty());
  CHECK(label_note({"0", "1"}, {"LABEL_0", "LABEL_1"}).empty());
  Names many, numbers;
  for (int i = 0; i < 25; ++i) many.push_back("class " + std::to_string(i)), numbers.push_back(std::to_string(i));
  CHECK_THAT(label_note(numbers, many), Catch::Contains("\"9\" and 15 more are taken for"));
}

}  // namespace
}  // namespace compression
