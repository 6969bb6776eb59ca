// Metrics, losses and scorers of the tasks.
#include "compress/task/metrics.h"

#include "compress/evaluate/evaluate.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "compress/task/task.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
using nlohmann::json;

const json& goldens() {
  static const json all = read_json_file(golden("evaluate/metrics.json"));
  return all;
}

void check_value(const json& expected, const char* name, double found) {
  INFO(name);
  CHECK(found == Approx(expected.at(name).get<double>()).margin(1e-12));
}

torch::Tensor rows_of(const json& rows) {
  std::vector<torch::Tensor> all;
  for (const auto& row : rows) all.push_back(torch::tensor(row.get<std::vector<int64_t>>()).gt(0));
  return torch::stack(all);
}

TEST_CASE("metrics of classes equal scikit-learn's") {
  using metrics::Average;
  for (const auto& each : goldens().at("classes")) {
    const auto ids = [&](const char* name) { return torch::tensor(each.at(name).get<std::vector<int64_t>>()); };
    const auto predicted = ids("predicted"), expected = ids("expected");
    check_value(each, "accuracy", metrics::accuracy(predicted, expected));
    if (each.contains("f1")) check_value(each, "f1", metrics::f1(predicted, expected, Average::binary));
    check_value(each, "micro_f1", metrics::f1(predicted, expected, Average::micro));
    check_value(each, "macro_f1", metrics::f1(predicted, expected, Average::macro));
    check_value(each, "matthews", metrics::matthews(predicted, expected));
  }
}

TEST_CASE("metrics of several labels a text equal scikit-learn's") {
  for (const auto& each : goldens().at("multi_label")) {
    const auto predicted = rows_of(each.at("predicted")), expected = rows_of(each.at("expected"));
    check_value(each, "accuracy", metrics::accuracy(predicted, expected));
    check_value(each, "micro_f1", metrics::f1(predicted, expected, metrics::Average::micro));
    check_value(each, "macro_f1", metrics::f1(predicted, expected, metrics::Average::macro));
  }
}

TEST_CASE("correlations equal scipy's, and the squared error scikit-learn's") {
  for (const auto& each : goldens().at("scores")) {
    const auto numbers = [&](const char* name) {
      return torch::tensor(each.at(name).get<std::vector<double>>(), torch::kDouble);
    };
    const auto x = numbers("predicted"), y = numbers("expected");
    check_value(each, "pearson", metrics::pearson(x, y));
    check_value(each, "spearman", metrics::spearman(x, y));
    check_value(each, "mse", metrics::mean_squared_error(x, y));
  }
  CHECK(metrics::pearson(torch::ones({3}), torch::arange(3)) == 0.0);
  CHECK(metrics::spearman(torch::ones({3}), torch::arange(3)) == 0.0);
}

TEST_CASE("F1 of entities equals seqeval's") {
  for (const auto& each : goldens().at("entities")) {
    const auto tags = [&](const char* name) { return each.at(name).get<std::vector<metrics::Tags>>(); };
    check_value(each, "entity_f1", metrics::entity_f1(tags("predicted"), tags("expected")));
  }
}

TEST_CASE("exact match and F1 of answers equal the SQuAD script's") {
  for (const auto& each : goldens().at("answers")) {
    const auto predicted = each.at("predicted").get<std::string>();
    const auto expected = each.at("expected").get<std::vector<std::string>>();
    INFO(predicted);
    check_value(each, "exact_match", metrics::exact_match(predicted, expected));
    check_value(each, "f1", metrics::token_f1(predicted, expected));
  }
}

