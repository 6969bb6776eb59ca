// Data files that are hostile: each is a DataError, in time and memory that follow from its bytes.

#include <sys/stat.h>

#include <chrono>

#include "compress/base/error.h"
#include "compress/base/limits.h"
#include "datasets/examples.h"
#include "tests/datasets/data_file.h"

namespace compression::datasets {
namespace {

using Catch::Matchers::Contains;

std::string error_as(TaskType task, const std::string& name, std::string_view text) {
  const DataFolder folder;
  const auto file = folder.write(name, text);
  return message_of<DataError>(folder, [&] { read_dataset(file, true, task); });
}

std::string question(size_t context_bytes, const std::string& answers) {
  return R"({"question": "q", "context": ")" + std::string(context_bytes, 'c') + R"(", "answers": [)" + answers +
         "]}\n";
}
const std::string answer = R"({"text": "c", "answer_start": 0})";

}  // namespace

TEST_CASE("A context, a text and a line have a longest", "[datasets]") {
  CHECK(error_as(TaskType::question_answering, "a.jsonl",
                 question(9, answer) + question(limits::context_bytes + 1, answer)) ==
        "a.jsonl:2: a context of 1048577 bytes, expected at most 1048576");
  const std::string paragraph = R"({"data": [{"paragraphs": [{"context": ")" +
                                std::string(limits::context_bytes + 1, 'c') +
                                R"(", "qas": [{"id": "1", "question": "q", "answers": [)" + answer + "]}]}]}]}";
  CHECK(error_as(TaskType::question_answering, "a.json", paragraph) ==
        "a.json: question '1': a context of 1048577 bytes, expected at most 1048576");
  CHECK(
      error_as(TaskType::classification, "a.csv", "text,label\n" + std::string(limits::text_bytes + 1, 't') + ",1\n") ==
      "a.csv:2: a text of 16777217 bytes, expected at most 16777216");
  CHECK(error_as(TaskType::classification, "a.jsonl", std::string(limits::line_bytes + 1, '[')) ==
        "a.jsonl:1: 67108865 bytes, expected at most 67108864 a line");
  CHECK(error_as(TaskType::classification, "a.tsv", std::string(limits::columns, '\t') + "\n") ==
        "a.tsv:1: more than 65536 columns, expected at most that");
}

TEST_CASE("The windows of a long context that share nearly all of their tokens are bounded by its tokens",
          "[datasets]") {
  const DataFolder folder;
  const auto line = [](const std::string& asked, size_t words) {
    std::string context = "c";
    for (size_t i = 1; i < words; ++i) context += " c";
    return R"({"question": ")" + asked + R"(", "context": ")" + context + R"(", "answers": [)" + answer + "]}\n";
  };
  std::string asked = "the";
  for (int i = 0; i < 337; ++i) asked += " the";
  const auto file = folder.write("a.jsonl", line("the", 600) + line(asked, 600) + line(asked, 400'000));
  const auto data = read_dataset(file, true, TaskType::question_answering);
  const auto tokenizer = load_tokenizer(std::string(COMPRESS_GOLDENS) + "/model/tiny");
  const TaskHead head{.task = TaskType::question_answering};
  const auto encode = [&] { encode_examples(data, std::nullopt, head, Metric::f1, *tokenizer, {.max_length = 512}); };
  CHECK_THAT(message_of<DataError>(folder, encode),
             Contains("a.jsonl:3: ") && Contains("windows of") && Contains("tokens in all windows of a text"));
}

TEST_CASE("The copies of a SQuAD file's contexts are bounded by its bytes", "[datasets]") {
  std::string file =
      R"({"data": [{"paragraphs": [{"context": ")" + std::string(limits::context_bytes, 'c') + R"(", "qas": [)";
  for (int i = 0; i < 400; ++i)
    file += std::string(i > 0 ? "," : "") + R"({"id": "1", "question": "q", "answers": [)" + answer + "]}";
  CHECK_THAT(error_as(TaskType::question_answering, "a.json", file + "]}]}]}"),
             Contains("a.json: contexts of more than") && Contains("as often as there are questions"));
}

TEST_CASE("Many answers in a long context are found in time linear in both", "[datasets]") {
  std::string answers = answer;
  for (int i = 0; i < 20'000; ++i) answers += R"(,{"text": "c", "answer_start": 499999})";
  const auto begin = std::chrono::steady_clock::now();
  const DataFolder folder;
  const auto data =
      read_dataset(folder.write("a.jsonl", question(500'000, answers)), true, TaskType::question_answering);
  CHECK(data.answers.front().back().begin == 499'999);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
  CHECK_THAT(error_as(TaskType::question_answering, "a.jsonl", question(512, R"({"text": "c", "answer_start": 512})")),
             Contains("at answer_start 512 the context has its end"));
}

TEST_CASE("JSON of a line is refused when it is nested deeply, and its last value counts of a key that is there twice",
          "[datasets]") {
  CHECK(error_as(TaskType::classification, "a.jsonl", R"({"text": )" + std::string(100'000, '[')) ==
        "a.jsonl:1: found JSON nested deeper than 100 levels");
  std::string many = "{";
  for (int i = 0; i < 100'000; ++i) many += "\"k" + std::to_string(i) + "\":1,";
  const auto data = read_text_of("a.jsonl", many + R"("text":"a","label":"x","text":"b"})" + "\n");
  CHECK(data.inputs.front().text == "b");
}

TEST_CASE("A table of texts and labels has a largest", "[datasets]") {
  std::string text = "text,label\n";
  for (int i = 0; i < 40'000; ++i) text += "t,l" + std::to_string(i) + "\n";
  const DataFolder folder;
  const auto data = read_dataset(folder.write("a.csv", text), true, TaskType::multi_label);
  const TaskHead head{listed_names(data), TaskType::multi_label};
  CHECK_THAT(message_of<DataError>(folder, [&] { labels_of(data, head); }), Contains("40000 texts and 40000 labels"));
}

TEST_CASE("A device is no data file, and a pipe that nobody writes to is empty", "[datasets]") {
  const DataFolder folder;
  FileConfig file{.path = folder.path() / "a.csv"};
  std::filesystem::create_symlink("/dev/zero", file.path);
  CHECK(message_of<DataError>(folder, [&] { read_dataset(file); }) ==
        "a.csv: no regular file, expected a file of texts");
  std::filesystem::remove(file.path);
  REQUIRE(::mkfifo(file.path.c_str(), 0600) == 0);
  CHECK(message_of<DataError>(folder, [&] { read_dataset(file); }) == "a.csv: empty, expected texts");
}

}  // namespace compression::datasets
