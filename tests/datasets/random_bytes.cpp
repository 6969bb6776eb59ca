#include <random>

#include "tests/datasets/data_file.h"

namespace compression::datasets {
namespace {

std::string random_text(std::mt19937_64& random, const std::vector<std::string>& parts) {
  std::string text;
  for (auto count = random() % 40; count > 0; --count) text += parts[random() % parts.size()];
  return text;
}

/// Reads it in every format: an example for each text, or an Error.
void read_as_everything(const DataFolder& folder, const std::string& text) {
  FileConfig file = folder.write("fuzz", text);
  for (const std::string format : {"jsonl", "csv", "tsv", "glue"}) {
    for (const bool header : {true, false}) {
      file.format = format;
      file.header = header;
      file.text = header ? "text" : "0";
      file.label = header ? "label" : "1";
      try {
        const Dataset data = read_dataset(file, text.size() % 2 == 0);
        REQUIRE(data.labels.size() == data.inputs.size());
        REQUIRE(data.lines.size() == data.inputs.size());
        REQUIRE_FALSE(data.inputs.empty());
      } catch (const Error& error) {
        REQUIRE(std::string(error.what()).find('\n') == std::string::npos);
      }
    }
  }
}

}  // namespace

TEST_CASE("Random bytes are read or refused, and never crash a reader", "[datasets]") {
  const DataFolder folder;
  std::mt19937_64 random(5);
  std::vector<std::string> bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.emplace_back(1, static_cast<char>(byte));
  const std::vector<std::string> pieces{"\"",
                                        "\"",
                                        ",",
                                        "\t",
                                        "\n",
                                        "\r",
                                        "\r\n",
                                        "{",
                                        "}",
                                        "[",
                                        "]",
                                        "text",
                                        "label",
                                        ":",
                                        "1",
                                        "\\",
                                        "u",
                                        "d8",
                                        " ",
                                        "0",
                                        "a",
                                        "*",
                                        "\xC3",
                                        "\u00E9",
                                        "sentence",
                                        "{\"text\":\"",
                                        "\",\"label\":",
                                        "text,label\n",
                                        "text\tlabel\n",
                                        "sentence\tlabel\n"};
  for (int i = 0; i < 1000; ++i) {
    read_as_everything(folder, random_text(random, bytes));
    read_as_everything(folder, random_text(random, pieces));
    read_as_everything(folder, "text,label\n" + random_text(random, pieces));
  }
}

}  // namespace compression::datasets
