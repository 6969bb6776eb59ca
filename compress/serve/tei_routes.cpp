// The routes of Text Embeddings Inference, with its names, shapes and status codes.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "compress/serve/plans.h"

namespace compression::serve {
namespace {

/// The fields of requests with texts that get a vector.
struct Sentences : Cutting {
  std::optional<std::string> prompt_name;

  template <class Self, class Visitor>
  static void visit_in(Self& self, Visitor&& visit) {
    visit("prompt_name", self.prompt_name,
          "One of the prompts that the model's folder has, put before each text in place of the default one");
    Cutting::visit_in(self, visit);
  }

  ReadOptions options(const Service& service) const {
    auto options = Cutting::options(service);
    options.prompt_name = prompt_name;
    return options;
  }
};

struct EmbedBody : Sentences {
  Inputs inputs;
  bool normalize = true;
  std::optional<Count> dimensions;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("inputs", self.inputs, "Texts or token ids", Presence::required);
    visit("normalize", self.normalize, "Vectors have length 1");
    visit("dimensions", self.dimensions, "So many of a vector's first numbers");
    visit_in(self, visit);
  }
};

Plan embed(const Service& service, const Request& request) {
  auto body = read_body<EmbedBody>(request.body);
  const auto& served = service.find(body.model, embeds, "one of embedding");
  check_dimensions(served, body.dimensions);
  return {.served = &served,
          .readings = read_inputs(service, served, std::move(body.inputs), body.options(service)),
          .answer = [dimensions = body.dimensions, normalize = body.normalize](const std::vector<Result>& results) {
            Response response{.body = "["};
            for (const auto& result : results) {
              append_numbers(response.body, cut_vector(result.values, dimensions, normalize));
              response.body += ',';
            }
            response.body.back() = ']';
            return response;
          }};
}

constexpr int64_t most_numbers = 1 << 23;  // of an answer: some 90 MB as JSON

struct EmbedAllBody : Sentences {
  Inputs inputs;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("inputs", self.inputs, "Texts or token ids", Presence::required);
    visit_in(self, visit);
  }
};

Plan embed_all(const Service& service, const Request& request) {
  auto body = read_body<EmbedAllBody>(request.body);
  const auto& served = service.find(body.model, embeds, "one of embedding");
  auto readings = read_inputs(service, served, std::move(body.inputs), body.options(service));
  int64_t numbers_told = 0;
  for (auto& reading : readings) {
    reading.wanted = Wanted::states;
    numbers_told += reading.tokens * served.info().width;
  }
  if (numbers_told > most_numbers) {
    throw RequestError(413, ErrorType::validation,
                       fmt::format("found texts whose tokens have {} numbers, expected at most {} in an answer",
                                   numbers_told, most_numbers));
  }
  return {.served = &served, .readings = std::move(readings), .answer = [](const std::vector<Result>& results) {
            Response response{.body = "["};
            for (const auto& result : results) {
              response.body += '[';
              const auto width = static_cast<size_t>(result.width);
              for (size_t i = 0; i < result.values.size(); i += width) {
                append_numbers(response.body, std::span(result.values).subspan(i, width));
                response.body += ',';
              }
              response.body.back() = ']';
              response.body += ',';
            }
            response.body.back() = ']';
            return response;
          }};
}

struct PredictBody : Cutting {
  PairInputs inputs;
  bool raw_scores = false;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("inputs", self.inputs, "A text, a pair of texts, or a list of lists of one or two", Presence::required);
    visit("raw_scores", self.raw_scores, "Logits in place of shares");
    visit_in(self, visit);
  }
};

json labelled(const ModelInfo& info, const Result& result, bool raw) {
  const auto scores = scores_of(info, result.values, raw);
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  json list = json::array();
  for (const auto i : order) {
    list.push_back({{"score", shortest(scores[i])},
                    {"label", i < info.head.labels.size() ? info.head.labels[i] : fmt::format("LABEL_{}", i)}});
  }
  return list;
}

Plan predict(const Service& service, const Request& request) {
  auto body = read_body<PredictBody>(request.body);
  const auto& served = service.find(body.model, classifies, "one that classifies texts");
  return {.served = &served,
          .readings = read_texts(service, served, std::move(body.inputs.items), body.options(service)),
          .answer = [&info = served.info(), batch = body.inputs.is_batch,
                     raw = body.raw_scores](const std::vector<Result>& results) {
            json lists = json::array();
            for (const auto& result : results) lists.push_back(labelled(info, result, raw));
            return json_response(batch ? lists : lists.front());
          }};
}

struct RerankBody : Cutting {
  std::string query;
  std::vector<std::string> texts;
  bool raw_scores = false, return_text = false;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("query", self.query, "What the texts are ranked for", Presence::required);
    visit("texts", self.texts, "At least one", Presence::required);
    visit("raw_scores", self.raw_scores, "Logits in place of their sigmoid");
    visit("return_text", self.return_text, "Each rank has its text");
    visit_in(self, visit);
  }
};

