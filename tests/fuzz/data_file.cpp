// Three bytes: format, task, and whether there are labels and a header. Then a data file.

#include "datasets/dataset.h"
#include "tests/fuzz/fuzzing.h"

using namespace compression;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzzing::Folder folder;
  fuzzing::Input input(data, size);
  const char* const formats[] = {"jsonl", "csv", "tsv", "glue", "conll", "squad"};
  datasets::FileConfig file{.format = formats[input.byte() % std::size(formats)]};
  const auto tasks = enum_names(TaskType{});
  const auto task = tasks[input.byte() % tasks.size()].first;
  const auto flags = input.byte();
  const bool labelled = (flags & 1) != 0;
  file.header = (flags & 2) != 0;
  if ((flags & 4) != 0) file.text_pair = file.header ? "text_pair" : "2";
  if (!file.header) {
    file.text = "0";
    file.label = "1";
  }
  file.path = folder.write("data", input.rest());
  fuzzing::allow_errors([&] {
    const auto read = datasets::read_dataset(file, labelled, task);
    const auto count = read.inputs.size();
    if (count == 0 || read.lines.size() != count) fuzzing::finding("not a line for each text");
    for (size_t i = 0; i < read.answers.size(); ++i) {
      for (const auto& answer : read.answers[i]) {
        if (read.inputs[i].pair->compare(static_cast<size_t>(answer.begin), answer.text.size(), answer.text) != 0) {
          fuzzing::finding("an answer that is not in its context");
        }
      }
    }
    if (labelled && !read.labels.empty() && task == TaskType::classification) {
      datasets::label_ids(read, datasets::label_names(read));
    }
    if (labelled && !read.label_lists.empty()) datasets::listed_ids(read, datasets::listed_names(read));
    if (labelled && (task == TaskType::regression || task == TaskType::embedding)) datasets::scores(read);
  });
  return 0;
}
