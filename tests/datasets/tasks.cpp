// What tasks other than classification read, and what they make of it.
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "compress/base/error.h"
#include "datasets/examples.h"
#include "tests/datasets/data_file.h"

namespace compression::datasets {
namespace {

std::string task_error(TaskType task, const std::string& name, std::string_view text) {
  const DataFolder folder;
  const auto file = folder.write(name, text);
  return message_of<DataError>(folder, [&] {
    const auto data = read_dataset(file, true, task);
    labels_of(data, head_for(task, data));
  });
}

Dataset task_data(TaskType task, const std::string& name, std::string_view text) {
  const DataFolder folder;
  return read_dataset(folder.write(name, text), true, task);
}

std::shared_ptr<const Tokenizer> tiny_tokenizer() {
  return load_tokenizer(std::string(COMPRESS_GOLDENS) + "/model/tiny");
}

}  // namespace

TEST_CASE("Regression reads numbers, and says which label is none", "[datasets]") {
  const auto data = task_data(TaskType::regression, "a.jsonl",
                              "{\"text\": \"a\", \"label\": 2.5}\n{\"text\": \"b\", \"label\": \"-1e-1\"}\n"
                              "{\"text\": \"c\", \"label\": 3}");
  CHECK(scores(data) == std::vector<double>{2.5, -0.1, 3.0});
  CHECK(task_error(TaskType::regression, "a.jsonl", R"({"text": "a", "label": "high"})") ==
        "a.jsonl:1: label 'high', expected a number");
  CHECK(task_error(TaskType::regression, "a.jsonl", R"({"text": "a", "label": [1]})") ==
        "a.jsonl:1: field 'label' is an array, expected a number");
  CHECK(task_error(TaskType::regression, "a.csv", "text,label\na,1\nb,inf\n") ==
        "a.csv:3: label 'inf', expected a number");
  CHECK(task_error(TaskType::embedding, "a.jsonl", R"({"text": "a", "text_pair": "b", "label": 4.2})") ==
        "a.jsonl:1: label 4.2, expected from -1 to 1: the cosine that the pair should have");
  CHECK(task_error(TaskType::embedding, "a.jsonl", R"({"text": "a", "label": 0.2})") ==
        "a.jsonl:1: no field 'text_pair', the fields are text, label");
}

TEST_CASE("STS-B's scores are numbers, and cosines for embedding", "[datasets]") {
  const DataFolder folder;
  auto file = folder.write("train.tsv",
                           "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
                           "0\tg\tf\ty\t1\tn\tn\tA plane.\tAn air plane.\t4.500\n");
  file.format = "glue";
  const auto data = read_dataset(file, true, TaskType::regression);
  CHECK(data.inputs[0].pair == "An air plane.");
  CHECK(scores(data) == std::vector<double>{4.5});
  CHECK(scores(read_dataset(file, true, TaskType::embedding)) == std::vector<double>{0.9});
  auto sst2 = folder.write("sst.tsv", "sentence\tlabel\na\t1\n");
  sst2.format = "glue";
  CHECK(message_of<UnsupportedError>(folder, [&] { read_dataset(sst2, true, TaskType::regression); }) ==
        "sst.tsv: the labels of SST-2 are classes, supported for task regression: STS-B");
}

TEST_CASE("Several labels a text are lists, or columns with a separator", "[datasets]") {
  const Dataset json = task_data(TaskType::multi_label, "a.jsonl",
                                 "{\"text\": \"a\", \"label\": [\"x\", 3]}\n{\"text\": \"b\", \"label\": []}");
  CHECK(json.label_lists == std::vector<Strings>{{"x", "3"}, {}});
  const auto csv = task_data(TaskType::multi_label, "a.csv", "text,label\na,y|x\nb,\nc,y\n");
  CHECK(csv.label_lists == std::vector<Strings>{{"y", "x"}, {}, {"y"}});
  const auto head = head_for(TaskType::multi_label, csv);
  CHECK(head.labels == Strings{"x", "y"});
  const auto rows = labels_of(csv, head).rows;
  CHECK(torch::equal(rows, torch::tensor({{1.0f, 1.0f}, {0.0f, 0.0f}, {0.0f, 1.0f}})));
  CHECK(task_error(TaskType::multi_label, "a.jsonl", R"({"text": "a", "label": "x"})") ==
        "a.jsonl:1: field 'label' is \"x\", expected a list of strings or integers");
  CHECK(task_error(TaskType::multi_label, "a.csv", "text,label\na,\n") ==
        "a.csv: no labels, expected some to train on");
  // What pandas writes of a column of lists would be one label, of an odd name.
  for (const auto* list : {"\"['x', 'y']\"", "\"[0, 1]\"", "[]", "[1]"}) {
    INFO(list);
    CHECK_THAT(task_error(TaskType::multi_label, "a.csv", fmt::format("text,label\na,x\nb,{}\n", list)),
               Catch::Contains("a.csv:3: label") && Catch::Contains("lists are read from JSONL"));
  }
  CHECK(task_data(TaskType::multi_label, "a.csv", "text,label\na,[x]\n").label_lists == std::vector<Strings>{{"[x]"}});
  const DataFolder folder;
  const auto other = read_dataset(folder.write("b.csv", "text,label\na,x|z\n"), true, TaskType::multi_label);
  CHECK(message_of<DataError>(folder, [&] { labels_of(other, head); }) ==
        "b.csv:2: label 'z', expected one of the 2 classes: x, y");
}

TEST_CASE("Words and tags are read from JSONL and CoNLL", "[datasets]") {
  const std::string conll = "-DOCSTART- -X- O\n\nAnna NNP B-PER\nlives VBZ O\n\n\nin\tIN\tO\nParis\tNNP\tB-LOC\r\n";
  const auto data = task_data(TaskType::token_classification, "a.conll", conll);
  CHECK(data.words == std::vector<Strings>{{"Anna", "lives"}, {"in", "Paris"}});
  CHECK(data.label_lists == std::vector<Strings>{{"B-PER", "O"}, {"O", "B-LOC"}});
  CHECK(data.lines == Numbers{3, 7});
  const auto json =
      task_data(TaskType::token_classification, "a.jsonl", R"({"tokens": ["in", "Paris"], "tags": ["O", "B-LOC"]})");
  CHECK(json.words == std::vector<Strings>{{"in", "Paris"}});
  const auto error = [](const char* text) { return task_error(TaskType::token_classification, "a.jsonl", text); };
  CHECK(error(R"({"tokens": ["in", "Paris"], "tags": ["O"]})") ==
        "a.jsonl:1: 1 tags for 2 words, expected a tag a word");
  CHECK(error(R"({"tokens": [], "tags": []})") == "a.jsonl:1: no words, expected one or more");
  CHECK(error(R"({"tokens": "in Paris", "tags": []})") ==
        "a.jsonl:1: field 'tokens' is \"in Paris\", expected a list of strings");
  CHECK(error(R"({"tokens": ["a"]})") == "a.jsonl:1: no field 'tags', the fields are tokens");
  CHECK(task_error(TaskType::token_classification, "a.conll", "Anna B-PER\nlives\n") ==
        "a.conll:2: only the word 'lives', expected its tag in a second column");
  const DataFolder folder;
  const auto csv = folder.write("a.csv", "x");
  CHECK(message_of<UnsupportedError>(folder, [&] { read_dataset(csv, true, TaskType::token_classification); }) ==
        "a.csv: a file of format csv, supported for task token_classification: jsonl, conll");
}

TEST_CASE("A tag is at the first piece of its word", "[datasets]") {
  const auto data = task_data(TaskType::token_classification, "a.jsonl",
                              "{\"tokens\": [\"the\", \"abc\", \"of\"], \"tags\": [\"O\", \"B-X\", \"O\"]}\n"
                              "{\"tokens\": [\"abc\"], \"tags\": [\"B-X\"]}");
  const auto head = head_for(TaskType::token_classification, data);
  CHECK(head.labels == Strings{"B-X", "O"});
  const auto examples =
      encode_examples(data, labels_of(data, head), head, Metric::entity_f1, *tiny_tokenizer(), {.max_length = 20});
  CHECK(examples.tokens[0] == Numbers{-100, 1, 0, -100, -100, 1, -100});  // [CLS] the a ##b ##c of [SEP]
  const auto batch = make_batch_source(examples, 0, {})->collate(Numbers{0, 1});
  CHECK(torch::equal(batch.labels()[1], torch::tensor({-100, 0, -100, -100, -100, -100, -100})));
}

TEST_CASE("Questions are read from JSONL and SQuAD's files", "[datasets]") {
  const std::string context = "Caf\u00e9s in Paris";
  const std::string answer = R"({"text": "in", "answer_start": 6})";
  const auto check = [&](const Dataset& data) {
    REQUIRE(data.inputs.size() == 1);
    CHECK(data.inputs[0].text == "Where?");
    CHECK(data.inputs[0].pair == context);
    CHECK(data.answers[0].at(0).text == "in");
    CHECK(data.answers[0].at(0).begin == 7);  // bytes
  };
  const auto line = [&](const std::string& answers) {
    return R"({"question": "Where?", "context": ")" + context + R"(", "answers": )" + answers + "}";
  };
  const auto read = [](const std::string& name, const std::string& text) {
    return task_data(TaskType::question_answering, name, text);
  };
  check(read("a.jsonl", line("[" + answer + "]")));
  check(read("a.jsonl", line(R"({"text": ["in"], "answer_start": [6]})")));
  const auto squad = [&](const std::string& answers) {
    return R"({"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": ")" + context +
           R"(", "qas": [{"id": "q1", "question": "Where?", "answers": )" + answers + "}]}]}]}";
  };
  check(read("a.json", squad("[" + answer + "]")));
  const auto error = [&](const std::string& answers) {
    return task_error(TaskType::question_answering, "a.jsonl", "\n" + line(answers));
  };
  CHECK(error(R"([{"text": "in", "answer_start": 5}])") ==
        "a.jsonl:2: at answer_start 5 the context has ' i', expected the answer 'in'");
  CHECK(error(R"([{"text": "in", "answer_start": 99}])") ==
        "a.jsonl:2: at answer_start 99 the context has its end, expected the answer 'in'");
  CHECK(error(R"([{"text": "in"}])") == "a.jsonl:2: no field 'answer_start', the fields are text");
  CHECK(error(R"([{"text": "in", "answer_start": "6"}])") ==
        "a.jsonl:2: an answer_start is \"6\", expected a number from 0");
  CHECK(error(R"({"text": ["in"], "answer_start": []})") ==
        "a.jsonl:2: field 'answers' has an array for text and an array for answer_start, expected two lists of one "
        "length");
  const auto none = read("a.jsonl", "\n" + line("[]"));
  CHECK(none.answers.at(0).empty());
  CHECK_NOTHROW(require_answers(none, {.unanswerable = true}));
  CHECK_THROWS_WITH(
      require_answers(none, {}),
      Catch::Contains("a.jsonl:2: no answer, expected one or more; "
                      "data.answers.unanswerable of a recipe and --unanswerable of a command take such questions"));
  CHECK(read("a.json", squad("[], \"is_impossible\": true, \"plausible_answers\": [" + answer + "]"))
            .answers.at(0)
            .empty());
  CHECK(task_error(TaskType::question_answering, "a.json", squad("[" + answer + "], \"is_impossible\": true")) ==
        "a.json: question 'q1': answers, and is_impossible: true, expected one of the two");
  CHECK(task_error(TaskType::question_answering, "a.json", squad(R"([], "is_impossible": false)")) ==
        "a.json: question 'q1': no answers, and is_impossible: false, expected answers");
  CHECK_THROWS_WITH(require_answers(read("a.json", squad("[]")), {}),
                    Catch::Contains("a.json: question 'q1': no answer, expected one or more"));
  CHECK(task_error(TaskType::question_answering, "a.json", squad(R"([{"text": "x", "answer_start": 0}])")) ==
        "a.json: question 'q1': at answer_start 0 the context has 'C', expected the answer 'x'");
}

