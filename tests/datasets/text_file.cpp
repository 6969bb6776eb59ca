#include "datasets/text_file.h"

#include "tests/datasets/data_file.h"

namespace compression::datasets {

TEST_CASE("A file that is not there, a folder and an empty file are told apart", "[datasets]") {
  const DataFolder folder;
  FileConfig file;
  file.path = folder.path() / "none.jsonl";
  CHECK(message_of<DataError>(folder, [&] { read_dataset(file); }) ==
        "none.jsonl: not there, expected a file of texts");

  std::filesystem::create_directory(folder.path() / "some.jsonl");
  file.path = folder.path() / "some.jsonl";
  CHECK(message_of<DataError>(folder, [&] { read_dataset(file); }) == "some.jsonl: a folder, expected a file of texts");

  for (const std::string name : {"a.jsonl", "a.csv", "a.tsv"}) {
    CHECK(data_error(name, "") == name + ": empty, expected texts");
    CHECK(data_error(name, "\xEF\xBB\xBF") == name + ": empty, expected texts");
    CHECK(data_error(name, "\n\r\n\n") == name + ": only empty lines, expected texts");
  }
}

TEST_CASE("Text that is not UTF-8 is refused with its line", "[datasets]") {
  CHECK(data_error("a.csv", "text,label\ncaf\xE9,1\n") == "a.csv:2: byte 0xE9 is not UTF-8, expected UTF-8");
  CHECK(data_error("a.tsv", "text\tlabel\na\t1\nb\xC3\t1\n") == "a.tsv:3: byte 0xC3 is not UTF-8, expected UTF-8");
  CHECK(data_error("a.jsonl", "{\"text\":\"\xFF\",\"label\":1}") ==
        "a.jsonl:1: byte 0xFF is not UTF-8, expected UTF-8");
  CHECK(data_error("a.tsv", std::string_view("\xFF\xFEt\0", 4)) == "a.tsv: UTF-16, expected UTF-8");
}

TEST_CASE("Ill-formed UTF-8 is found where it begins", "[datasets]") {
  const size_t none = std::string_view::npos;
  CHECK(find_ill_formed_utf8("") == none);
  CHECK(find_ill_formed_utf8("plain text that is longer than eight bytes") == none);
  CHECK(find_ill_formed_utf8("\u007F\u0080\u07FF\u0800\uD7FF\uE000\uFFFF\U00010000\U0010FFFF") == none);
  CHECK(find_ill_formed_utf8("12345678\x80") == 8);
  CHECK(find_ill_formed_utf8("a\xC0\x80") == 1);          // overlong
  CHECK(find_ill_formed_utf8("a\xE0\x9F\xBF") == 1);      // overlong
  CHECK(find_ill_formed_utf8("a\xED\xA0\x80") == 1);      // surrogate
  CHECK(find_ill_formed_utf8("a\xF0\x8F\xBF\xBF") == 1);  // overlong
  CHECK(find_ill_formed_utf8("a\xF4\x90\x80\x80") == 1);  // above U+10FFFF
  CHECK(find_ill_formed_utf8("ab\xE2\x82") == 2);         // cut off
  CHECK(find_ill_formed_utf8("\xF0\x9F\x98") == 0);
}

TEST_CASE("What messages show is one line and short", "[datasets]") {
  CHECK(shown("a\tb\nc\rd\x01") == "a\\tb\\nc\\rd\\x01");
  CHECK(shown(std::string(100, 'x')) == std::string(60, 'x') + "...");
  CHECK(shown(std::string(59, 'x') + "\u20AC\u20AC") == std::string(59, 'x') + "...");
  CHECK(listed(Strings{"a", "b\n"}) == "a, b\\n");
  CHECK(listed(Strings(12, "n")) == "n, n, n, n, n, n, n, n, n, n and 2 more");
}

}  // namespace compression::datasets
