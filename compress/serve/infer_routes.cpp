// The Open Inference Protocol, version 2, with tensors as JSON. A model takes texts (BYTES) or token ids (INT64).

#include <fmt/format.h>

#include "compress/serve/plans.h"

namespace compression::serve {
namespace {

struct Tensor {
  std::string name, datatype;
  std::vector<int64_t> shape;
  json data;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("name", self.name, "text, text_pair; or input_ids, attention_mask, token_type_ids", Presence::required);
    visit("shape", self.shape, "[texts] or [texts, 1]; or [texts, tokens]", Presence::required);
    visit("datatype", self.datatype, "BYTES of texts, INT64 or INT32 of tokens", Presence::required);
    visit("data", self.data, "Row by row, in one list or nested ones", Presence::required);
  }
};

struct RequestedOutput {
  std::string name;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("name", self.name, "What the model's metadata name", Presence::required);
  }
};

struct InferBody {
  std::optional<std::string> id;
  std::vector<Tensor> inputs;
  std::optional<std::vector<RequestedOutput>> outputs;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("id", self.id, "Comes back in the answer");
    visit("inputs", self.inputs, "Texts or token ids", Presence::required);
    visit("outputs", self.outputs, "The model's one output, or absent");
  }
};

[[noreturn]] void refuse(const std::string& message) {
  throw RequestError(422, ErrorType::validation, "inputs: " + message);
}

/// The elements of nested lists, row by row. Depth is bounded by that of the body.
template <class T>
void flatten(const json& data, const std::string& key, std::vector<T>& to) {
  if (!data.is_array()) return read_value(data, key, to.emplace_back());
  for (size_t i = 0; i < data.size(); ++i) flatten(data[i], join_key(key, i), to);
}

/// The named tensor's elements; shape: how many rows, and how many elements each.
template <class T>
std::optional<std::vector<T>> elements(const std::vector<Tensor>& tensors, const std::string& name,
                                       std::initializer_list<std::string_view> datatypes, int64_t& rows,
                                       int64_t& columns) {
  const auto found = std::ranges::find(tensors, name, &Tensor::name);
  if (found == tensors.end()) return std::nullopt;
  const auto& tensor = *found;
  if (std::ranges::find(datatypes, tensor.datatype) == datatypes.end()) {
    refuse(fmt::format("{}: found datatype {}, expected {}", name, json(tensor.datatype).dump(), *datatypes.begin()));
  }
  std::vector<T> values;
  flatten(tensor.data, name + ".data", values);
  const auto& shape = tensor.shape;
  const bool known =
      (shape.size() == 1 || shape.size() == 2) && std::ranges::all_of(shape, [](int64_t n) { return n > 0; });
  const auto across = known && shape.size() == 2 ? shape[1] : 1;
  if (!known || values.size() % static_cast<size_t>(across) != 0 ||
      values.size() / static_cast<size_t>(across) != static_cast<size_t>(shape[0])) {
    refuse(fmt::format("{}: found {} elements and shape {}, expected as many as the shape says", name, values.size(),
                       json(shape).dump()));
  }
  if (rows != 0 && (rows != shape[0] || columns != across)) {
    refuse(fmt::format("{}: found shape {}, expected that of the other inputs, [{}, {}]", name, json(shape).dump(),
                       rows, columns));
  }
  rows = shape[0];
  columns = across;
  return values;
}

std::vector<Reading> readings_of(const Service& service, const Served& served, const std::vector<Tensor>& tensors) {
  const ReadOptions options{.truncate = service.settings().truncate};
  int64_t rows = 0, columns = 0;
  if (auto texts = elements<std::string>(tensors, "text", {"BYTES"}, rows, columns)) {
    if (columns != 1) refuse(fmt::format("text: found {} columns, expected one", columns));
    auto pairs = elements<std::string>(tensors, "text_pair", {"BYTES"}, rows, columns);
    std::vector<TextInput> inputs;
    for (size_t i = 0; i < texts->size(); ++i) {
      auto& input = inputs.emplace_back(TextInput{.text = std::move((*texts)[i])});
      if (pairs) input.pair = std::move((*pairs)[i]);
    }
    return read_texts(service, served, std::move(inputs), options);
  }
  const std::initializer_list<std::string_view> integers{"INT64", "INT32"};
  const auto ids = elements<int64_t>(tensors, "input_ids", integers, rows, columns);
  if (!ids) refuse("found neither text nor input_ids, expected one of them");
  const auto mask = elements<int64_t>(tensors, "attention_mask", integers, rows, columns);
  const auto types = elements<int64_t>(tensors, "token_type_ids", integers, rows, columns);
  check_count(service, static_cast<size_t>(rows));
  std::vector<Reading> readings;
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<int64_t> own, own_types;
    for (auto i = static_cast<size_t>(row * columns); i < static_cast<size_t>((row + 1) * columns); ++i) {
      if (mask && (*mask)[i] == 0) continue;
      own.push_back((*ids)[i]);
      if (types) own_types.push_back((*types)[i]);
    }
    readings.push_back(served.model->read(std::move(own), std::move(own_types), options));
  }
  return readings;
}

std::string_view output_name(const ModelInfo& info) {
  return embeds(info) ? "embedding" : classifies(info) ? "logits" : "answer";
}