TEST_CASE("Windows have the answer's tokens, or their first token where they do not hold it", "[datasets]") {
  const auto data = task_data(
      TaskType::question_answering, "a.jsonl",
      R"({"question": "to", "context": "the abc of the and is in", "answers": [{"text": "abc", "answer_start": 4}]})");
  const auto tokenizer = tiny_tokenizer();
  const TaskHead head{{}, TaskType::question_answering};
  std::shared_ptr<const Windows> windows;
  const auto whole = encode_examples(data, labels_of(data, head), head, Metric::f1, *tokenizer, {.max_length = 24});
  CHECK(torch::equal(whole.rows, torch::tensor({{4, 6}})));  // [CLS] to [SEP] the a ##b ##c ...
  const auto cut = encode_examples(data, labels_of(data, head), head, Metric::f1, *tokenizer,
                                   {.max_length = 9, .stride = 1}, &windows);
  REQUIRE(cut.encodings.size() == 2);  // of 5 tokens each
  CHECK(torch::equal(cut.rows, torch::tensor({{4, 6}, {0, 0}})));
  CHECK(windows->question == std::vector<size_t>{0, 0});

  // The best span of all windows wins, though others are better without the rules.
  const auto source = make_batch_source(cut, 0, {});
  const auto batch = source->collate(Numbers{0, 1});
  auto logits = torch::zeros({2, 9, 2});
  logits[0][4][0] = 5.0f;
  logits[0][6][1] = 4.0f;
  logits[1][1][0] = 90.0f;  // a start in the question
  logits[1][7][0] = 50.0f;  // the last word as a start
  logits[1].slice(0, 3, 9).select(1, 1).fill_(-60.0f);
  logits[1][2][1] = 50.0f;  // an end before the context
  AnswerFinder finder(windows);
  datasets::add(batch, logits, finder);
  CHECK(finder.answers().at(0).text == "abc");
  CHECK(finder.answers().at(0).candidates.at(0).share > 0.5);
  const auto scorer = source->scorer();
  scorer->add(batch, logits);
  CHECK(scorer->result().values.at(Metric::exact_match) == 1.0);
  CHECK(scorer->result().total == 1);
}

