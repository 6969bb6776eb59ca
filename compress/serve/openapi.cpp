#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

#include "compress/serve/plans.h"

namespace compression::serve {
namespace {

using nlohmann::ordered_json;

ordered_json ordered(const json& value) {
  return ordered_json::parse(value.dump());
}

/// What answers of errors, and those of several routes, have in common.
constexpr auto components = R"({
  "schemas": {
    "Error": {"type": "object", "required": ["error", "error_type", "code"], "properties": {
      "error": {"type": "string", "description": "The key, what was found and what was expected"},
      "error_type": {"type": "string", "enum": ["validation", "empty", "tokenizer", "backend", "overloaded", "unhealthy", "timeout", "not_found", "unauthorized"]},
      "code": {"type": "integer", "description": "The status code"}}},
    "OpenAIError": {"type": "object", "required": ["error"], "properties": {
      "error": {"type": "object", "required": ["message", "type", "param", "code"], "properties": {
        "message": {"type": "string"}, "type": {"type": "string"}, "param": {"type": "string", "nullable": true},
        "code": {"type": "integer"}}}}},
    "Model": {"type": "object", "required": ["id", "object"], "properties": {
      "id": {"type": "string"}, "object": {"type": "string"}, "created": {"type": "integer"}, "owned_by": {"type": "string"}}},
    "Prediction": {"type": "object", "required": ["score", "label"], "properties": {
      "score": {"type": "number"}, "label": {"type": "string"}}},
    "Tags": {"type": "object", "required": ["words", "tags"], "properties": {
      "words": {"type": "array", "items": {"type": "string"}}, "tags": {"type": "array", "items": {"type": "string"}},
      "entities": {"type": "array", "items": {"type": "object", "properties": {
        "entity": {"type": "string"}, "text": {"type": "string"}, "score": {"type": "number"},
        "start": {"type": "integer"}, "end": {"type": "integer"}}}}}},
    "Answer": {"type": "object", "required": ["answer"], "properties": {
      "answer": {"type": "string"}, "score": {"type": "number"}, "start": {"type": "integer"}, "end": {"type": "integer"}}},
    "Masks": {"type": "object", "required": ["masks"], "properties": {
      "masks": {"type": "array", "items": {"type": "object", "properties": {
        "start": {"type": "integer"}, "end": {"type": "integer"},
        "words": {"type": "array", "items": {"type": "object", "properties": {
          "token": {"type": "string"}, "score": {"type": "number"}}}}}}}}}
  },
  "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}
})";

struct Status {
  int code;
  std::string_view meaning;
  bool of_bodies;
};
// clang-format off
constexpr Status statuses[] = {
    {400, "No JSON, nested too deeply, or an empty list; or no HTTP", true},
    {401, "No key that is known", false},
    {404, "No such model", false},
    {405, "Not the route's method", false},
    {408, "The request came too slowly", false},
    {413, "The body is too large, there are too many texts, or a text has too many tokens", true},
    {415, "The body is compressed", false},
    {422, "A value of the wrong type, or one that the model can't take", false},
    {424, "The model does something else, or can't compute the texts", true},
    {429, "The queue is full: try again after Retry-After seconds", true},
    {431, "The header is too large", false},
    {500, "A mistake of the server's", false},
    {503, "Not ready, or out of memory or connections", false},
    {504, "The request's time is up", true},
};
// clang-format on

ordered_json operation(const Route& route) {
  ordered_json result{{"tags", {route.tag}}, {"summary", route.summary}, {"operationId", route.id}};
  ordered_json parameters = ordered_json::array();
  if (route.path.find("{name}") != std::string_view::npos) {
    parameters.push_back({{"name", "name"},
                          {"in", "path"},
                          {"required", true},
                          {"description", "The model"},
                          {"schema", {{"type", "string"}}}});
  }
  if (route.body != nullptr) {
    parameters.push_back({{"name", "X-Request-Timeout-Ms"},
                          {"in", "header"},
                          {"description", "Milliseconds after which nobody waits for the answer any more"},
                          {"schema", {{"type", "integer"}, {"minimum", 1}}}});
  }
  if (!parameters.empty()) result["parameters"] = parameters;
  if (route.body != nullptr) {
    result["requestBody"] = {{"required", true},
                             {"content", {{"application/json", {{"schema", ordered(route.body())}}}}}};
  }
  ordered_json responses = ordered_json::object();
  const auto type = route.answer.empty() ? "text/plain" : "application/json";
  const auto schema = route.answer.empty() ? ordered_json{{"type", "string"}} : ordered_json::parse(route.answer);
  responses["200"] = {{"description", route.summary}, {"content", {{type, {{"schema", schema}}}}}};
  for (const auto& status : statuses) {
    if (status.of_bodies && route.body == nullptr) continue;
    const auto code = std::to_string(status.code);
    responses[code] = {{"$ref", "#/components/responses/" + (is_openai(route.path) ? "OpenAI" + code : code)}};
  }
  result["responses"] = responses;
  if (!route.open) result["security"] = {{{"key", ordered_json::array()}}, ordered_json::object()};
  return result;
}

