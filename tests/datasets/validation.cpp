#include "tests/datasets/data_file.h"

namespace compression::datasets {
namespace {

Strings problems_of(const FileConfig& config, const DataFolder& folder) {
  Problems problems;
  validate(config, problems);
  Strings result;
  for (const auto& [key, message] : problems.list()) {
    std::string line = key + ": " + message;
    if (const size_t at = line.find(folder.path().string()); at != std::string::npos) {
      line.erase(at, folder.path().string().size() + 1);
    }
    result.push_back(line);
  }
  return result;
}

}  // namespace

TEST_CASE("A sound config has no problems", "[datasets]") {
  const DataFolder folder;
  for (const std::string name : {"a.jsonl", "a.csv", "a.TSV"}) {
    CHECK(problems_of(folder.write(name, "x"), folder).empty());
  }
  FileConfig file = folder.write("train.tsv", "x");
  file.format = "glue";
  CHECK(problems_of(file, folder).empty());
}

TEST_CASE("A config's problems are all reported at once", "[datasets]") {
  const DataFolder folder;
  FileConfig file;
  file.path = folder.path() / "none.txt";
  file.text = "";
  file.label = "";
  CHECK(problems_of(file, folder) ==
        Strings{"format: absent, and 'none.txt' does not tell: expected jsonl, csv, tsv, glue, conll or squad",
                "text: empty, expected the name of a field or column",
                "label: empty, expected the name of a field or column", "label: '', which is the text too"});

  file = FileConfig{};
  CHECK(problems_of(file, folder) == Strings{"path: empty, expected a file of texts"});

  file.path = folder.path() / "d.csv";
  file.format = "parquet";
  CHECK(problems_of(file, folder) == Strings{"format: 'parquet', expected jsonl, csv, tsv, glue, conll or squad"});
}

TEST_CASE("Columns must be numbers in a file without a header", "[datasets]") {
  const DataFolder folder;
  FileConfig file = folder.write("a.csv", "x");
  file.header = false;
  file.text = "1";
  file.text_pair = "-2";
  CHECK(problems_of(file, folder) == Strings{"text_pair: '-2', expected a number from 0 as there is no header",
                                             "label: 'label', expected a number from 0 as there is no header"});
  file = folder.write("a.jsonl", "x");
  file.header = false;
  file.quotes = true;
  CHECK(problems_of(file, folder) == Strings{"header: false, but a JSONL file has no header either way",
                                             "quotes: set, but a JSONL file has JSON's own: leave it out"});
}

TEST_CASE("A GLUE file's columns are not to be set", "[datasets]") {
  const DataFolder folder;
  FileConfig file = folder.write("train.tsv", "x");
  file.format = "glue";
  file.text = "sentence";
  file.text_pair = "b";
  CHECK(problems_of(file, folder) == Strings{"text: set, but the columns of a GLUE task are known: leave it out",
                                             "text_pair: set, but the columns of a GLUE task are known: leave it out"});
  file = folder.write("train.tsv", "x");
  file.format = "glue";
  file.quotes = true;
  CHECK(problems_of(file, folder) == Strings{"quotes: set, but quotes of a GLUE task are letters: leave it out"});
}

}  // namespace compression::datasets
