#include "tests/datasets/data_file.h"

namespace compression::datasets {

TEST_CASE("JSONL gives texts, labels and lines", "[datasets]") {
  const Dataset data = read_text_of("a.jsonl",
                                    "\xEF\xBB\xBF{\"text\": \"one\", \"label\": \"x\", \"id\": {\"a\": [1]}}\r\n"
                                    "\n"
                                    "  \t\r\n"
                                    "{\"label\": 7, \"text\": \"two\\n\\u00e9\\ud83d\\ude00\"}\n"
                                    "{\"label\": -1, \"text\": \"\"}");
  CHECK(texts(data) == Strings{"one", "two\n\u00E9\U0001F600", ""});
  CHECK(data.labels == Strings{"x", "7", "-1"});
  CHECK(data.lines == Numbers{1, 4, 5});
  CHECK_FALSE(data.inputs[0].pair.has_value());
}

TEST_CASE("JSONL fields have the names that the config gives", "[datasets]") {
  const DataFolder folder;
  FileConfig file = folder.write("a.txt", R"({"question": "q", "answer": "a", "fits": "yes"})");
  file.format = "jsonl";
  file.text = "question";
  file.text_pair = "answer";
  file.label = "fits";
  const Dataset data = read_dataset(file);
  CHECK(data.inputs[0].text == "q");
  CHECK(data.inputs[0].pair == "a");
  CHECK(data.labels == Strings{"yes"});

  file.text_pair = "reply";
  CHECK(message_of<DataError>(folder, [&] { read_dataset(file); }) ==
        "a.txt:1: no field 'reply', the fields are question, answer, fits");
}

TEST_CASE("Without labels asked for, a missing one is left empty and a wrong one is still an error", "[datasets]") {
  const auto data = read_text_of(
      "a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\", \"label\": null}\n{\"text\": \"c\", \"label\": 1}", false);
  CHECK(data.labels == Strings{"", "", "1"});
  CHECK(data_error("a.jsonl", R"({"text": "a", "label": 0.5})", false) ==
        "a.jsonl:1: field 'label' is 0.5, expected a string or an integer");
}

TEST_CASE("JSONL errors name the line, what was found and what was expected", "[datasets]") {
  const std::string good = "{\"text\": \"a\", \"label\": \"b\"}\n\n";
  const auto error = [&](const std::string& line) { return data_error("a.jsonl", good + line + "\n"); };
  CHECK(error(R"({"body": "a", "label": "b"})") == "a.jsonl:3: no field 'text', the fields are body, label");
  CHECK(error(R"({"text": "a", "class": "b"})") == "a.jsonl:3: no field 'label', the fields are text, class");
  CHECK(error("{}") == "a.jsonl:3: no field 'label', the object is empty");
  CHECK(error(R"({"text": 5, "label": "b"})") == "a.jsonl:3: field 'text' is 5, expected a string");
  CHECK(error(R"({"text": null, "label": "b"})") == "a.jsonl:3: field 'text' is null, expected a string");
  CHECK(error(R"({"text": ["a"], "label": "b"})") == "a.jsonl:3: field 'text' is an array, expected a string");
  CHECK(error(R"({"text": "a", "label": 1.0})") == "a.jsonl:3: field 'label' is 1.0, expected a string or an integer");
  CHECK(error(R"({"text": "a", "label": true})") ==
        "a.jsonl:3: field 'label' is true, expected a string or an integer");
  CHECK(error(R"({"text": "a", "label": null})") ==
        "a.jsonl:3: field 'label' is null, expected a string or an integer");
  CHECK(error(R"({"text": "a", "label": {}})") ==
        "a.jsonl:3: field 'label' is an object, expected a string or an integer");
  CHECK(error(R"({"text": "a", "label": ""})") == "a.jsonl:3: an empty label, expected a name or an integer");
  CHECK(error(R"(["a", "b"])") == "a.jsonl:3: an array, expected a JSON object");
  CHECK(error(R"("text")") == "a.jsonl:3: \"text\", expected a JSON object");
  CHECK(error("{\"text\": \"a\", \"label\": 1e999}") == "a.jsonl:3: not JSON: found a number that is too large");
}

TEST_CASE("Ill-formed JSON is reported with line and column", "[datasets]") {
  CHECK(data_error("a.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"text\": nul}\n") ==
        "a.jsonl:2: ill-formed JSON at column 13: syntax error while parsing value - invalid literal");
  CHECK(data_error("a.jsonl", "{\"text\": \"a\", \"label\": 1,\n\"x\": 1}\n") ==
        "a.jsonl:1: ill-formed JSON at column 26: syntax error while parsing object key - unexpected end of input; "
        "expected string literal");
  CHECK(data_error("a.jsonl", "{\"text\": \"a\", \"label\": 1} {}") ==
        "a.jsonl:1: ill-formed JSON at column 27: syntax error while parsing value - unexpected '{'; expected end of "
        "input");
  CHECK(data_error("a.jsonl", R"({"text": "\ud800", "label": 1})").find("a.jsonl:1: ill-formed JSON at column") == 0);
}

TEST_CASE("Deep nesting in JSONL does not overflow the stack", "[datasets]") {
  const std::string deep = std::string(2'000'000, '[') + std::string(2'000'000, ']');
  CHECK(data_error("a.jsonl", deep) == "a.jsonl:1: found JSON nested deeper than 100 levels");
  CHECK(data_error("a.jsonl", "{\"label\": 1, \"text\": " + deep + "}") ==
        "a.jsonl:1: found JSON nested deeper than 100 levels");
}

}  // namespace compression::datasets
