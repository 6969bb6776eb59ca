#include "tests/datasets/data_file.h"

namespace compression::datasets {
namespace {

Dataset read_glue_text(std::string_view text, bool labelled = true) {
  const DataFolder folder;
  FileConfig file = folder.write("train.tsv", text);
  file.format = "glue";
  return read_dataset(file, labelled);
}

template <class E>
std::string glue_error(std::string_view text) {
  const DataFolder folder;
  FileConfig file = folder.write("train.tsv", text);
  file.format = "glue";
  return message_of<E>(folder, [&] { read_dataset(file); });
}

}  // namespace

TEST_CASE("GLUE's tasks on one text are recognised", "[datasets]") {
  const auto cola = read_glue_text("gj04\t1\t\tOur friends won't \"buy\".\nks08\t0\t*\tThey drank the pub.\n");
  CHECK(texts(cola) == Strings{"Our friends won't \"buy\".", "They drank the pub."});
  CHECK(cola.labels == Strings{"1", "0"});
  CHECK(cola.lines == Numbers{1, 2});

  const auto sst2 = read_glue_text("sentence\tlabel\nhide new secretions \t0\n\"a\" joy\t1\n");
  CHECK(texts(sst2) == Strings{"hide new secretions ", "\"a\" joy"});
  CHECK(sst2.labels == Strings{"0", "1"});
  CHECK_FALSE(sst2.inputs[0].pair.has_value());
}

TEST_CASE("GLUE's tasks on pairs are recognised", "[datasets]") {
  const auto check = [](std::string_view text, const std::string& label) {
    const auto data = read_glue_text(text);
    CHECK(texts(data) == Strings{"first"});
    CHECK(data.inputs[0].pair == "second");
    CHECK(data.labels == Strings{label});
  };
  check("\xEF\xBB\xBFQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t7\t8\tfirst\tsecond\r\n", "1");
  check("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tfirst\tsecond\t0\n", "0");
  check("index\tquestion\tsentence\tlabel\n0\tfirst\tsecond\tnot_entailment\n", "not_entailment");
  check("index\tsentence1\tsentence2\tlabel\n0\tfirst\tsecond\tentailment\n", "entailment");
  check(
      "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
      "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
      "0\t1\t1n\tfiction\t(\t(\t(\t(\tfirst\tsecond\tneutral\tcontradiction\n",
      "contradiction");
}

TEST_CASE("GLUE's test files have no labels", "[datasets]") {
  const auto data = read_glue_text("index\tsentence\n0\tBill whistled.\n", false);
  CHECK(texts(data) == Strings{"Bill whistled."});
  CHECK(data.labels == Strings{""});
  CHECK(read_glue_text("index\tsentence1\tsentence2\n0\ta\tb\n", false).inputs[0].pair == "b");
  CHECK(glue_error<DataError>("index\tsentence\n0\ta\n") ==
        "train.tsv:1: no column 'label', the columns are index, sentence");
}

TEST_CASE("QQP's broken rows are left out and counted", "[datasets]") {
  const auto data = read_glue_text(
      "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
      "1\t2\t3\ta\tb\t0\n"
      "4\t5\t6\tbroken\n"
      "in two\t1\n"
      "7\t8\t9\tc\td\t1\n");
  CHECK(texts(data) == Strings{"a", "c"});
  CHECK(data.lines == Numbers{2, 5});
  CHECK(data.skipped == 2);
}

TEST_CASE("GLUE files of another kind are refused", "[datasets]") {
  CHECK(glue_error<UnsupportedError>(
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n") ==
        "train.tsv: the labels of STS-B are numbers, supported for task classification: CoLA, SST-2, MRPC, QQP, MNLI, "
        "QNLI, RTE or WNLI");
  CHECK(
      glue_error<DataError>("review\tstars\ngood\t5\n") ==
      "train.tsv:1: the columns are review, stars, expected those of CoLA, SST-2, MRPC, QQP, MNLI, QNLI, RTE or WNLI");
  CHECK(glue_error<DataError>("sentence\tlabel\na\n") == "train.tsv:2: 1 column, expected 2");
  CHECK(glue_error<DataError>("sentence\tlabel\n") == "train.tsv: only a header, expected texts below it");
  CHECK(glue_error<DataError>("a\t1\t\tb\nc\t1\n") == "train.tsv:2: 2 columns, expected 4");
}

}  // namespace compression::datasets
