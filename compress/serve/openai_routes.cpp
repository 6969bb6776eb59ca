// The routes of OpenAI's that its clients ask for embeddings.

#include <cstring>

#include "compress/serve/plans.h"

namespace compression::serve {
namespace {

enum class EncodingFormat { number, base64 };
constexpr std::array<std::pair<EncodingFormat, std::string_view>, 2> enum_names(EncodingFormat) {
  return {{{EncodingFormat::number, "float"}, {EncodingFormat::base64, "base64"}}};
}

struct EmbeddingsBody {
  Inputs input;
  std::optional<std::string> model, user;
  EncodingFormat encoding_format = EncodingFormat::number;
  std::optional<Count> dimensions;
  std::optional<bool> truncate;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("input", self.input, "Texts or token ids", Presence::required);
    visit("model", self.model, "The model's name; if absent the first that embeds");
    visit("encoding_format", self.encoding_format, "Numbers, or base64 of float32 in little endian");
    visit("dimensions", self.dimensions, "So many of a vector's first numbers");
    visit("truncate", self.truncate,
          "Texts that are too long are cut, not refused; if absent as the server was started. OpenAI has no such key");
    visit("user", self.user, "Not read");
  }
};

Plan embeddings_of(const Service& service, const Request& request) {
  auto body = read_body<EmbeddingsBody>(request.body);
  const auto& served = service.find(body.model, embeds, "one of embedding");
  check_dimensions(served, body.dimensions);
  auto readings = read_inputs(service, served, std::move(body.input),
                              {.truncate = body.truncate.value_or(service.settings().truncate)});
  int64_t tokens = 0;
  for (const auto& reading : readings) tokens += reading.tokens;
  return {.served = &served,
          .readings = std::move(readings),
          .answer = [name = served.name, tokens, dimensions = body.dimensions,
                     format = body.encoding_format](const std::vector<Result>& results) {
            Response response{.body = R"({"object":"list","data":[)"};
            for (size_t i = 0; i < results.size(); ++i) {
              const auto vector = cut_vector(results[i].values, dimensions, true);
              response.body += (i == 0 ? "" : ",") + std::string(R"({"object":"embedding","index":)") +
                               std::to_string(i) + R"(,"embedding":)";
              if (format == EncodingFormat::number) {
                append_numbers(response.body, vector);
              } else {
                static_assert(std::endian::native == std::endian::little);
                std::string bytes(vector.size() * sizeof(float), '\0');
                std::memcpy(bytes.data(), vector.data(), bytes.size());
                response.body += '"' + base64(bytes) + '"';
              }
              response.body += '}';
            }
            const json usage{{"prompt_tokens", tokens}, {"total_tokens", tokens}};
            response.body += R"(],"model":)" + json_text(json(name)) + R"(,"usage":)" + json_text(usage) + "}";
            return response;
          }};
}

/// What is wrong with a request's values, also with their length, is 400 to OpenAI's clients.
Plan embeddings(const Service& service, const Request& request) {
  try {
    return embeddings_of(service, request);
  } catch (const RequestError& error) {
    if (error.status() != 413 && error.status() != 422) throw;
    throw RequestError(400, error.type(), error.what());
  }
}

json model_object(const Service& service, const Served& served) {
  return {{"id", served.name}, {"object", "model"}, {"created", service.started_at()}, {"owned_by", "compress"}};
}

Plan models(const Service& service, const Request&) {
  json list = json::array();
  for (const auto& served : service.models()) list.push_back(model_object(service, served));
  return at_once(json_response({{"object", "list"}, {"data", list}}));
}

Plan model(const Service& service, const Request& request) {
  return at_once(json_response(model_object(service, service.find(request.captured.at(0)))));
}

constexpr auto embedding_list = R"({"type": "object", "required": ["object", "data", "model", "usage"], "properties": {
  "object": {"type": "string"}, "model": {"type": "string"},
  "data": {"type": "array", "items": {"type": "object", "required": ["object", "index", "embedding"], "properties": {
    "object": {"type": "string"}, "index": {"type": "integer"},
    "embedding": {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]}}}},
  "usage": {"type": "object", "properties": {"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}}}}})";
constexpr auto model_list = R"({"type": "object", "required": ["object", "data"], "properties": {
  "object": {"type": "string"},
  "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}}})";

}  // namespace

bool is_openai(std::string_view path) {
  return path.starts_with("/v1/") || path == "/embeddings";
}

std::vector<Route> openai_routes() {
  constexpr auto tag = "OpenAI";
  return {
      {"POST", "/v1/embeddings", "openai_embeddings", tag, "A vector for each text", body_schema<EmbeddingsBody>,
       embedding_list, embeddings},
      {"POST", "/embeddings", "embeddings", tag, "The same, where Text Embeddings Inference has it too",
       body_schema<EmbeddingsBody>, embedding_list, embeddings},
      {"GET", "/v1/models", "openai_models", tag, "The models", nullptr, model_list, models},
      {"GET", "/v1/models/{name}", "openai_model", tag, "A model", nullptr, R"({"$ref": "#/components/schemas/Model"})",
       model},
  };
}

}  // namespace compression::serve