Plan page(const Service& service, const Request&) {
  return at_once({.body = openapi_page(service.settings().version).dump()});
}

/// Bytes of memory that the process has now, and had at most; 0 where the system does not tell.
double memory(std::string_view field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return std::strtod(line.c_str() + field.size(), nullptr) * 1024.0;
  }
  return 0.0;
}

/// Whether the header Accept names a type, and not with q=0.
bool accepts(const std::string& accept, std::string_view type) {
  const auto at = accept.find(type);
  if (at == std::string::npos) return false;
  const auto range = accept.substr(at, accept.find(',', at) - at);
  const auto quality = range.find("q=");
  return quality == std::string::npos || std::strtod(range.c_str() + quality + 2, nullptr) > 0.0;
}

Plan metrics(const Service& service, const Request& request) {
  auto& all = service.metrics();
  all.gauge("process_resident_memory_bytes", "Memory that the process has").set(memory("VmRSS:"));
  all.gauge("compress_peak_memory_bytes", "Memory that the process had at most").set(memory("VmHWM:"));
  all.gauge("compress_ready", "1 where the server is ready").set(service.is_ready() ? 1.0 : 0.0);
  const bool open = accepts(request.accept, "application/openmetrics-text");
  const auto* type =
      open ? "application/openmetrics-text; version=1.0.0; charset=utf-8" : "text/plain; version=0.0.4; charset=utf-8";
  return at_once({.type = type, .body = all.text(open)});
}

}  // namespace

std::vector<Route> system_routes() {
  constexpr auto tag = "System";
  return {
      {.method = "GET",
       .path = "/metrics",
       .id = "metrics",
       .tag = tag,
       .summary = "Metrics, as Prometheus or OpenMetrics read them",
       .body = nullptr,
       .answer = "",
       .plan = metrics,
       .waits = false},
      {.method = "GET",
       .path = "/openapi.json",
       .id = "openapi",
       .tag = tag,
       .summary = "This page",
       .body = nullptr,
       .answer = R"({"type": "object"})",
       .plan = page,
       .waits = false},
  };
}

std::span<const Route> routes() {
  static const auto table = [] {
    std::vector<Route> all;
    for (auto& part :
         {embedding_inference_routes(), answer_routes(), openai_routes(), open_inference_routes(), system_routes()}) {
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }();
  return table;
}

ordered_json openapi_page(std::string_view version) {
  ordered_json paths = ordered_json::object();
  for (const auto& route : routes()) {
    auto method = std::string(route.method);
    std::ranges::transform(method, method.begin(), [](char c) { return static_cast<char>(c | 32); });
    paths[std::string(route.path)][method] = operation(route);
  }
  auto shared = ordered_json::parse(components);
  for (const auto& status : statuses) {
    for (const std::string dialect : {"", "OpenAI"}) {
      shared["responses"][dialect + std::to_string(status.code)] = {
          {"description", status.meaning},
          {"content", {{"application/json", {{"schema", {{"$ref", "#/components/schemas/" + dialect + "Error"}}}}}}}};
    }
  }
  return {{"openapi", "3.0.3"},
          {"info",
           {{"title", "compress serve"},
            {"description",
             "Encoders behind the routes of Text Embeddings Inference, OpenAI and the Open Inference Protocol"},
            {"version", version}}},
          {"paths", paths},
          {"components", shared}};
}

}  // namespace compression::serve
