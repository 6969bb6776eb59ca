#include "compress/serve/pipeline_model.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "compress/serve/http.h"

using namespace compression;
using namespace compression::serve;

namespace {

std::shared_ptr<const Model> golden_model(const std::string& name) {
  return load_model(std::string(COMPRESS_GOLDENS) + "/" + name, {}, [](const std::string&) {});
}

std::string repeated(const std::string& word, int64_t times, const std::string& last) {
  std::string text;
  for (int64_t i = 0; i < times; ++i) text += word + " ";
  return text + last;
}

/// A copy of goldens/sentence/model that goes away.
class SentenceFolder {
 public:
  SentenceFolder() { std::filesystem::copy(std::string(COMPRESS_GOLDENS) + "/sentence/model", path_); }
  ~SentenceFolder() { std::filesystem::remove_all(path_); }
  SentenceFolder(const SentenceFolder&) = delete;
  SentenceFolder& operator=(const SentenceFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
  }

 private:
  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("compress-sentence-" + std::to_string(::getpid()));
};

template <class Ask>
int status_of(Ask&& ask) {
  try {
    ask();
  } catch (const RequestError& error) {
    return error.status();
  }
  return 200;
}

}  // namespace

TEST_CASE("A text that is too long is refused, or cut at the end that is asked for") {
  const auto model = golden_model("model/tiny");
  const auto most = model->info().max_length;
  const auto whole = model->read({.text = "the fox"}, {});
  const auto text = repeated("the", most, "fox");
  CHECK(status_of([&] { model->read({.text = text}, {}); }) == 413);
  const auto begin = model->read({.text = text}, {.truncate = true});
  const auto end = model->read({.text = text}, {.truncate = true, .keep_end = true});
  for (const auto& reading : {begin, end}) {
    REQUIRE(reading.tokens == most);
    CHECK(std::ssize(reading.ids) == most);
    CHECK(reading.types.size() == reading.ids.size());
    CHECK(reading.ids.front() == whole.ids.front());
    CHECK(reading.ids.back() == whole.ids.back());
    CHECK(reading.ids[1] == whole.ids[1]);
  }
  CHECK(*(begin.ids.end() - 2) == whole.ids[1]);
  CHECK(*(end.ids.end() - 2) == *(whole.ids.end() - 2));
  const auto fits = model->read({.text = "the fox"}, {.truncate = true, .keep_end = true});
  CHECK(fits.ids == whole.ids);

  const TextInput pair{.text = text, .pair = "fox"};
  const auto cut = model->read(pair, {.truncate = true, .keep_end = true});
  CHECK(cut.tokens == most);
  CHECK(std::ranges::count(cut.ids, whole.ids.back()) == 2);  // neither text is gone
  CHECK(cut.types.back() == 1);
}

TEST_CASE("A prompt of the folder is put before a text by its name, in place of the default one") {
  const SentenceFolder folder;
  const auto load = [&](const nlohmann::json& default_name) {
    const nlohmann::json prompts{{"query", "query: "}, {"document", ""}};
    folder.write("config_sentence_transformers.json",
                 nlohmann::json{{"prompts", prompts}, {"default_prompt_name", default_name}}.dump());
    return load_model(folder.path(), {}, [](const std::string&) {});
  };
  const auto model = load("query");
  const auto ids = [&](const std::string& text, const std::optional<std::string>& name) {
    return model->read({.text = text}, {.prompt_name = name}).ids;
  };
  CHECK(ids("good film", {}) == ids("good film", "query"));
  CHECK(ids("query: good film", "document") == ids("good film", "query"));
  CHECK(ids("good film", "document").size() == 4);
  CHECK(status_of([&] { ids("good film", "passage"); }) == 422);
  CHECK(status_of([&] { model->read({2, 7, 3}, {}, {.prompt_name = "query"}); }) == 422);
  CHECK(status_of([&] { golden_model("sentence/model")->read({.text = "a"}, {.prompt_name = "query"}); }) == 422);

  folder.write("modules.json",
               R"([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                 {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}])");
  folder.write("1_Pooling/config.json", R"({"include_prompt": false, "pooling_mode_mean_tokens": true})");
  const auto without = load(nullptr);
  CHECK(status_of([&] { without->read({.text = "a"}, {.prompt_name = "query"}); }) == 422);
}

TEST_CASE("Token ids that the model has no row for are refused before they meet others") {
  const auto model = golden_model("model/tiny");
  CHECK(model->read({2, 5, 3}, {}, {}).tokens == 3);
  CHECK(model->read({2, 5, 3}, {0, 1, 1}, {}).types == std::vector<int64_t>{0, 1, 1});
  CHECK(status_of([&] { model->read({2, 1 << 30}, {}, {}); }) == 422);
  CHECK(status_of([&] { model->read({-1}, {}, {}); }) == 422);
  CHECK(status_of([&] { model->read({2, 3}, {0, 9}, {}); }) == 422);
  CHECK(status_of([&] { model->read(std::vector<int64_t>{}, {}, {}); }) == 422);
  const std::vector<int64_t> many(static_cast<size_t>(model->info().max_length + 1), 5);
  CHECK(status_of([&] { model->read(many, {}, {}); }) == 413);
  const auto cut = model->read(many, std::vector<int64_t>(many.size(), 0), {.truncate = true});
  CHECK(cut.ids.size() == many.size() - 1);
  CHECK(cut.types.size() == cut.ids.size());
}

TEST_CASE("A model that embeds tells the tokens' vectors, beside texts of which others are asked") {
  const auto model = golden_model("sentence/model");
  const auto reading = model->read({.text = "the quick"}, {});
  auto states = reading;
  states.wanted = Wanted::states;
  const Reading* const asked[] = {&states, &reading, &states};
  const auto results = model->run(asked);
  REQUIRE(results.size() == 3);
  CHECK(results[1].width == model->info().width);
  CHECK(std::ssize(results[1].values) == model->info().width);
  CHECK(std::ssize(results[0].values) == reading.tokens * results[0].width);
  CHECK(results[0].values == results[2].values);
  const Reading* const alone[] = {&reading};
  CHECK(model->run(alone).front().values == results[1].values);
}