Plan infer(const Service& service, const Request& request) {
  const auto& served = service.find(request.captured.at(0));
  const auto body = read_body<InferBody>(request.body);
  const auto& info = served.info();
  for (const auto& output : body.outputs.value_or(std::vector<RequestedOutput>())) {
    if (output.name == output_name(info)) continue;
    throw RequestError(422, ErrorType::validation,
                       fmt::format("outputs: found {}, expected \"{}\"", json(output.name).dump(), output_name(info)));
  }
  auto readings = readings_of(service, served, body.inputs);
  return {.served = &served,
          .readings = std::move(readings),
          .answer = [&served, id = body.id](const std::vector<Result>& results) {
            const auto& model = served.info();
            const bool has_numbers = embeds(model) || classifies(model);
            json shape = json::array({results.size()});
            if (has_numbers) shape.push_back(model.width);
            json head{{"model_name", served.name}, {"model_version", "1"}};
            if (id) head["id"] = *id;
            json output{{"name", output_name(model)}, {"datatype", has_numbers ? "FP32" : "BYTES"}, {"shape", shape}};
            std::string data = "[";
            for (const auto& result : results) {
              std::string row;
              if (has_numbers) {
                append_numbers(row, result.values);
                data.append(row, 1, row.size() - 2);
              } else {
                data += json_text(json(json_text(result.object)));
              }
              data += ',';
            }
            data.back() = ']';
            auto text = json_text(head), rest = json_text(output);
            text.back() = ',';
            rest.back() = ',';
            return Response{.body = text + "\"outputs\":[" + rest + "\"data\":" + data + "}]}"};
          }};
}

Plan metadata(const Service& service, const Request& request) {
  const auto& served = service.find(request.captured.at(0));
  const auto& info = served.info();
  const auto input = [](std::string_view name, std::string_view datatype, const json& shape) {
    return json{{"name", name}, {"datatype", datatype}, {"shape", shape}};
  };
  json inputs = json::array({input("text", "BYTES", json::array({-1}))});
  const bool has_numbers = embeds(info) || classifies(info);
  if (!embeds(info)) inputs.push_back(input("text_pair", "BYTES", json::array({-1})));
  if (has_numbers) {
    for (const auto* name : {"input_ids", "attention_mask", "token_type_ids"})
      inputs.push_back(input(name, "INT64", json::array({-1, -1})));
  }
  const json shape = has_numbers ? json::array({-1, info.width}) : json::array({-1});
  return at_once(
      json_response({{"name", served.name},
                     {"versions", json::array({"1"})},
                     {"platform", "compress"},
                     {"inputs", inputs},
                     {"outputs", json::array({input(output_name(info), has_numbers ? "FP32" : "BYTES", shape)})}}));
}

Plan model_ready(const Service& service, const Request& request) {
  if (!service.is_ready()) throw RequestError(503, ErrorType::unhealthy, "the server is not ready for requests", 1);
  return at_once(json_response({{"name", service.find(request.captured.at(0)).name}, {"ready", true}}));
}

Plan live(const Service&, const Request&) {
  return at_once(json_response({{"live", true}}));
}

Plan ready(const Service& service, const Request&) {
  if (!service.is_ready()) throw RequestError(503, ErrorType::unhealthy, "the server is not ready for requests", 1);
  return at_once(json_response({{"ready", true}}));
}

Plan server_metadata(const Service& service, const Request&) {
  return at_once(
      json_response({{"name", "compress"}, {"version", service.settings().version}, {"extensions", json::array()}}));
}

constexpr auto server_schema = R"({"type": "object", "required": ["name", "version", "extensions"], "properties": {
  "name": {"type": "string"}, "version": {"type": "string"}, "extensions": {"type": "array", "items": {"type": "string"}}}})";
constexpr auto live_schema = R"({"type": "object", "required": ["live"], "properties": {"live": {"type": "boolean"}}})";
constexpr auto ready_schema =
    R"({"type": "object", "required": ["ready"], "properties": {"name": {"type": "string"}, "ready": {"type": "boolean"}}})";
constexpr auto metadata_schema = R"({"type": "object", "required": ["name", "inputs", "outputs"], "properties": {
  "name": {"type": "string"}, "versions": {"type": "array", "items": {"type": "string"}}, "platform": {"type": "string"},
  "inputs": {"type": "array", "items": {"type": "object"}}, "outputs": {"type": "array", "items": {"type": "object"}}}})";
constexpr auto infer_schema = R"({"type": "object", "required": ["model_name", "outputs"], "properties": {
  "model_name": {"type": "string"}, "model_version": {"type": "string"}, "id": {"type": "string"},
  "outputs": {"type": "array", "items": {"type": "object", "required": ["name", "shape", "datatype", "data"], "properties": {
    "name": {"type": "string"}, "shape": {"type": "array", "items": {"type": "integer"}}, "datatype": {"type": "string"},
    "data": {"type": "array", "items": {}}}}}}})";

}  // namespace

std::vector<Route> open_inference_routes() {
  constexpr auto tag = "Open Inference Protocol";
  const auto health = [](std::string_view path, std::string_view id, std::string_view summary, std::string_view answer,
                         Plan (*plan)(const Service&, const Request&)) {
    return Route{.method = "GET",
                 .path = path,
                 .id = id,
                 .tag = tag,
                 .summary = summary,
                 .body = nullptr,
                 .answer = answer,
                 .plan = plan,
                 .open = true,
                 .waits = false};
  };
  return {
      {"GET", "/v2", "server_metadata", tag, "The server", nullptr, server_schema, server_metadata},
      health("/v2/health/live", "live", "Whether the server runs", live_schema, live),
      health("/v2/health/ready", "ready", "Whether it is ready", ready_schema, ready),
      {"GET", "/v2/models/{name}", "model_metadata", tag, "A model's inputs and outputs", nullptr, metadata_schema,
       metadata},
      {"GET", "/v2/models/{name}/ready", "model_ready", tag, "Whether a model is ready", nullptr, ready_schema,
       model_ready},
      {"POST", "/v2/models/{name}/infer", "infer", tag, "Logits, vectors or answers of texts or token ids",
       body_schema<InferBody>, infer_schema, infer},
  };
}

}  // namespace compression::serve
