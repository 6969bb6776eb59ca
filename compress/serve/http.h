#pragma once
// A request and its answer, apart from the connection that they came through; and what a client is told where there is
// none.

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/base/error.h"  // Error

namespace compression::serve {

struct Request {
  std::string method, path;  // path: without the query
  std::string accept = {}, authorization = {};
  std::optional<std::string> timeout = {};  // X-Request-Timeout-Ms
  std::string id = {};                      // X-Request-Id
  std::string body = {};
  std::vector<std::string> captured = {};  // what the path has in place of {name} in its route's
};

struct Response {
  int status = 200;
  std::string type = "application/json";
  std::string body = {};
  std::vector<std::pair<std::string, std::string>> headers = {};
};

/// The kinds of errors that Text Embeddings Inference has, and some more.
enum class ErrorType { validation, empty, tokenizer, backend, overloaded, unhealthy, timeout, not_found, unauthorized };

std::string_view name_of(ErrorType type);

/// A request that is answered with an error. The message names the key, what was found and what was expected.
class RequestError : public Error {
 public:
  RequestError(int status, ErrorType type, const std::string& message, std::optional<int64_t> retry_after = {})
      : Error(message), status_(status), type_(type), retry_after_(retry_after) {}

  int status() const { return status_; }
  ErrorType type() const { return type_; }
  std::optional<int64_t> retry_after() const { return retry_after_; }  // seconds

 private:
  int status_;
  ErrorType type_;
  std::optional<int64_t> retry_after_;
};

/// {"error": "inputs: found ...", "error_type": "validation", "code": 422}, with Retry-After where it says when.
Response error_response(const RequestError& error);

/// The answer of an error as OpenAI's clients read it: {"error": {"message": ..., "type": "validation", "param": null,
/// "code": 422}}.
Response openai_error(Response error);

/// Of an exception of any kind: what is wrong with a text is 422, memory that ran out 503, what a model fails at 424,
/// and a mistake of ours 500.
Response error_response(const std::exception_ptr& error);

/// Segments of a path, without percent encoding; nothing where that is ill-formed.
std::optional<std::vector<std::string>> path_segments(std::string_view path);

/// Base64 of RFC 4648, with padding.
std::string base64(std::string_view bytes);

}  // namespace compression::serve
