#include "tests/datasets/data_file.h"

namespace compression::datasets {

TEST_CASE("CSV fields may hold commas, quotes and line ends", "[datasets]") {
  const auto data = read_text_of("a.CSV",
                                 "id,text,label\r\n"
                                 "1,\"a, \"\"b\"\"\",x\r\n"
                                 "2,\"two\r\nlines\",y\r\n"
                                 "\r\n"
                                 "3,in\"side,\"z\"\r\n"
                                 "4,,z");
  CHECK(texts(data) == Strings{"a, \"b\"", "two\r\nlines", "in\"side", ""});
  CHECK(data.labels == Strings{"x", "y", "z", "z"});
  CHECK(data.lines == Numbers{2, 3, 6, 7});
}

TEST_CASE("TSV quotes are ordinary characters", "[datasets]") {
  const auto data = read_text_of("a.tsv", "label\ttext\nx\t\"open\ny\t\"\"a\"\"\r\n");
  CHECK(texts(data) == Strings{"\"open", "\"\"a\"\""});
  CHECK(data.labels == Strings{"x", "y"});
  CHECK(data.lines == Numbers{2, 3});
}

TEST_CASE("A TSV whose fields look quoted gets a warning, and quotes takes them off", "[datasets]") {
  const DataFolder folder;
  // As pandas writes a text with quotes, and one with a line end.
  FileConfig file = folder.write("a.tsv", "text\tlabel\nfirst\tx\n\"he said \"\"good\"\" film\"\ty\n");
  auto data = read_dataset(file);
  CHECK(texts(data) == Strings{"first", "\"he said \"\"good\"\" film\""});
  REQUIRE(data.warnings.size() == 1);
  CHECK(data.warnings.front() == (folder.path() / "a.tsv").string() +
                                     ":3: quotes around the text are read as letters, in 1 of 2 texts; quotes: true "
                                     "(eval: --quotes) takes them off, as pandas and "
                                     "the csv module write them");
  file.quotes = true;
  data = read_dataset(file);
  CHECK(texts(data) == Strings{"first", "he said \"good\" film"});
  CHECK(data.warnings.empty());

  file = folder.write("b.tsv", "text\tlabel\n\"two\nlines\"\tx\nb\ty\n");
  CHECK(message_of<DataError>(folder, [&] { read_dataset(file); }) ==
        "b.tsv:2: 1 column, expected 2: a field begins with a quote; quotes: true (eval: --quotes) reads fields in "
        "quotes, which may hold "
        "tabs and line ends");
  file.quotes = true;
  CHECK(texts(read_dataset(file)) == Strings{"two\nlines", "b"});

  file = folder.write("c.tsv", "\"text\"\t\"label\"\n\"a\"\t\"x\"\n");
  CHECK(message_of<DataError>(folder, [&] { read_dataset(file); }) ==
        "c.tsv:1: no column 'text', the columns are \"text\", \"label\"; quotes: true (eval: --quotes) takes the "
        "quotes off");
  file.quotes = true;
  CHECK(read_dataset(file).labels == Strings{"x"});
  file = folder.write("d.tsv", "text\tlabel\n\"open\tx\n");
  file.quotes = true;
  CHECK(message_of<DataError>(folder, [&] { read_dataset(file); }) ==
        "d.tsv:2: a quote that is not closed, expected a closing quote, or quotes: false where quotes are letters");
}

TEST_CASE("Quotes that are letters get no warning", "[datasets]") {
  const auto warnings = [](std::string_view field) {
    return read_text_of("a.tsv", "text\tlabel\n" + std::string(field) + "\tx\nb\ty\n").warnings.size();
  };
  for (const auto* field : {"\"open", "close\"", "\"", "a \"b\" c", "\"Yes,\" she said, \"no\"", "\"a\"b\"", ""}) {
    INFO(field);
    CHECK(warnings(field) == 0);
  }
  CHECK(warnings("\"\"") == 1);
  CHECK(warnings("\"a\"") == 1);
  CHECK(warnings("\"a \"\"b\"\"\"") == 1);
  CHECK(read_text_of("a.csv", "text,label\n\"\"\"a\"\"\",x\n").warnings.empty());
}

TEST_CASE("Quotes of a CSV may be letters too", "[datasets]") {
  const DataFolder folder;
  FileConfig file = folder.write("a.csv", "text,label\n\"a,x\n");
  file.quotes = false;
  CHECK(texts(read_dataset(file)) == Strings{"\"a"});
}

TEST_CASE("Columns of a file without a header have numbers", "[datasets]") {
  const DataFolder folder;
  FileConfig file = folder.write("a.csv", "x,one,eins\ny,two,zwei\n");
  file.header = false;
  file.label = "0";
  file.text = "1";
  file.text_pair = "2";
  const auto data = read_dataset(file);
  CHECK(texts(data) == Strings{"one", "two"});
  CHECK(data.inputs[1].pair == "zwei");
  CHECK(data.labels == Strings{"x", "y"});
  CHECK(data.lines == Numbers{1, 2});

  file.text = "3";
  CHECK(message_of<DataError>(folder, [&] { read_dataset(file); }) ==
        "a.csv:1: no column 3, there are 3 and the first is 0");
  file.text = "text";
  CHECK(message_of<ConfigError>(folder, [&] { read_dataset(file); }) ==
        "a.csv: column 'text', expected a number from 0 as there is no header");
}

TEST_CASE("A column that is not there is reported with those that are", "[datasets]") {
  CHECK(data_error("a.csv", "\n\"bo\ndy\",label\na,b\n") ==
        "a.csv:2: no column 'text', the columns are bo\\ndy, label");
  CHECK(data_error("a.tsv", "text\tclass\na\tb\n") == "a.tsv:1: no column 'label', the columns are text, class");
}

TEST_CASE("A CSV without labels is read when none are asked for", "[datasets]") {
  const auto data = read_text_of("a.csv", "text\n\"a\"\nb\n", false);
  CHECK(texts(data) == Strings{"a", "b"});
  CHECK(data.labels == Strings{"", ""});
  CHECK(read_text_of("a.csv", "text,label\na,\nb,x\n", false).labels == Strings{"", "x"});

  const DataFolder folder;
  FileConfig file = folder.write("b.csv", "a\nb\n");
  file.header = false;
  file.text = "0";
  file.label = "1";
  CHECK(read_dataset(file, false).labels == Strings{"", ""});
  CHECK(message_of<DataError>(folder, [&] { read_dataset(file); }) ==
        "b.csv:1: no column 1, there are 1 and the first is 0");
}

TEST_CASE("CSV errors name the line, what was found and what was expected", "[datasets]") {
  CHECK(data_error("a.csv", "text,label\na,b\nc\n") == "a.csv:3: 1 column, expected 2");
  CHECK(data_error("a.csv", "text,label\n\"a\nb\",c,d\n") == "a.csv:2: 3 columns, expected 2");
  CHECK(data_error("a.csv", "text,label\na,b\n\"two\nlines\",\"x\ny,z\n") ==
        "a.csv:4: a quote that is not closed, expected a closing quote, or quotes: false where quotes are letters");
  CHECK(data_error("a.csv", "text,label\n\"a\n\"b,c\n") ==
        "a.csv:3: text after a closing quote, expected ',' or the end of the line, or quotes: false where quotes are "
        "letters");
  CHECK(data_error("a.csv", "text,label\n\"a\"\rb,c\n") ==
        "a.csv:2: text after a closing quote, expected ',' or the end of the line, or quotes: false where quotes are "
        "letters");
  CHECK(data_error("a.csv", "text,label\na,\n") == "a.csv:2: an empty label, expected a name or an integer");
  CHECK(data_error("a.csv", "text,label\n") == "a.csv: only a header, expected texts below it");
  CHECK(data_error("a.tsv", "text\tlabel\na b\n") == "a.tsv:2: 1 column, expected 2");
}

TEST_CASE("A file of an unknown format is refused with the formats that are known", "[datasets]") {
  const DataFolder folder;
  FileConfig file = folder.write("a.txt", "text\n");
  CHECK(message_of<ConfigError>(folder, [&] { read_dataset(file); }) ==
        "a.txt: format absent, and 'a.txt' does not tell: expected jsonl, csv, tsv, glue, conll or squad");
  file.format = "xml";
  CHECK(message_of<ConfigError>(folder, [&] { read_dataset(file); }) ==
        "a.txt: format 'xml', expected jsonl, csv, tsv, glue, conll or squad");
}

}  // namespace compression::datasets
