// Routes of our own for what Text Embeddings Inference has none: tags of words, answers to questions, masked words. An
// answer is the object that `compress predict --json` prints.

#include "compress/serve/plans.h"

namespace compression::serve {
namespace {

template <LabelKind kind>
bool is_of(const ModelInfo& info) {
  return traits_of(info.head.task).labels == kind;
}

Plan objects(const Service& service, const Served& served, std::vector<TextInput> texts, const ReadOptions& options,
             bool batch) {
  return {.served = &served,
          .readings = read_texts(service, served, std::move(texts), options),
          .answer = [batch](const std::vector<Result>& results) {
            json list = json::array();
            for (const auto& result : results) list.push_back(result.object);
            return json_response(batch ? list : list.front());
          }};
}

struct TextsBody : CuttingEnds {
  TextInputs inputs;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("inputs", self.inputs, "A text or several", Presence::required);
    visit_in(self, visit);
  }
};

template <LabelKind kind>
Plan of_texts(const Service& service, const Request& request, std::string_view expected) {
  auto body = read_body<TextsBody>(request.body);
  const auto& served = service.find(body.model, is_of<kind>, expected);
  std::vector<TextInput> texts;
  for (auto& text : body.inputs.items) texts.push_back({.text = std::move(text)});
  return objects(service, served, std::move(texts), body.options(service), body.inputs.is_batch);
}

Plan token_classification(const Service& service, const Request& request) {
  return of_texts<LabelKind::tags>(service, request, "one of token_classification");
}

Plan fill_mask(const Service& service, const Request& request) {
  return of_texts<LabelKind::none>(service, request, "one of masked_lm");
}

struct Question {
  std::string question, context;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("question", self.question, "What is asked", Presence::required);
    visit("context", self.context, "The text that the answer is a part of; a long one is read in windows",
          Presence::required);
  }
};

/// A question, or a list of them.
struct Questions {
  std::vector<Question> items;
  bool is_batch = false;
};

void read(const json& value, const std::string& key, Questions& to) {
  to.is_batch = value.is_array();
  if (!to.is_batch) return read_value(value, key, to.items.emplace_back());
  if (value.empty()) refuse_empty(key);
  read_value(value, key, to.items);
}

json schema_of(const Questions*) {
  const auto question = schema<Question>();
  return {{"anyOf", {question, {{"type", "array"}, {"minItems", 1}, {"items", question}}}}};
}

struct QuestionsBody {
  Questions inputs;
  std::optional<std::string> model;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("inputs", self.inputs, "A question or several", Presence::required);
    visit("model", self.model, "The model's name; if absent the first that can answer");
  }
};

Plan question_answering(const Service& service, const Request& request) {
  auto body = read_body<QuestionsBody>(request.body);
  const auto& served = service.find(body.model, is_of<LabelKind::answers>, "one of question_answering");
  std::vector<TextInput> texts;
  for (auto& item : body.inputs.items)
    texts.push_back({.text = std::move(item.question), .pair = std::move(item.context)});
  return objects(service, served, std::move(texts), {.truncate = true}, body.inputs.is_batch);
}

constexpr auto tags = R"({"anyOf": [{"$ref": "#/components/schemas/Tags"},
  {"type": "array", "items": {"$ref": "#/components/schemas/Tags"}}]})";
constexpr auto answers = R"({"anyOf": [{"$ref": "#/components/schemas/Answer"},
  {"type": "array", "items": {"$ref": "#/components/schemas/Answer"}}]})";
constexpr auto masks = R"({"anyOf": [{"$ref": "#/components/schemas/Masks"},
  {"type": "array", "items": {"$ref": "#/components/schemas/Masks"}}]})";

}  // namespace

std::vector<Route> answer_routes() {
  constexpr auto tag = "Answers";
  return {
      {"POST", "/token_classification", "token_classification", tag, "A tag for each word, and the entities",
       body_schema<TextsBody>, tags, token_classification},
      {"POST", "/question_answering", "question_answering", tag, "The part of a context that answers a question",
       body_schema<QuestionsBody>, answers, question_answering},
      {"POST", "/fill_mask", "fill_mask", tag, "The words that fit best in the place of each mask",
       body_schema<TextsBody>, masks, fill_mask},
  };
}

}  // namespace compression::serve
