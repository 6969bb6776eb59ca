// tests/goldens/datasets/make_goldens.py wrote the files, and what Python's csv module reads from them.

#include <nlohmann/json.hpp>

#include "tests/datasets/data_file.h"

namespace compression::datasets {

TEST_CASE("Hard CSV and TSV files are read as Python's csv module reads them", "[datasets]") {
  const auto goldens = std::filesystem::path(__FILE__).parent_path().parent_path() / "goldens" / "datasets";
  const std::string name = GENERATE(as<std::string>(), "minimal.csv", "crlf.csv", "quote_all.csv", "bom.csv",
                                    "no_last_line_end.csv", "by_hand.csv", "quotes_are_plain.tsv");
  FileConfig file;
  file.path = goldens / name;
  file.text_pair = "pair";
  const Dataset data = read_dataset(file);

  std::ifstream expected_file(std::filesystem::path(file.path).replace_extension(".expected.jsonl"));
  size_t i = 0;
  for (std::string line; std::getline(expected_file, line); ++i) {
    const auto expected = nlohmann::json::parse(line);
    INFO(name << ", example " << i);
    REQUIRE(i < data.inputs.size());
    REQUIRE(data.inputs[i].text == expected["text"].get<std::string>());
    REQUIRE(data.inputs[i].pair == expected["pair"].get<std::string>());
    REQUIRE(data.labels[i] == expected["label"].get<std::string>());
    REQUIRE(data.lines[i] == expected["line"].get<int64_t>());
  }
  CHECK(i >= 4);
  CHECK(i == data.inputs.size());
}

}  // namespace compression::datasets
