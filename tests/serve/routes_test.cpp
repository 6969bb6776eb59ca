#include "compress/serve/routes.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <future>

#include "compress/base/json_file.h"
#include "compress/serve/body.h"
#include "fake_model.h"

using namespace compression;
using namespace compression::serve;
using serve::testing::FakeModel;

namespace {

TaskType task_of(std::string_view name) {
  return std::ranges::find(task_traits, name, &TaskTraits::name)->type;
}

/// A server without the network, with a model of several tasks.
struct Harness {
  Service service;

  explicit Harness(ServiceSettings settings = {.max_texts = 4, .version = "1.2"}) : service(std::move(settings)) {
    service.add("classes", std::make_shared<FakeModel>());
    service.add("vectors", std::make_shared<FakeModel>(task_of("embedding")));
    service.add("number", std::make_shared<FakeModel>(task_of("regression"), 1));
    service.add("tags", std::make_shared<FakeModel>(task_of("token_classification")));
    service.add("answers", std::make_shared<FakeModel>(task_of("question_answering")));
    service.set_ready();
  }

  Response ask(Request request) {
    if (auto refusal = service.refuse(request)) return *refusal;
    std::promise<Response> promise;
    auto response = promise.get_future();
    const auto call =
        service.start(std::move(request), [&](Response found, const Account&) { promise.set_value(std::move(found)); });
    return response.get();
  }
  Response post(const std::string& path, const json& body) {
    return ask({.method = "POST", .path = path, .body = body.dump()});
  }
  Response get(const std::string& path) { return ask({.method = "GET", .path = path}); }

  json posted(const std::string& path, const json& body) {
    const auto response = post(path, body);
    INFO(response.body);
    REQUIRE(response.status == 200);
    return json::parse(response.body);
  }
  json got(const std::string& path) {
    const auto response = get(path);
    INFO(response.body);
    REQUIRE(response.status == 200);
    return json::parse(response.body);
  }
  void check_error(const std::string& path, const std::string& body, int status, const std::string& type,
                   const std::string& part) {
    const auto response = ask({.method = "POST", .path = path, .body = body});
    INFO(path << " " << body.substr(0, 200) << ": " << response.body);
    CHECK(response.status == status);
    const auto told = json::parse(response.body);
    CHECK(told.at("error_type") == type);
    CHECK(told.at("code") == status);
    CHECK(told.at("error").get<std::string>().find(part) != std::string::npos);
    CHECK(told.size() == 3);
  }
};

}  // namespace

TEST_CASE("The routes of Text Embeddings Inference have its shapes") {
  Harness served;
  CHECK(served.posted("/embed", {{"inputs", "a b"}, {"normalize", false}}) == json::parse("[[4.0, 0.0]]"));
  CHECK(served.posted("/embed", {{"inputs", {"a b", "good"}}}).size() == 2);
  CHECK(served.posted("/embed", {{"inputs", {"a"}}, {"dimensions", 1}}) == json::parse("[[1.0]]"));
  CHECK(served.posted("/embed", {{"inputs", {1, 4, 4, 2}}, {"normalize", false}}) == json::parse("[[4.0, 2.0]]"));
  CHECK(served.posted("/embed", {{"inputs", {{1, 2}, {1, 4, 2}}}, {"normalize", false}}) ==
        json::parse("[[2, 0], [3, 1]]"));
  CHECK(served.posted("/embed_all", {{"inputs", "a"}}) == json::parse("[[[3, 0], [3, 0], [3, 0]]]"));

  const auto one = served.posted("/predict", {{"inputs", "a"}, {"raw_scores", true}});
  CHECK(one == json::parse(R"([{"label": "tokens", "score": 3.0}, {"label": "good", "score": 0.0}])"));
  const auto batch = served.posted("/predict", {{"inputs", {{"a"}, {"a", "b"}}}});
  REQUIRE(batch.size() == 2);
  CHECK(batch[1][0].at("score").get<double>() == Approx(1.0 / (1.0 + std::exp(-4.0))));
  CHECK(served.posted("/predict", {{"inputs", {"a", "b"}}, {"raw_scores", true}})[0].at("score") == 4.0);  // a pair

  const json question{{"query", "q"}, {"texts", {"a", "a b c"}}, {"return_text", true}, {"raw_scores", true}};
  CHECK(served.posted("/rerank", question) ==
        json::parse(R"([{"index": 1, "score": 6.0, "text": "a b c"}, {"index": 0, "score": 4.0, "text": "a"}])"));
  const auto cosines =
      served.posted("/similarity", {{"inputs", {{"source_sentence", "a"}, {"sentences", {"b", "good good good"}}}}});
  REQUIRE(cosines.size() == 2);
  CHECK(cosines[0].get<double>() == Approx(1.0));
  CHECK(cosines[1].get<double>() == Approx(5.0 / std::sqrt(34.0)));
  CHECK(served.posted("/tokenize", {{"inputs", "text"}}) ==
        json::parse(R"([[{"id": 0, "text": "[", "special": true, "start": null, "stop": null},
                         {"id": 7, "text": "text", "special": false, "start": 0, "stop": 4}]])"));
  const auto info = served.got("/info");
  CHECK(info.at("model_id") == "classes");
  CHECK(info.at("model_type").at("classifier").at("id2label").at("1") == "good");
  CHECK(served.get("/health").status == 200);
  CHECK(served.posted("/", {{"inputs", "a"}, {"raw_scores", true}}) == one);
  CHECK(served.posted("/invocations", {{"inputs", "a"}, {"raw_scores", true}}) == one);
  CHECK(served.get("/").status == 200);
  CHECK(served.get("/ping").status == 200);
}