TEST_CASE("a metric of nothing is refused, and passes for no number") {
  const auto none = torch::empty({0}, torch::kLong);
  CHECK_THROWS_AS(metrics::accuracy(none, none), DataError);
  CHECK_THROWS_AS(metrics::f1(none, none, metrics::Average::macro), DataError);
  CHECK_THROWS_AS(metrics::matthews(none, none), DataError);
  CHECK_THROWS_AS(metrics::pearson(none, none), DataError);
  CHECK_THROWS_AS(metrics::spearman(none, none), DataError);
  CHECK_THROWS_AS(metrics::mean_squared_error(none, none), DataError);
  CHECK_THROWS_AS(metrics::entity_f1({}, {}), DataError);
  CHECK_THROWS_AS(metrics::exact_match("a", {}), DataError);
  for (const auto& [metric, name] : enum_names(Metric{})) {
    const Evaluation nothing{.metric = metric}, something{.metric = metric, .values = {{metric, 0.5}}};
    CHECK(std::isnan(nothing.value()));
    CHECK(something.better_than(nothing));
    CHECK_FALSE(nothing.better_than(something));
    CHECK_FALSE(nothing.within(something, 1.0));
    CHECK_FALSE(something.within(nothing, 1.0));
  }
}

TEST_CASE("one place knows which way a metric counts") {
  for (const auto& [metric, name] : enum_names(Metric{})) {
    INFO(name);
    const bool higher = metric != Metric::mse && metric != Metric::perplexity;
    const double good = higher ? 0.9 : 0.5, bad = higher ? 0.5 : 0.9;
    CHECK(drop(bad, good, metric) == Approx(0.4));
    CHECK(drop(good, bad, metric) == Approx(-0.4));
    CHECK(within(bad, good, 0.4, metric));
    CHECK_FALSE(within(bad, good, 0.39, metric));
    CHECK(within(good, bad, 0.0, metric));
    CHECK(better(good, bad, metric));
    CHECK_FALSE(better(bad, good, metric));
    CHECK_FALSE(better(good, good, metric));
  }
}

TEST_CASE("tags that seqeval reads make F1 of entities the metric") {
  const auto default_of = [](const std::vector<std::string>& tags) {
    return default_metric({tags, TaskType::token_classification});
  };
  CHECK(default_of({"B-PER", "E-PER", "I-PER", "O", "S-PER"}) == Metric::entity_f1);  // BIOES, IOBES
  CHECK(default_of({"I-LOC", "I-PER", "O"}) == Metric::entity_f1);                    // IOB1
  CHECK(default_of({"E-X", "I-X", "O"}) == Metric::entity_f1);                        // IOE
  CHECK(default_of({"B", "E", "I", "O", "S"}) == Metric::entity_f1);
  CHECK(default_of({"B-A-B", "I-A-B", "O"}) == Metric::entity_f1);
  CHECK(default_of({"B-PER", "L-PER", "O", "U-PER"}) == Metric::accuracy);  // BILOU, which seqeval's default misreads
  CHECK(default_of({"PER-B", "PER-I", "O"}) == Metric::accuracy);
  CHECK(default_of({"IN", "SYM", "O"}) == Metric::accuracy);
  CHECK(default_of({"", "O"}) == Metric::accuracy);
}

TEST_CASE("a loss on nothing is 0 and has a gradient of zeros, and a scorer of nothing has no metric") {
  for (const auto task : {TaskType::classification, TaskType::token_classification, TaskType::masked_lm}) {
    const bool by_token = task != TaskType::classification;
    const auto logits = (by_token ? torch::randn({2, 3, 4}) : torch::randn({2, 4})).requires_grad_();
    const auto labels = by_token ? torch::full({2, 3}, ignored_label) : torch::full({2}, ignored_label);
    const auto loss = find_task(task).label_loss(logits, labels, torch::ones({2, 3}, torch::kLong));
    CHECK(loss.item<double>() == 0.0);
    loss.backward();
    CHECK(logits.grad().eq(0).all().item<bool>());
    CHECK(find_task(task).label_count(labels) == 0);
  }
  const TaskHead head{{"B-X", "O"}, TaskType::token_classification};
  const auto scorer = make_scorer(head, Metric::entity_f1);
  Batch batch;
  batch["labels"] = torch::full({2, 3}, ignored_label);
  batch["attention_mask"] = torch::ones({2, 3}, torch::kLong);
  scorer->add(batch, torch::randn({2, 3, 2}));
  CHECK(scorer->result().total == 0);
  CHECK(scorer->result().values.empty());

  batch["input_ids"] = torch::zeros({2, 3}, torch::kLong);
  batch.examples = torch::arange(2);
  class Unlabelled : public OneBatch {
   public:
    using OneBatch::OneBatch;
    std::unique_ptr<Scorer> scorer() const override {
      return make_scorer({{}, TaskType::masked_lm}, Metric::perplexity);
    }
  };
  CHECK_THAT(message_of<DataError>([&] {
               evaluate([](const Batch&) { return torch::randn({2, 3, 2}); }, Unlabelled(batch), quiet_context({}));
             }),
             Catch::Contains("none of 2 texts"));
}

