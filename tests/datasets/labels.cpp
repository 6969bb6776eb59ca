#include "tests/datasets/data_file.h"

namespace compression::datasets {
namespace {

Dataset with_labels(Strings labels) {
  Dataset data;
  data.path = "d.jsonl";
  data.labels = std::move(labels);
  data.inputs.resize(data.labels.size());
  for (size_t i = 0; i < data.labels.size(); ++i) data.lines.push_back(static_cast<int64_t>(10 * i + 10));
  return data;
}

std::string label_error(const Dataset& data, const Strings& names) {
  return message_of<DataError>(DataFolder(), [&] { label_ids(data, names); });
}

std::string names_error(const Dataset& data) {
  return message_of<DataError>(DataFolder(), [&] { label_names(data); });
}

}  // namespace

TEST_CASE("Labels that are 0 to n-1 are sorted by value", "[datasets]") {
  CHECK(label_names(with_labels({"10", "2", "0", "1", "3", "9", "8", "4", "5", "7", "6", "2"})) ==
        Strings{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"});
}

TEST_CASE("Other labels are sorted by byte", "[datasets]") {
  CHECK(label_names(with_labels({"b", "a", "B", "\u00E9", "b"})) == Strings{"B", "a", "b", "\u00E9"});
  CHECK(label_names(with_labels({"1", "2", "10"})) == Strings{"1", "10", "2"});
  CHECK(label_names(with_labels({"-1", "0", "1"})) == Strings{"-1", "0", "1"});
  CHECK(label_names(with_labels({"00", "1"})) == Strings{"00", "1"});
}

TEST_CASE("Fewer than two classes are refused", "[datasets]") {
  CHECK(names_error(with_labels({"a", "a"})) == "d.jsonl: every label is 'a', expected two classes or more");
  CHECK(names_error(with_labels({})) == "d.jsonl: no examples, expected two classes or more");
  CHECK(names_error(with_labels({"a", "", "b"})) == "d.jsonl:20: no label, expected one to train on");
}

TEST_CASE("Labels are ids by name, or by number where no name is a number", "[datasets]") {
  CHECK(label_ids(with_labels({"b", "a", "1", "0"}), {"a", "b"}) == Numbers{1, 0, 1, 0});
  CHECK(label_ids(with_labels({"3", "1"}), {"1", "2", "3"}) == Numbers{2, 0});
}

TEST_CASE("Labels are ids whatever their letter case and the blanks around them", "[datasets]") {
  CHECK(label_ids(with_labels({"Entailment", " neutral "}), {"CONTRADICTION", "NEUTRAL", "ENTAILMENT"}) ==
        Numbers{2, 1});
  CHECK(distinct_labels(with_labels({"b", "", "a", "b"})) == Strings{"a", "b"});
}

TEST_CASE("A label that is no class is refused with its line and the classes", "[datasets]") {
  CHECK(label_error(with_labels({"a", "c\n"}), {"a", "b"}) ==
        "d.jsonl:20: label 'c\\n', expected one of the 2 classes: a, b");
  CHECK(label_error(with_labels({"2"}), {"a", "b"}) == "d.jsonl:10: label '2', expected one of the 2 classes: a, b");
  CHECK(label_error(with_labels({"-1"}), {"a", "b"}) == "d.jsonl:10: label '-1', expected one of the 2 classes: a, b");
  CHECK(label_error(with_labels({"01"}), {"a", "b"}) == "d.jsonl:10: label '01', expected one of the 2 classes: a, b");
  CHECK(label_error(with_labels({"0"}), {"1", "2"}) == "d.jsonl:10: label '0', expected one of the 2 classes: 1, 2");
  CHECK(label_error(with_labels({""}), {"a", "b"}) == "d.jsonl:10: label '', expected one of the 2 classes: a, b");
  CHECK(label_error(with_labels({"99999999999999999999999"}), {"a", "b"}) ==
        "d.jsonl:10: label '99999999999999999999999', expected one of the 2 classes: a, b");
}

}  // namespace compression::datasets