namespace {

/// Questions of one window and one token each, which is the whole context; and logits by which that token is the
/// answer, and that there is none has so much more.
struct OneToken {
  explicit OneToken(const nlohmann::json& questions) {
    const auto count = static_cast<int64_t>(questions.size());
    logits = torch::zeros({count, 2, 2});
    for (int64_t i = 0; i < count; ++i) {
      const auto& question = questions[static_cast<size_t>(i)];
      const auto context = question.at("predicted").get<std::string>();
      windows->contexts.push_back(context);
      windows->answers.push_back(question.at("answers"));
      windows->question.push_back(static_cast<size_t>(i));
      windows->tokens.push_back({{-1, -1}, {0, static_cast<int64_t>(context.size())}});
      logits[i][1][0] = 1.0f;
      logits[i][0][0] = 1.0f + question.at("no_answer").get<float>();
    }
    batch = text_batch(torch::ones({count, 2}, torch::kLong), torch::ones({count, 2}, torch::kLong),
                       torch::zeros({count, 2}, torch::kLong), torch::zeros({count, 2}, torch::kLong),
                       torch::arange(count));
  }
  Evaluation scored(Metric metric, const AnswerConfig& config) const {
    const auto scorer = make_answer_scorer(windows, metric, config);
    scorer->add(batch, logits);
    return scorer->result();
  }