TEST_CASE("The main route of a model that embeds compares sentences too") {
  Service service({});
  service.add("vectors", std::make_shared<FakeModel>(task_of("embedding")));
  service.set_ready();
  const auto answer = [&](const json& body) {
    std::promise<Response> promise;
    const auto call = service.start({.method = "POST", .path = "/", .body = body.dump()},
                                    [&](Response found, const Account&) { promise.set_value(std::move(found)); });
    return json::parse(promise.get_future().get().body);
  };
  CHECK(answer({{"inputs", "a"}}) == json::parse("[[1.0, 0.0]]"));
  CHECK(answer({{"inputs", {{"source_sentence", "a"}, {"sentences", {"b"}}}}}) == json::parse("[1.0]"));
}

TEST_CASE("OpenAI's routes have its shapes, and base64 has the same numbers") {
  Harness served;
  const auto floats = served.posted("/v1/embeddings", {{"input", {"a b", "good"}}, {"model", "vectors"}});
  CHECK(floats.at("object") == "list");
  CHECK(floats.at("model") == "vectors");
  CHECK(floats.at("usage").at("prompt_tokens") == 7);
  CHECK(floats.at("data")[1].at("index") == 1);
  const auto coded = served.posted("/v1/embeddings", {{"input", "good"}, {"encoding_format", "base64"}});
  const auto vector = floats.at("data")[1].at("embedding").get<std::vector<float>>();
  std::string bytes(vector.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), vector.data(), bytes.size());
  CHECK(coded.at("data")[0].at("embedding") == base64(bytes));
  CHECK(served.got("/v1/models").at("data")[4].at("id") == "answers");
  CHECK(served.got("/v1/models/answers") == served.got("/v1/models").at("data")[4]);
  CHECK(served.get("/v1/models/none").status == 404);
  CHECK(served.posted("/embeddings", {{"input", "good"}, {"encoding_format", "base64"}}) == coded);

  const auto path = "/v1/embeddings";  // what is wrong with values has one status
  served.check_error(path, R"({"input": 7})", 400, "validation", "input: found 7");
  served.check_error(path, R"({"input": "a a a a a a a a a a a"})", 400, "validation", "13 tokens");
  served.check_error(path, R"({"input": ["a", "a", "a", "a", "a"]})", 400, "validation", "found 5 texts");
  served.check_error(path, R"({"input": "a", "dimensions": 3})", 400, "validation", "dimensions: found 3");
  served.check_error(path, R"({"input": "a", "model": "none"})", 404, "not_found", "none");
}

TEST_CASE("Base64 is that of RFC 4648") {
  CHECK(base64("") == "");
  CHECK(base64("f") == "Zg==");
  CHECK(base64("fo") == "Zm8=");
  CHECK(base64("foo") == "Zm9v");
  CHECK(base64("foobar") == "Zm9vYmFy");
  CHECK(base64("\xff\xfe\xfd") == "//79");
}

