// Text in, what a model says of it out, without LibTorch.
#include "compress/pipeline/pipeline.h"

#include <algorithm>
#include <cmath>

#include "compress/base/error.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
using Catch::Contains;

/// A model of goldens/model/heads with the tokenizer of goldens/model/tiny, of which it has the first rows.
class HeadFolder {
 public:
  explicit HeadFolder(const std::string& name) {
    std::filesystem::copy(golden("model/heads/" + name), folder_.path());
    std::ifstream words(golden("model/tiny/vocab.txt"));
    std::string vocabulary, word;
    for (int i = 0; i < 40 && std::getline(words, word); ++i) vocabulary += word + "\n";
    write_file(folder_ / "vocab.txt", vocabulary);
  }
  Pipeline pipeline(const PipelineOptions& options = {}) const { return Pipeline::load(folder_.path(), options); }

 private:
  TemporaryFolder folder_;
};

TEST_CASE("entities have their places in bytes and in characters") {
  const auto pipeline = HeadFolder("bert.token_classification").pipeline();
  const TextInput input{"  a \xC3\xA9t\xC3\xA9  b c", std::nullopt};
  const auto prediction = pipeline.run(std::vector{input}).front();
  CHECK(prediction.words == std::vector<std::string>{"a", "\xC3\xA9t\xC3\xA9", "b", "c"});
  REQUIRE(prediction.tags.size() == 4);
  for (const auto& entity : prediction.entities) {
    CHECK(entity.type == "X");
    CHECK(entity.text == input.text.substr(static_cast<size_t>(entity.place.begin),
                                           static_cast<size_t>(entity.place.end - entity.place.begin)));
    CHECK((entity.share > 1.0 / 3 && entity.share <= 1.0));
  }
  const auto answer = pipeline.answer(prediction, input);
  CHECK(answer.object.at("entities").size() == prediction.entities.size());
  CHECK(characters_before(input.text, 9) == 7);  // behind the second word
  CHECK_THAT(message_of<DataError>([&] { pipeline.run(std::vector{input, TextInput{" ", std::nullopt}}); }),
             Contains("texts:2: found no words"));
  CHECK_THAT(message_of<DataError>([&] { pipeline.run(std::vector{TextInput{"a", "b"}}); }),
             Contains("found two texts"));
}

TEST_CASE("tags make entities as seqeval's do, with the mean of their words' shares") {
  const TaskHead head{{"O", "B-PER", "I-PER"}, first_task(HeadKind::tokens).type};
  const std::string text = "Anna Smith sleeps";
  const auto words = words_of(text);
  Encoding encoding{.input_ids = {2, 5, 6, 7, 3}};
  encoding.word_ids = {-1, 0, 1, 2, -1};
  encoding.sequence_ids = {-1, 0, 0, 0, -1};
  encoding.offsets.resize(5);
  const float big = std::log(8.0f);  // against 0 and 0: a share of 0.8
  const std::vector<float> logits{0, 0, 0, 0, big, 0, 0, 0, big, big, 0, 0, 0, 0, 0};
  const auto prediction = tags_prediction(head, logits, text, words, encoding);
  CHECK(prediction.tags == std::vector<std::string>{"B-PER", "I-PER", "O"});
  REQUIRE(prediction.entities.size() == 1);
  CHECK(prediction.entities[0].text == "Anna Smith");
  CHECK(prediction.entities[0].share == Approx(0.8));
}

TEST_CASE("answers have their places in the context") {
  const HeadFolder folder("bert.question_answering");
  const auto pipeline = folder.pipeline({.max_length = 12, .stride = 2});
  const std::vector<TextInput> inputs{{"a b", "c d e f g h i j k l m n"}, {"b", "d"}};
  const auto predictions = pipeline.run(inputs);
  REQUIRE(predictions.size() == 2);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto& [text, place] = std::pair(predictions[i].answer.text, predictions[i].answer.place);
    REQUIRE_FALSE(text.empty());
    CHECK(inputs[i].pair->substr(static_cast<size_t>(place.begin), static_cast<size_t>(place.end - place.begin)) ==
          text);
    CHECK(pipeline.answer(predictions[i], inputs[i], 3).object.at("candidates").size() <= 3);
  }
  CHECK_THAT(message_of<DataError>([&] { pipeline.run(std::vector{TextInput{"a", std::nullopt}}); }),
             Contains("texts:1: found a question alone"));
  CHECK_THROWS_AS(folder.pipeline({.max_length = 25}), ConfigError);
}

TEST_CASE("options of question answering are told where a model has no use for them") {
  const auto of_answers = [](const Pipeline& pipeline) {
    return std::ranges::count_if(pipeline.warnings(), [](const std::string& line) {
      return line.find("found options of question answering, stride, for a model for ") != std::string::npos;
    });
  };
  CHECK(of_answers(HeadFolder("bert.token_classification").pipeline({.stride = 2})) == 1);
  CHECK(of_answers(HeadFolder("bert.token_classification").pipeline()) == 0);
  CHECK(of_answers(HeadFolder("bert.question_answering").pipeline({.stride = 2})) == 0);
}

TEST_CASE("the words for a mask are those with the largest logits") {
  const auto name = GENERATE(as<std::string>(), "bert.masked_lm", "electra.masked_lm", "distilbert.masked_lm");
  const HeadFolder folder(name);
  const auto pipeline = folder.pipeline();
  const std::string text = "a [MASK] b [MASK]";
  const auto prediction = pipeline.run(std::vector{TextInput{text, std::nullopt}}).front();
  REQUIRE(prediction.masks.size() == 2);
  const auto encoding = pipeline.tokenizer().encode({text, std::nullopt}, {});
  auto model = load_model(golden("model/heads/" + name)).model;
  const at::NoGradGuard no_grad;
  const auto row = [](const std::vector<int64_t>& values) { return torch::tensor(values).unsqueeze(0); };
  const auto ids = row(encoding.input_ids);
  const auto logits = model->forward(text_batch(ids, torch::ones_like(ids), row(encoding.token_type_ids))).logits[0];
  const auto mask = std::ranges::find(encoding.input_ids, *pipeline.tokenizer().mask_id()) - encoding.input_ids.begin();
  const auto shares = torch::softmax(logits[mask], -1);
  CHECK(prediction.masks[0].words.size() == 5);
  CHECK(prediction.masks[0].words[0].token == pipeline.tokenizer().token(shares.argmax().item<int64_t>()));
  CHECK(prediction.masks[0].words[0].share == Approx(shares.max().item<double>()).margin(1e-5));
  CHECK(prediction.masks[0].place == ByteSpan{2, 8});
  CHECK_THAT(message_of<DataError>([&] { pipeline.run(std::vector{TextInput{"a b", std::nullopt}}); }),
             Contains("found no [MASK]"));
}

}  // namespace
}  // namespace compression