  std::shared_ptr<Windows> windows = std::make_shared<Windows>();
  torch::Tensor logits;
  Batch batch;
};

}  // namespace

TEST_CASE("Questions without an answer are scored as by SQuAD 2.0's script", "[datasets]") {
  std::ifstream file(std::string(COMPRESS_GOLDENS) + "/evaluate/squad2.json");
  for (const auto& each : nlohmann::json::parse(file)) {
    const OneToken questions(each.at("questions"));
    for (const auto& result : each.at("results")) {
      const double threshold = result.at("threshold");
      INFO(threshold);
      const auto found = questions.scored(Metric::f1, {.unanswerable = true, .threshold = threshold});
      CHECK(found.threshold == threshold);
      CHECK(found.values.size() == 5);
      for (const auto& [metric, value] : found.values) {
        INFO(enum_name(metric));
        CHECK(value == Approx(result.at(std::string(enum_name(metric))).get<double>()).margin(1e-12));
      }
    }
    for (const auto metric : {Metric::f1, Metric::exact_match}) {
      const auto best = questions.scored(metric, {.unanswerable = true});
      const auto name = std::string(enum_name(metric));
      CHECK(best.value() == Approx(each.at("best").at(name).get<double>()).margin(1e-12));
      CHECK(best.threshold == each.at("best").at(name + "_threshold").get<double>());
    }
  }
}