Plan rerank(const Service& service, const Request& request) {
  auto body = read_body<RerankBody>(request.body);
  const auto& served = service.find(
      body.model, [](const ModelInfo& info) { return classifies(info) && info.width == 1; },
      "one with a single output, which scores pairs");
  std::vector<TextInput> pairs;
  for (const auto& text : body.texts) pairs.push_back({.text = body.query, .pair = text});
  return {.served = &served,
          .readings = read_texts(service, served, std::move(pairs), body.options(service)),
          .answer = [texts = std::move(body.texts), raw = body.raw_scores,
                     shown = body.return_text](const std::vector<Result>& results) {
            std::vector<float> scores;
            for (const auto& result : results) {
              const auto logit = result.values.at(0);
              scores.push_back(raw ? logit : 1.0f / (1.0f + std::exp(-logit)));
            }
            std::vector<size_t> order(scores.size());
            std::iota(order.begin(), order.end(), size_t{0});
            std::ranges::stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
            json ranks = json::array();
            for (const auto i : order) {
              auto& rank = ranks.emplace_back(json{{"index", i}, {"score", shortest(scores[i])}});
              if (shown) rank["text"] = texts[i];
            }
            return json_response(ranks);
          }};
}

struct SimilarityInputs {
  std::string source_sentence;
  std::vector<std::string> sentences;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("source_sentence", self.source_sentence, "What the others are compared with", Presence::required);
    visit("sentences", self.sentences, "At least one", Presence::required);
  }
};

struct SimilarityParameters : Sentences {
  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit_in(self, visit);
  }
};

struct SimilarityBody {
  SimilarityInputs inputs;
  std::optional<SimilarityParameters> parameters;
  std::optional<std::string> model;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("inputs", self.inputs, "The sentences", Presence::required);
    visit("parameters", self.parameters, "How they are read");
    visit("model", self.model, "The model's name, here or among the parameters; if absent the first that can answer");
  }
};

Plan similarity(const Service& service, const Request& request) {
  auto body = read_body<SimilarityBody>(request.body);
  const auto parameters = body.parameters.value_or(SimilarityParameters());
  const auto& served = service.find(body.model ? body.model : parameters.model, embeds, "one of embedding");
  std::vector<TextInput> texts{{.text = body.inputs.source_sentence}};
  for (auto& sentence : body.inputs.sentences) texts.push_back({.text = std::move(sentence)});
  return {.served = &served,
          .readings = read_texts(service, served, std::move(texts), parameters.options(service)),
          .answer = [](const std::vector<Result>& results) {
            const auto source = cut_vector(results.front().values, std::nullopt, true);
            std::vector<float> cosines;
            for (size_t i = 1; i < results.size(); ++i) {
              const auto other = cut_vector(results[i].values, std::nullopt, true);
              cosines.push_back(std::inner_product(source.begin(), source.end(), other.begin(), 0.0f));
            }
            Response response;
            append_numbers(response.body, cosines);
            return response;
          }};
}

/// What the first model is for, as Hugging Face's clients ask it.
Plan main_route(const Service& service, const Request& request) {
  const auto& info = service.models().front().info();
  const auto body = parse_body(request.body);
  if (embeds(info)) {
    const bool compares = body.contains("inputs") && body.at("inputs").is_object();
    return compares ? similarity(service, request) : embed(service, request);
  }
  const bool ranks = classifies(info) && info.width == 1 && body.contains("query");
  return ranks ? rerank(service, request) : predict(service, request);
}

json main_schema() {
  return {{"anyOf", {schema<EmbedBody>(), schema<SimilarityBody>(), schema<PredictBody>(), schema<RerankBody>()}}};
}

struct TokenizeBody {
  TextInputs inputs;
  bool add_special_tokens = true;
  std::optional<std::string> prompt_name, model;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("inputs", self.inputs, "A text or several", Presence::required);
    visit("add_special_tokens", self.add_special_tokens, "With those that the model is given around a text");
    visit("prompt_name", self.prompt_name, "Refused: texts are tokenized as they are");
    visit("model", self.model, "The model's name; if absent the first");
  }
};

Plan tokenize(const Service& service, const Request& request) {
  const auto body = read_body<TokenizeBody>(request.body);
  if (body.prompt_name) {
    throw RequestError(422, ErrorType::validation,
                       "prompt_name: found a name, expected none: texts are tokenized as they are");
  }
  check_count(service, body.inputs.items.size());
  const auto& served = service.find(body.model, [](const ModelInfo&) { return true; }, "");
  Response response{.body = "["};
  for (const auto& text : body.inputs.items) {
    response.body += '[';
    for (const auto& piece : served.model->tokenize(text, body.add_special_tokens)) {
      response.body +=
          fmt::format(R"({{"id":{},"text":{},"special":{})", piece.id, json_text(json(piece.text)), piece.special);
      response.body += piece.special ? R"(,"start":null,"stop":null},)"
                                     : fmt::format(R"(,"start":{},"stop":{}}},)", piece.begin, piece.end);
    }
    if (response.body.back() == ',') response.body.pop_back();
    response.body += "],";
  }
  response.body.back() = ']';
  auto plan = at_once(std::move(response));
  plan.served = &served;
  return plan;
}

