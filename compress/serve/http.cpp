#include "compress/serve/http.h"

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "compress/base/failure.h"  // failure_text, is_out_of_memory
#include "compress/base/message.h"  // json_text

namespace compression::serve {

std::string_view name_of(ErrorType type) {
  static constexpr std::array<std::string_view, 9> names{
      "validation", "empty", "tokenizer", "backend", "overloaded", "unhealthy", "timeout", "not_found", "unauthorized"};
  return names.at(static_cast<size_t>(type));
}

Response error_response(const RequestError& error) {
  const nlohmann::ordered_json body{
      {"error", error.what()}, {"error_type", name_of(error.type())}, {"code", error.status()}};
  Response response{.status = error.status(), .body = json_text(body)};
  if (error.retry_after()) response.headers.emplace_back("Retry-After", std::to_string(*error.retry_after()));
  if (error.status() == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

Response openai_error(Response error) {
  const auto known = nlohmann::json::parse(error.body);
  const nlohmann::ordered_json told{
      {"message", known.at("error")}, {"type", known.at("error_type")}, {"param", nullptr}, {"code", known.at("code")}};
  error.body = json_text(nlohmann::ordered_json{{"error", told}});
  return error;
}

Response error_response(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const RequestError& known) {
    return error_response(known);
  } catch (const DataError& known) {
    return error_response(RequestError(422, ErrorType::validation, known.what()));
  } catch (const ConfigError& known) {
    return error_response(RequestError(422, ErrorType::validation, known.what()));
  } catch (const Error& known) {
    return error_response(RequestError(424, ErrorType::backend, known.what()));
  } catch (const std::exception& known) {
    if (is_out_of_memory(known)) return error_response(RequestError(503, ErrorType::overloaded, "out of memory", 1));
    return error_response(RequestError(500, ErrorType::backend, failure_text(known)));
  }
}

std::optional<std::vector<std::string>> path_segments(std::string_view path) {
  std::vector<std::string> segments;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '/') {
      segments.emplace_back();
      continue;
    }
    if (segments.empty()) return std::nullopt;
    if (path[i] != '%') {
      segments.back() += path[i];
      continue;
    }
    unsigned value = 0;
    const auto digits = path.substr(i + 1, 2);
    const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 2 || problem != std::errc() || end != digits.data() + 2) return std::nullopt;
    segments.back() += static_cast<char>(value);
    i += 2;
  }
  return segments;
}

std::string base64(std::string_view bytes) {
  static constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](size_t k) { return i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U; };
    const auto group = byte(0) << 16 | byte(1) << 8 | byte(2);
    for (size_t k = 0; k < 4; ++k) {
      text += i + k <= bytes.size() ? letters[group >> (18 - 6 * k) & 63] : '=';
    }
  }
  return text;
}

}  // namespace compression::serve