TEST_CASE("Where it is best to answer nothing, or nothing can be, the threshold says so", "[datasets]") {
  using nlohmann::json;
  const auto question = [](double no_answer, const json& answers) {
    return json{{"predicted", "x"}, {"answers", answers}, {"no_answer", no_answer}};
  };
  const auto none = json::array();
  const OneToken wrong(json::array({question(-3, none), question(2, none), question(1, {"y"})}));
  const auto refused = wrong.scored(Metric::f1, {.unanswerable = true});
  CHECK(refused.value() == Approx(2.0 / 3));
  CHECK(refused.threshold < -3.0);
  CHECK(refused.threshold > -3.0001);
  // Of equal values all are above the threshold, or none.
  const OneToken equal(json::array({question(1, {"x"}), question(1, none), question(1, none)}));
  CHECK(equal.scored(Metric::f1, {.unanswerable = true}).value() == Approx(2.0 / 3));
  const std::vector<double> infinite(2, std::numeric_limits<double>::infinity()), scores(2, 0.0);
  CHECK(best_threshold(infinite, scores, {true, false}) == 0.0);
  CHECK(best_threshold({}, {}, {}) == 0.0);
  // All have an answer: there is no share of those that have none.
  const OneToken easy(json::array({question(-1, {"x"}), question(4, {"x"})}));
  const auto all = easy.scored(Metric::exact_match, {.unanswerable = true});
  CHECK(all.value() == 1.0);
  CHECK(all.threshold == 4.0);
  CHECK(!all.values.contains(Metric::no_answer_accuracy));
  CHECK(!easy.scored(Metric::exact_match, {}).threshold);
}

TEST_CASE("That there is no answer has its place among the candidates, and the least of the windows' sums",
          "[datasets]") {
  const auto windows = std::make_shared<Windows>();
  windows->contexts = {"ab"};
  windows->answers = {{}};
  windows->question = {0, 0};
  windows->tokens = {{{-1, -1}, {0, 1}, {1, 2}}, {{-1, -1}, {1, 2}}};
  auto logits = torch::zeros({2, 3, 2});
  logits[0][0][0] = 5.0f;  // the second window's is less: 2
  logits[1][0][0] = 2.0f;
  logits[0][1][0] = 4.0f;  // "a": 4 + 0.5, "ab": 4 + 1
  logits[0][1][1] = 0.5f;
  logits[0][2][1] = 1.0f;
  Batch batch;
  batch["input_ids"] = torch::ones({2, 3}, torch::kLong);
  batch.examples = torch::arange(2);
  const auto found = [&](const AnswerConfig& config) {
    AnswerFinder finder(windows, config);
    datasets::add(batch, logits, finder);
    return finder.answers().at(0);
  };
  const auto texts = [](const FoundAnswer& answer) {
    Strings all;
    for (const auto& candidate : answer.candidates) all.push_back(candidate.text);
    return all;
  };
  const auto whole = found({.unanswerable = true});
  CHECK(whole.text == "ab");
  CHECK(whole.no_answer == 2.0 - 5.0);
  CHECK(texts(whole) == Strings{"ab", "a", "", "b", "b"});
  CHECK(whole.candidates[0].share / whole.candidates[2].share == Approx(std::exp(3.0)));
  CHECK(whole.chosen(-3.0) == "ab");
  CHECK(whole.chosen(-3.5).empty());
  CHECK(texts(found({})) == Strings{"ab", "a", "b", "b"});
  CHECK(texts(found({.longest = 1})) == Strings{"a", "b", "b"});
  // As in run_qa the best n_best, and none where it is not among them.
  CHECK(texts(found({.unanswerable = true, .n_best = 2})) == Strings{"ab", "a", ""});
  CHECK(found({.n_best = 1}).text.empty());  // the best start is before the context
}

TEST_CASE("The two texts of a pair stay in one batch", "[datasets]") {
  Examples examples;
  for (int i = 0; i < 40; ++i) {
    Encoding encoding;
    encoding.input_ids.assign(static_cast<size_t>(1 + i * 7 % 13), 5);
    encoding.token_type_ids.assign(encoding.input_ids.size(), 0);
    examples.encodings.push_back(encoding);
  }
  examples.rows = torch::arange(20).repeat_interleave(2).to(torch::kFloat);
  examples.together = 2;
  const auto source = make_batch_source(examples, 0, {.batch_size = 3, .shuffle = true, .seed = 1});
  std::set<int64_t> seen;
  for (const auto& rows : source->plan(0)) {
    CHECK(rows.size() <= 6);
    for (size_t i = 0; i < rows.size(); i += 2) {
      CHECK(rows[i] % 2 == 0);
      CHECK(rows[i + 1] == rows[i] + 1);
      seen.insert({rows[i], rows[i + 1]});
    }
    const auto labels = source->collate(rows).labels();
    CHECK(labels[0].item<float>() == labels[1].item<float>());
  }
  CHECK(seen.size() == 40);
  CHECK(make_batch_source(examples, 0, {.max_examples = 5})->size() == 10);
}

