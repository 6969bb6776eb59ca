#pragma once
// What the server asks of a model: texts or token ids in, numbers or answers out. pipeline_model.h is one; tests have
// one of their own.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/spec/task.h"            // TaskHead
#include "compress/tokenizer/tokenizer.h"  // TextInput

namespace compression::serve {

struct ModelInfo {
  TaskHead head = {};
  int64_t max_length = 512;        // tokens of a text, special ones included
  std::string family = {};         // model_type of its config.json
  std::string number_format = {};  // of its weights: float32, float16, bfloat16, int8
  std::string pooling = {};        // of embedding
  int64_t width = 0;               // numbers that a text gets
};

enum class Wanted {
  outputs,  // what the head says of a text
  states    // of an embedding model: a vector a token
};

/// A text as the model reads it, and what is asked of it: the unit that batches are made of.
struct Reading {
  TextInput input = {};
  std::vector<int64_t> ids = {}, types = {};  // empty where the model makes more of a text than one row of tokens
  int64_t tokens = 0;                         // that are computed
  Wanted wanted = Wanted::outputs;
};

/// What the model says of a text: rows of `width` numbers, one after the other; or, of tags, answers and masked words,
/// an object as `compress predict --json` prints it.
struct Result {
  int64_t width = 0;
  std::vector<float> values = {};
  nlohmann::json object = nullptr;
};

struct ReadOptions {
  bool truncate = false;                        // a text that is too long; else it is refused
  bool keep_end = false;                        // of what is cut: the last tokens stay, not the first
  std::optional<std::string> prompt_name = {};  // before each text, in place of the one that all get
};

/// A token of a text, as /tokenize tells it.
struct TokenPiece {
  int64_t id = 0;
  std::string text;
  bool special = false;
  int64_t begin = 0, end = 0;  // characters of the text; of no meaning in a special one
};

/// Immutable: any number of threads may call it.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;

  /// Throws RequestError 413 where the text has too many tokens, 422 where the model can't read it.
  virtual Reading read(TextInput input, const ReadOptions& options) const = 0;

  /// The same of ids that somebody else's tokenizer made, special ones among them. types: as many, or none.
  virtual Reading read(std::vector<int64_t> ids, std::vector<int64_t> types, const ReadOptions& options) const = 0;

  virtual std::vector<TokenPiece> tokenize(const std::string& text, bool special_tokens) const = 0;

  /// One a reading. Throws Error where one of them can't be computed.
  virtual std::vector<Result> run(std::span<const Reading* const> readings) const = 0;
};

}  // namespace compression::serve