json model_type(const ModelInfo& info) {
  if (embeds(info)) return {{"embedding", {{"pooling", info.pooling}}}};
  json by_id = json::object(), by_label = json::object();
  for (size_t i = 0; i < info.head.labels.size(); ++i) {
    by_id[std::to_string(i)] = info.head.labels[i];
    by_label[info.head.labels[i]] = i;
  }
  const auto* kind = classifies(info) && info.width == 1 ? "reranker" : "classifier";
  return {{kind, {{"id2label", by_id}, {"label2id", by_label}}}};
}

Plan info(const Service& service, const Request&) {
  const auto& served = service.models().front();
  const auto& settings = service.settings();
  json models = json::array();
  for (const auto& other : service.models()) {
    models.push_back({{"model_id", other.name}, {"task", traits_of(other.info().head.task).name}});
  }
  return at_once(json_response({{"model_id", served.name},
                                {"model_sha", nullptr},
                                {"model_dtype", served.info().number_format},
                                {"model_type", model_type(served.info())},
                                {"max_input_length", served.info().max_length},
                                {"max_batch_tokens", settings.batches.batch_tokens},
                                {"max_batch_requests", nullptr},
                                {"max_client_batch_size", settings.max_texts},
                                {"auto_truncate", settings.truncate},
                                {"tokenization_workers", settings.workers},
                                {"version", settings.version},
                                {"sha", nullptr},
                                {"docker_label", nullptr},
                                {"models", models}}));
}

Plan health(const Service& service, const Request&) {
  if (!service.is_ready()) throw RequestError(503, ErrorType::unhealthy, "the server is not ready for requests", 1);
  return at_once({.type = "text/plain"});
}

constexpr auto anything = R"({"type": "array", "items": {}})";
constexpr auto numbers = R"({"type": "array", "items": {"type": "number"}})";
constexpr auto vectors = R"({"type": "array", "items": {"type": "array", "items": {"type": "number"}}})";
constexpr auto token_vectors =
    R"({"type": "array", "items": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}})";
constexpr auto predictions = R"({"anyOf": [
  {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
  {"type": "array", "items": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}}}]})";
constexpr auto ranks = R"({"type": "array", "items": {"type": "object", "required": ["index", "score"], "properties": {
  "index": {"type": "integer"}, "score": {"type": "number"}, "text": {"type": "string"}}}})";
constexpr auto tokens = R"({"type": "array", "items": {"type": "array", "items": {"type": "object",
  "required": ["id", "text", "special"], "properties": {"id": {"type": "integer"}, "text": {"type": "string"},
  "special": {"type": "boolean"}, "start": {"type": "integer", "nullable": true}, "stop": {"type": "integer", "nullable": true}}}}})";
constexpr auto information =
    R"({"type": "object", "required": ["model_id", "model_type", "max_input_length"], "properties": {
  "model_id": {"type": "string"}, "model_dtype": {"type": "string"}, "model_type": {"type": "object"},
  "max_input_length": {"type": "integer"}, "max_batch_tokens": {"type": "integer"}, "max_client_batch_size": {"type": "integer"},
  "auto_truncate": {"type": "boolean"}, "version": {"type": "string"}, "models": {"type": "array", "items": {"type": "object"}}}})";

}  // namespace

std::vector<Route> embedding_inference_routes() {
  constexpr auto tag = "Text Embeddings Inference";
  constexpr auto main = "What /embed, /similarity, /predict or /rerank answers, as the first model is for";
  const auto health_at = [&](std::string_view path, std::string_view id) {
    return Route{.method = "GET",
                 .path = path,
                 .id = id,
                 .tag = tag,
                 .summary = "Whether the server is ready",
                 .body = nullptr,
                 .answer = "",
                 .plan = health,
                 .open = true,
                 .waits = false};
  };
  return {
      {"POST", "/", "main", tag, main, main_schema, anything, main_route},
      {"POST", "/invocations", "invocations", tag, main, main_schema, anything, main_route},
      {"POST", "/embed", "embed", tag, "A vector for each text", body_schema<EmbedBody>, vectors, embed},
      {"POST", "/embed_all", "embed_all", tag, "A vector for each token of each text", body_schema<EmbedAllBody>,
       token_vectors, embed_all},
      {"POST", "/predict", "predict", tag, "Labels with their scores, the best first", body_schema<PredictBody>,
       predictions, predict},
      {"POST", "/rerank", "rerank", tag, "Texts by how well they fit a query", body_schema<RerankBody>, ranks, rerank},
      {"POST", "/similarity", "similarity", tag, "Cosines of sentences with one", body_schema<SimilarityBody>, numbers,
       similarity},
      {"POST", "/tokenize", "tokenize", tag, "Tokens of each text", body_schema<TokenizeBody>, tokens, tokenize},
      {"GET", "/info", "info", tag, "The first model, and the server's limits", nullptr, information, info},
      health_at("/health", "health"),
      health_at("/", "main_health"),
      health_at("/ping", "ping"),
  };
}

}  // namespace compression::serve