TEST_CASE("Masks are BERT's, new in each epoch and the same for the same", "[datasets]") {
  constexpr int64_t vocabulary = 1000, texts = 200, length = 102;
  Examples examples;
  for (int64_t i = 0; i < texts; ++i) {
    Encoding encoding;
    encoding.input_ids = {2};
    for (int64_t t = 0; t < length - 2; ++t) encoding.input_ids.push_back(10 + (i * 31 + t * 7) % 900);
    encoding.input_ids.push_back(3);
    encoding.token_type_ids.assign(encoding.input_ids.size(), 0);
    examples.encodings.push_back(std::move(encoding));
  }
  const auto originals = examples.encodings;
  examples.masking = Masking{.mask_id = 4, .vocabulary_size = vocabulary, .special_ids = {0, 2, 3, 4}};
  const auto source = make_batch_source(examples, 0, {.batch_size = texts, .seed = 9});
  const auto rows = source->plan(0).at(0);
  const auto first = source->collate(rows, 0), second = source->collate(rows, 1);
  CHECK(torch::equal(first.labels(), source->collate(rows, 0).labels()));
  CHECK(torch::equal(first.input_ids(), source->collate(rows, 0).input_ids()));
  CHECK_FALSE(torch::equal(first.labels(), second.labels()));
  const auto chosen = first.labels().ne(ignored_label);
  CHECK(chosen.select(1, 0).sum().item<int64_t>() == 0);
  CHECK(chosen.select(1, length - 1).sum().item<int64_t>() == 0);
  const auto count = chosen.sum().item<double>();
  CHECK(count / (texts * (length - 2)) == Approx(0.15).margin(0.01));
  const auto masked = first.input_ids().eq(4).logical_and(chosen).sum().item<double>() / count;
  const auto same = first.input_ids().eq(first.labels()).logical_and(chosen).sum().item<double>() / count;
  CHECK(masked == Approx(0.8).margin(0.03));
  CHECK(same == Approx(0.1).margin(0.03));
  // What was masked is the label, and the rest is as it was.
  for (int64_t row = 0; row < texts; ++row) {
    const auto own = torch::tensor(originals[static_cast<size_t>(rows[static_cast<size_t>(row)])].input_ids);
    CHECK(torch::equal(torch::where(chosen[row], first.labels()[row], first.input_ids()[row]), own));
  }
}

TEST_CASE("What is masked of a text does not depend on where it stands in its file", "[datasets]") {
  Examples examples;
  for (int64_t i = 0; i < 20; ++i) {
    examples.encodings.push_back(
        {.input_ids = {2, 10 + i, 40 + i, 70 + i, 99, 3}, .token_type_ids = {0, 0, 0, 0, 0, 0}});
  }
  examples.masking = Masking{.mask_id = 4, .vocabulary_size = 100, .special_ids = {2, 3, 4}};
  auto reversed = examples;
  std::ranges::reverse(reversed.encodings);
  std::vector<int64_t> order(20), backwards(20);
  std::iota(order.begin(), order.end(), 0);
  std::iota(backwards.rbegin(), backwards.rend(), 0);
  const auto one = make_batch_source(examples, 0, {.seed = 3})->collate(order, 5);
  const auto other = make_batch_source(reversed, 0, {.seed = 3})->collate(backwards, 5);
  CHECK(torch::equal(one.input_ids(), other.input_ids()));
  CHECK(torch::equal(one.labels(), other.labels()));
}

TEST_CASE("A text of one word has it masked", "[datasets]") {
  Examples examples;
  examples.encodings.push_back({.input_ids = {2, 17, 3}, .token_type_ids = {0, 0, 0}});
  examples.masking = Masking{.mask_id = 4, .vocabulary_size = 20, .special_ids = {2, 3}};
  const auto source = make_batch_source(examples, 0, {});
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    CHECK(torch::equal(source->collate(Numbers{0}, epoch).labels(), torch::tensor({{-100, 17, -100}})));
  }
}

}  // namespace compression::datasets