TEST_CASE("a metric that does not fit a task is refused, and those that do are named") {
  const auto message = [](Metric metric, const TaskHead& head) {
    return message_of<ConfigError>([&] { check_metric(metric, head); });
  };
  CHECK(message(Metric::pearson, {{"a", "b"}}) ==
        "found pearson, but classification has no such metric; expected one of accuracy, f1, micro_f1, macro_f1, "
        "matthews");
  CHECK(message(Metric::f1, {{"a", "b", "c"}}) ==
        "found f1, but it is for two classes, and there are 3; expected one of accuracy, micro_f1, macro_f1, matthews");
  const TaskHead words{{"NN", "O"}, TaskType::token_classification};
  CHECK(message(Metric::entity_f1, words) ==
        "found entity_f1, but it needs tags O, B-TYPE, I-TYPE, E-TYPE and S-TYPE, and there is NN; expected one of "
        "accuracy");
  CHECK(default_metric(words) == Metric::accuracy);
  CHECK(default_metric({{"B-X", "O"}, TaskType::token_classification}) == Metric::entity_f1);
  CHECK_NOTHROW(check_metric(Metric::f1, {{"a", "b"}}));
}

TEST_CASE("every task has its row and its object") {
  std::set<std::string_view> names;
  for (const auto& row : task_traits) {
    const auto& task = find_task(row.type);
    CHECK(&task.traits == &row);
    CHECK(names.insert(row.name).second);
    CHECK_FALSE(task.metrics().empty());
    CHECK(first_task(row.head).class_suffix == row.class_suffix);
    CHECK(task.logits_sizes(2, 3, 5).size() == (row.is_of_text() ? 2 : 3));
    const auto twin = std::ranges::find_if(
        task_traits, [&](const TaskTraits& other) { return other.head == row.head && &other != &row; });
    CHECK(row.problem_type.empty() == (twin == task_traits.end()));
  }
  CHECK(tasks().size() == names.size());
}

TEST_CASE("an evaluation comes back from JSON, and knows what is better") {
  const Evaluation one{.metric = Metric::f1,
                       .values = {{Metric::f1, 0.5}, {Metric::exact_match, 0.25}},
                       .correct = 1,
                       .total = 4,
                       .loss = 2.0};
  const auto again = json(one).get<Evaluation>();
  CHECK(again.metric == Metric::f1);
  CHECK((again.values == one.values));
  CHECK(again.correct == 1);
  CHECK(describe(again) == "f1 0.5000, exact_match 0.2500 (1 of 4), loss 2.0000");
  auto other = one;
  other.loss = 1.0;
  CHECK(other.better_than(one));
  other.values[Metric::f1] = 0.4;
  CHECK_FALSE(other.better_than(one));
  const Evaluation surprised{.metric = Metric::perplexity, .values = {{Metric::perplexity, 9.0}}};
  const Evaluation sure{.metric = Metric::perplexity, .values = {{Metric::perplexity, 3.0}}};
  CHECK(sure.better_than(surprised));
  CHECK_FALSE(surprised.better_than(sure));
}

