#pragma once
// What the routes' files share: from the texts of a request to readings, and answers of JSON.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compress/base/message.h"  // json_text
#include "compress/serve/body.h"
#include "compress/serve/routes.h"

namespace compression::serve {

enum class Direction { right, left };
constexpr std::array<std::pair<Direction, std::string_view>, 4> enum_names(
    Direction) {  // in lower case: huggingface_hub
  return {
      {{Direction::right, "Right"}, {Direction::left, "Left"}, {Direction::right, "right"}, {Direction::left, "left"}}};
}

/// The fields that all requests with texts have.
struct CuttingEnds {
  std::optional<bool> truncate;
  std::optional<std::string> model;

  template <class Self, class Visitor>
  static void visit_in(Self& self, Visitor&& visit) {
    visit("truncate", self.truncate,
          "Texts that are too long are cut, not refused; if absent as the server was started");
    visit("model", self.model, "The model's name; if absent the first that can answer");
  }

  ReadOptions options(const Service& service) const {
    return {.truncate = truncate.value_or(service.settings().truncate)};
  }
};

/// And those that ask for a number or a vector a text, of which either end may be cut off.
struct Cutting : CuttingEnds {
  Direction direction = Direction::right;

  template <class Self, class Visitor>
  static void visit_in(Self& self, Visitor&& visit) {
    visit("truncation_direction", self.direction, "The end of a text that is cut off");
    CuttingEnds::visit_in(self, visit);
  }

  ReadOptions options(const Service& service) const {
    auto options = CuttingEnds::options(service);
    options.keep_end = direction == Direction::left;
    return options;
  }
};

/// Throws RequestError 413 where there are more texts than a request may have.
void check_count(const Service& service, size_t texts);

std::vector<Reading> read_inputs(const Service& service, const Served& served, Inputs inputs,
                                 const ReadOptions& options);
std::vector<Reading> read_texts(const Service& service, const Served& served, std::vector<TextInput> texts,
                                const ReadOptions& options);

inline Response json_response(const nlohmann::json& body) {
  return {.body = json_text(body)};
}
inline Plan at_once(Response response) {
  return {.answer = [response = std::move(response)](const std::vector<Result>&) { return response; }};
}

/// A body of POST, and the schema that OpenAPI has of it.
template <class T>
nlohmann::json body_schema() {
  return schema<T>();
}

bool embeds(const ModelInfo& info);
bool classifies(const ModelInfo& info);

/// The vector's first numbers, so many of them as are asked for, and of length 1 where that is asked for.
std::vector<float> cut_vector(const std::vector<float>& vector, std::optional<Count> dimensions, bool normalize);

/// Throws RequestError 422 where the model's vectors have fewer numbers.
void check_dimensions(const Served& served, std::optional<Count> dimensions);

/// Of the logits of one text: of a class the softmax, of any number of classes the sigmoid of each, a number as it is.
std::vector<float> scores_of(const ModelInfo& info, std::vector<float> logits, bool raw);

}  // namespace compression::serve
