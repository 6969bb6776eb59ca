// One class a text, or any number of them.

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>

#include "compress/base/limits.h"  // label_cells
#include "datasets/kinds.h"
#include "datasets/text_file.h"  // fail, in_quotes

namespace compression::datasets {
namespace {

class Class : public ExampleKind {
 public:
  void read(const Json& object, const FileConfig& file, bool labelled, const Place& place,
            Dataset& data) const override {
    data.labels.push_back(read_label(object, *file.label, labelled, place));
    add_text(object, file, place, data);
  }

  std::vector<std::string> head_labels(const Dataset& train) const override { return label_names(train); }

  Labels labels(const Dataset& data, const std::vector<std::string>& classes) const override {
    return {.rows = torch::tensor(label_ids(data, classes), torch::kInt64)};
  }

 private:
  static std::string read_label(const Json& object, const std::string& name, bool labelled, const Place& place) {
    if (is_missing(object, name) && !labelled) return "";
    const auto& value = field(object, name, place);
    if (value.is_number_integer()) return value.dump();
    if (!value.is_string()) {
      place.fail(fmt::format("field {} is {}, expected a string or an integer", in_quotes(name), value_shown(value)));
    }
    auto label = value.get<std::string>();
    if (labelled && label.empty()) place.fail("an empty label, expected a name or an integer");
    return label;
  }
};

class ClassList : public ExampleKind {
 public:
  void read(const Json& object, const FileConfig& file, bool labelled, const Place& place,
            Dataset& data) const override {
    data.label_lists.emplace_back();
    if (labelled || !is_missing(object, *file.label)) {
      data.label_lists.back() = list_field(object, *file.label, true, place);
    }
    add_text(object, file, place, data);
  }

  std::vector<std::string> head_labels(const Dataset& train) const override { return listed_names(train); }

  Labels labels(const Dataset& data, const std::vector<std::string>& classes) const override {
    const auto ids = listed_ids(data, classes);
    const auto count = static_cast<int64_t>(std::max<size_t>(classes.size(), 1));
    if (static_cast<int64_t>(ids.size()) > limits::label_cells / count) {
      fail(data.path, fmt::format("{} texts and {} labels, of which a table is made: expected a product of at most {}",
                                  ids.size(), count, limits::label_cells));
    }
    const auto rows =
        torch::zeros({static_cast<int64_t>(ids.size()), static_cast<int64_t>(classes.size())}, torch::kFloat);
    auto cells = rows.accessor<float, 2>();
    for (size_t i = 0; i < ids.size(); ++i) {
      for (const auto id : ids[i]) cells[static_cast<int64_t>(i)][id] = 1.0f;
    }
    return {.rows = rows};
  }
};

}  // namespace

const ExampleKind& class_examples() {
  static const Class kind;
  return kind;
}

const ExampleKind& class_list_examples() {
  static const ClassList kind;
  return kind;
}

}  // namespace compression::datasets