TEST_CASE("The Open Inference Protocol takes texts and token ids") {
  Harness served;
  CHECK(served.got("/v2/health/live").at("live") == true);
  CHECK(served.got("/v2/models/vectors/ready") == json{{"name", "vectors"}, {"ready", true}});
  CHECK(served.got("/v2/models/classes").at("outputs")[0] ==
        json{{"name", "logits"}, {"datatype", "FP32"}, {"shape", {-1, 2}}});
  const auto tensor = [](const char* name, const char* type, const json& shape, const json& data) {
    return json{{"name", name}, {"datatype", type}, {"shape", shape}, {"data", data}};
  };
  const json texts{{"id", "x"}, {"inputs", json::array({tensor("text", "BYTES", {2}, {"a", "a b"})})}};
  const auto found = served.posted("/v2/models/classes/infer", texts);
  CHECK(found.at("id") == "x");
  CHECK(found.at("outputs")[0].at("shape") == json{2, 2});
  CHECK(found.at("outputs")[0].at("data") == json{3.0, 0.0, 4.0, 0.0});
  const json ids{{"inputs",
                  {tensor("input_ids", "INT64", {2, 3}, json{{1, 4, 2}, {1, 2, 0}}),
                   tensor("attention_mask", "INT64", {2, 3}, {1, 1, 1, 1, 1, 0})}}};
  CHECK(served.posted("/v2/models/vectors/infer", ids).at("outputs")[0].at("data") == json{3.0, 1.0, 2.0, 0.0});
  const json question{
      {"inputs", {tensor("text", "BYTES", {1, 1}, {"q"}), tensor("text_pair", "BYTES", {1, 1}, {"c"})}}};
  CHECK(served.posted("/v2/models/answers/infer", question).at("outputs")[0].at("data") ==
        json::array({"{\"text\":\"q\"}"}));

  served.check_error("/v2/models/none/infer", texts.dump(), 404, "not_found", "none");
  const auto wrong = [&](const json& input, const std::string& part) {
    served.check_error("/v2/models/classes/infer", json{{"inputs", json::array({input})}}.dump(), 422, "validation",
                       part);
  };
  wrong(tensor("text", "BYTES", {3}, {"a", "b"}), "found 2 elements");
  wrong(tensor("text", "FP32", {1}, {"a"}), "FP32");
  wrong(tensor("text", "BYTES", {1}, {7}), "text.data[0]: found 7");
  wrong(tensor("text", "BYTES", {-1}, {"a"}), "shape");
  wrong(tensor("text", "BYTES", {int64_t{1} << 62, 8}, {"a"}), "shape");
  wrong(tensor("other", "BYTES", {1}, {"a"}), "neither");
}

TEST_CASE("Tags and answers have routes") {
  Harness served;
  CHECK(served.posted("/token_classification", {{"inputs", "a"}}) == json{{"text", "a"}});
  CHECK(served.posted("/token_classification", {{"inputs", {"a"}}}) == json::array({{{"text", "a"}}}));
  CHECK(served.posted("/question_answering", {{"inputs", {{"question", "q"}, {"context", "c"}}}}) ==
        json{{"text", "q"}});
  served.check_error("/fill_mask", R"({"inputs": "a"})", 424, "backend", "expected one of masked_lm");
}

