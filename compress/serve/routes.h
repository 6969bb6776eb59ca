#pragma once
// The one table of routes: what the server answers to, and what the OpenAPI page is made of.

#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "compress/serve/http.h"
#include "compress/serve/service.h"

namespace compression::serve {

struct Route {
  std::string_view method, path;  // path: with {name} for a segment that is anything
  std::string_view id, tag, summary;
  nlohmann::json (*body)();                                      // the schema; null: the request has none
  std::string_view answer;                                       // the schema, as JSON; empty: text
  Plan (*plan)(const Service& service, const Request& request);  // throws RequestError
  bool open = false;                                             // needs no key
  bool waits = true;                                             // for the models to be ready
};

std::span<const Route> routes();

/// Whether a path, of a route or not, is one whose errors OpenAI's clients read.
bool is_openai(std::string_view path);

// Its parts, each in a file of its own.
std::vector<Route> embedding_inference_routes();  // tei_routes.cpp: as Text Embeddings Inference
std::vector<Route> answer_routes();               // answer_routes.cpp: tags, answers, masked words
std::vector<Route> openai_routes();
std::vector<Route> open_inference_routes();  // infer_routes.cpp: Open Inference Protocol, version 2
std::vector<Route> system_routes();

/// The OpenAPI 3.0 page of the table.
nlohmann::ordered_json openapi_page(std::string_view version);

}  // namespace compression::serve