/// What a scorer says of one batch.
Evaluation scored(const TaskHead& head, const torch::Tensor& logits, const torch::Tensor& labels) {
  const auto scorer = make_scorer(head, default_metric(head));
  Batch batch;
  batch["labels"] = labels;
  batch["attention_mask"] = torch::ones({labels.size(0), labels.dim() > 1 ? labels.size(1) : 1}, torch::kLong);
  scorer->add(batch, logits);
  return scorer->result();
}

TEST_CASE("losses and metrics are of what is labelled") {
  SECTION("several labels") {
    const auto logits = torch::tensor({1.0, -2.0, 0.5, 3.0}).view({2, 2}),
               labels = torch::tensor({1.0, 0.0, 1.0, 0.0}).view({2, 2});
    const auto result = scored({{"a", "b"}, TaskType::multi_label}, logits, labels);
    CHECK(result.value() == Approx(2 * 2.0 / 5));
    CHECK(result.values.at(Metric::accuracy) == 0.5);
    CHECK(result.correct == 1);
    const auto p = torch::sigmoid(logits.to(torch::kDouble));
    const auto expected = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean().item<double>();
    CHECK(result.loss == Approx(expected));
  }
  SECTION("numbers") {
    const auto result = scored({{"LABEL_0"}, TaskType::regression}, torch::tensor({{1.0}, {2.0}, {4.0}}),
                               torch::tensor({1.0, 2.0, 3.0}));
    CHECK(result.values.at(Metric::mse) == Approx(1.0 / 3));
    CHECK(result.values.at(Metric::spearman) == Approx(1.0));
    CHECK(result.loss == Approx(1.0 / 3));
    CHECK(result.total == 3);
  }
  SECTION("pairs of vectors") {
    const auto vectors = torch::tensor({{1.0, 0.0}, {0.0, 1.0}, {1.0, 0.0}, {0.6, 0.8}});
    const auto result = scored({{}, TaskType::embedding}, vectors, torch::tensor({0.0, 0.0, 1.0, 1.0}));
    CHECK(result.loss == Approx(0.4 * 0.4 / 2));
    CHECK(result.total == 2);
    CHECK(result.value() == Approx(1.0));
  }
  SECTION("tokens; the labelled ones may be all that there is") {
    const TaskHead head{{"B-X", "I-X", "O"}, TaskType::token_classification};
    const auto labels = torch::tensor({{-100, 0, 1, -100}, {-100, 2, -100, -100}}, torch::kLong);
    const auto logits = torch::randn({2, 4, 3}, torch::kDouble);
    logits[0][1][0] = logits[0][2][1] = 9.0;
    logits[1][1][0] = 9.0;  // an entity too many
    const auto result = scored(head, logits, labels);
    CHECK(result.total == 3);
    CHECK(result.correct == 2);
    CHECK(result.value() == Approx(2.0 / 3));
    const auto chosen = logits.flatten(0, 1).index_select(0, torch::tensor({1, 2, 5}));
    CHECK(result.loss == Approx(torch::cross_entropy_loss(chosen, torch::tensor({0, 1, 2})).item<double>()));
    CHECK(scored(head, chosen, labels).loss == Approx(result.loss));
  }
  SECTION("starts and ends, without padding") {
    const auto logits = torch::randn({2, 5, 2}, torch::kDouble);
    const auto mask = torch::tensor({{1, 1, 1, 1, 1}, {1, 1, 1, 0, 0}});
    const auto labels = torch::tensor({{1, 4}, {0, 2}});
    double expected = 0.0;
    for (int64_t row = 0; row < 2; ++row) {
      const auto real = logits[row].slice(0, 0, row == 0 ? 5 : 3).t().contiguous();
      expected += torch::cross_entropy_loss(real, labels[row]).item<double>() / 2;
    }
    CHECK(find_task(TaskType::question_answering).label_loss(logits, labels, mask).item<double>() == Approx(expected));
  }
}

}  // namespace
}  // namespace compression