TEST_CASE("What is wrong with a request is told by its key, in one shape") {
  Harness served;
  served.check_error("/embed", "{", 400, "validation",
                     "the body: byte 2: not JSON: syntax error while parsing object key");
  served.check_error("/embed", "", 400, "validation", "JSON");
  served.check_error("/embed", "[]", 422, "validation", "the body: found []");
  served.check_error("/embed", "{}", 422, "validation", "inputs: not there");
  served.check_error("/embed", R"({"inputs": 7})", 422, "validation", "inputs: found 7");
  served.check_error("/embed", R"({"inputs": ["a", 7]})", 422, "validation", "inputs[1]: found 7");
  served.check_error("/embed", R"({"inputs": [1, "a"]})", 422, "validation", "inputs[1]");
  served.check_error("/embed", R"({"inputs": [18446744073709551615]})", 422, "validation", "inputs[0]");
  served.check_error("/embed", R"({"inputs": null})", 422, "validation", "inputs: found null");
  served.check_error("/embed", R"({"inputs": []})", 400, "empty", "inputs");
  served.check_error("/embed", R"({"inputs": "a", "truncate": "yes"})", 422, "validation", "truncate: found \"yes\"");
  served.check_error("/embed", R"({"inputs": "a", "truncation_direction": "Up"})", 422, "validation",
                     "\"Right\" or \"Left\"");
  served.check_error("/embed", R"({"inputs": "a", "dimensions": 9})", 422, "validation", "dimensions: found 9");
  served.check_error("/embed", R"({"inputs": "a", "dimensions": 0})", 422, "validation", "dimensions: found 0");
  served.check_error("/tokenize", R"({"inputs": "a", "prompt_name": "query"})", 422, "validation", "prompt_name");
  served.check_error("/embed", R"({"inputs": "a", "model": "none"})", 404, "not_found", "none");
  served.check_error("/embed", R"({"inputs": "a", "model": "classes"})", 424, "backend", "expected one of embedding");
  served.check_error("/embed", R"({"inputs": ["a", "a", "a", "a", "a"]})", 413, "validation", "found 5 texts");
  served.check_error("/embed", R"({"inputs": "a a a a a a a a a a a"})", 413, "validation", "13 tokens");
  served.check_error("/embed", R"({"inputs": "bad"})", 422, "validation", "found bad");
  served.check_error("/embed", "{\"inputs\": \"\xff\"}", 400, "validation", "JSON");
  served.check_error("/embed", R"({"inputs": "\ud800"})", 400, "validation", "JSON");
  served.check_error("/embed", "{\"inputs\": " + std::string(100'000, '['), 400, "validation", "deeper");
  served.check_error("/rerank", R"({"query": "q", "texts": []})", 400, "empty", "texts");
  served.check_error("/v2/models/classes/infer", R"({"inputs": []})", 400, "empty", "inputs");
  served.check_error("/similarity", R"({"inputs": {"source_sentence": "a"}})", 422, "validation", "inputs.sentences");
  served.check_error("/similarity", R"({"inputs": {"source_sentence": "a", "sentences": ["b"]}, "model": "bert"})", 404,
                     "not_found", "bert");
  CHECK(served.posted("/embed", {{"inputs", "a a a a a a a a a a a"}, {"truncate", true}}).size() == 1);
  CHECK(served.posted("/embed", {{"inputs", "a"}, {"something", "else"}, {"model", nullptr}, {"normalize", nullptr}})
            .size() == 1);

  CHECK(served.get("/nothing").status == 404);
  CHECK(served.get("nothing").status == 404);
  CHECK(served.get("/%zz").status == 404);
  const auto wrong_method = served.get("/embed");
  CHECK(wrong_method.status == 405);
  CHECK(wrong_method.headers == std::vector<std::pair<std::string, std::string>>{{"Allow", "POST"}});
}

TEST_CASE("A key is asked for on all routes but those of health") {
  Harness served({.keys = {"first", "second key"}});
  CHECK(served.get("/health").status == 200);
  CHECK(served.get("/v2/health/ready").status == 200);
  CHECK(served.get("/nothing").status == 401);
  const auto status = [&](const std::string& authorization) {
    return served.ask({.method = "GET", .path = "/v1/models", .authorization = authorization}).status;
  };
  CHECK(status("Bearer first") == 200);
  CHECK(status("bearer second key") == 200);
  for (const auto* wrong : {"", "first", "Bearer", "Bearer ", "Bearer firs", "Bearer first1", "Basic first"}) {
    INFO(wrong);
    CHECK(status(wrong) == 401);
  }
}

TEST_CASE("Until the models are ready they are not asked, and the server says so") {
  Service service({});
  const auto status = [&](const std::string& method, const std::string& path) {
    std::promise<Response> promise;
    const auto call = service.start({.method = method, .path = path, .body = R"({"inputs": "a"})"},
                                    [&](Response found, const Account&) { promise.set_value(std::move(found)); });
    return promise.get_future().get().status;
  };
  CHECK(status("POST", "/embed") == 503);
  CHECK(status("GET", "/health") == 503);
  CHECK(status("GET", "/v2/health/ready") == 503);
  CHECK(status("GET", "/v2/health/live") == 200);
  service.add("m", std::make_shared<FakeModel>(task_of("embedding")));
  service.warm_up();
  service.set_ready();
  CHECK(status("GET", "/health") == 200);
  CHECK(status("POST", "/embed") == 200);
  service.set_stopping();
  CHECK(status("GET", "/health") == 503);
  CHECK(status("POST", "/embed") == 200);  // what comes nevertheless is answered
}

TEST_CASE("A request may ask for less time, not for more") {
  const Service service({.timeout = std::chrono::milliseconds(500)});
  CHECK(service.timeout_of({}).count() == 500);
  CHECK(service.timeout_of({.timeout = "20"}).count() == 20);
  CHECK(service.timeout_of({.timeout = "9223372036854775807"}).count() == 500);
  for (const auto* wrong : {"", "0", "-1", "1.5", "x", "99999999999999999999"}) {
    CHECK_THROWS_AS(service.timeout_of({.timeout = wrong}), RequestError);
  }
}

TEST_CASE("docs/openapi.json is the page that is served") {
  const auto file = std::string(COMPRESS_SOURCE_DIR) + "/docs/openapi.json";
  const auto page = openapi_page(COMPRESS_VERSION).dump(2) + "\n";
  if (std::getenv("COMPRESS_APPROVE") != nullptr) write_text_file(file, page);
  CHECK(read_text_file(file) == page);
  Harness served;
  CHECK(served.got("/openapi.json").at("paths").size() == json::parse(page).at("paths").size());
  for (const auto& route : routes()) {
    INFO(route.path);
    if (!route.answer.empty()) CHECK(json::accept(route.answer));
    CHECK((route.method == "GET") == (route.body == nullptr));
  }
}

TEST_CASE("Numbers are written with the fewest digits that read the same") {
  std::string text;
  append_numbers(text, std::vector<float>{0.1f, -2.5e-5f, 3.0f, 0.0f});
  CHECK(text == "[0.1,-2.5e-05,3,0]");
  CHECK(json(shortest(0.1f)).dump() == "0.1");
}
