#include "compress/serve/pipeline_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "compress/base/message.h"  // one_line
#include "compress/engine/engine.h"
#include "compress/model_files/fit.h"               // unusable_token
#include "compress/model_files/sentence_modules.h"  // leaves_out_prompts
#include "compress/pipeline/pipeline.h"
#include "compress/serve/http.h"  // RequestError

namespace compression::serve {
namespace {

[[noreturn]] void refuse(int status, ErrorType type, const std::string& message) {
  throw RequestError(status, type, message);
}

constexpr int64_t most_windows = 64;  // of a context: they are computed together

std::string pooling_name(const ModelConfig& config) {
  std::string names;
  for (const auto pooling : config.embedding.pooling)
    names += (names.empty() ? "" : "+") + std::string(enum_name(pooling));
  return names;
}

ModelInfo info_of(const Pipeline& pipeline, const ModelConfig& config) {
  const bool embeds = traits_of(config.task).head == HeadKind::embedding;
  return {.head = pipeline.head(),
          .max_length = pipeline.max_length(),
          .family = config.model_type,
          .number_format = std::string(enum_name(config.linear_format)),
          .pooling = pooling_name(config),
          .width = embeds ? config.embedding_width() : std::max<int64_t>(std::ssize(config.labels), 1)};
}

class PipelineModel final : public Model {
 public:
  PipelineModel(Pipeline pipeline, const std::filesystem::path& folder)
      : pipeline_(std::move(pipeline)),
        engine_(*pipeline_.engine()),
        info_(info_of(pipeline_, engine_.config())),
        no_pairs_(pairs_problem(pipeline_.tokenizer(), engine_.config(), folder)),
        has_prompts_(embeds() && !leaves_out_prompts(folder)) {}

  const ModelInfo& info() const override { return info_; }

  Reading read(TextInput input, const ReadOptions& options) const override {
    check_pair(input);
    auto reading = is_of_text() ? text_reading(input, options) : object_reading(input, options);
    if (!is_of_text()) reading.input = std::move(input);
    return reading;
  }

  Reading read(std::vector<int64_t> ids, std::vector<int64_t> types, const ReadOptions& options) const override {
    if (!is_of_text()) {
      refuse(422, ErrorType::validation,
             fmt::format("found token ids, expected texts: {} tells places in them", task().name));
    }
    if (ids.empty()) refuse(422, ErrorType::tokenizer, "found no token ids, expected at least one");
    if (options.prompt_name)
      refuse(422, ErrorType::validation, "prompt_name: found a name with token ids, expected texts");
    check_range(ids, engine_.config().vocab_size, "id");
    check_range(types, std::max<int64_t>(engine_.config().type_vocab_size, 1), "token type");
    const auto most = info_.max_length;
    if (std::ssize(ids) > most) {
      if (!options.truncate) refuse_length();
      for (auto* values : {&ids, &types}) {
        if (values->empty()) continue;
        if (options.keep_end) values->erase(values->begin(), values->end() - most);
        values->resize(static_cast<size_t>(most));
      }
    }
    const auto tokens = std::ssize(ids);
    return {.ids = std::move(ids), .types = std::move(types), .tokens = tokens};
  }

  std::vector<TokenPiece> tokenize(const std::string& text, bool special_tokens) const override {
    const auto encoding = pipeline_.tokenizer().encode(
        {.text = text}, {.max_length = 0, .add_special_tokens = special_tokens, .offsets = true});
    std::vector<TokenPiece> pieces;
    int64_t byte = 0, characters = 0;  // where the last token began
    for (size_t i = 0; i < encoding.input_ids.size(); ++i) {
      TokenPiece piece{.id = encoding.input_ids[i], .special = encoding.sequence_ids[i] < 0};
      const auto [begin, end] = encoding.offsets[i];
      if (piece.special) {
        piece.text = pipeline_.tokenizer().token(piece.id);
      } else {
        if (begin < byte) byte = characters = 0;
        characters += characters_before(std::string_view(text).substr(static_cast<size_t>(byte)), begin - byte);
        byte = begin;
        piece.text = text.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
        piece.begin = characters;
        piece.end = characters + characters_before(piece.text, end - begin);
      }
      pieces.push_back(std::move(piece));
    }
    return pieces;
  }

  std::vector<Result> run(std::span<const Reading* const> readings) const override {
    return is_of_text() ? run_texts(readings) : run_objects(readings);
  }

 private:
  const TaskTraits& task() const { return traits_of(info_.head.task); }
  bool is_of_text() const { return task().is_of_text(); }
  bool embeds() const { return task().head == HeadKind::embedding; }

  [[noreturn]] void refuse_length() const {
    refuse(413, ErrorType::validation,
           fmt::format("found more than {} tokens, expected at most so many, or \"truncate\": true", info_.max_length));
  }

  void check_pair(const TextInput& input) const {
    const bool asks = task().labels == LabelKind::answers;
    if (asks && !input.pair) refuse(422, ErrorType::validation, "found a question alone, expected its context too");
    if (asks || !input.pair) return;
    if (task().head != HeadKind::text) {
      refuse(422, ErrorType::validation,
             fmt::format("found two texts, expected one: {} reads each by itself", task().name));
    }
    if (!no_pairs_.empty()) refuse(424, ErrorType::backend, no_pairs_);
  }

  static void check_range(const std::vector<int64_t>& values, int64_t end, std::string_view what) {
    const auto odd = std::ranges::find_if(values, [&](int64_t value) { return value < 0 || value >= end; });
    if (odd == values.end()) return;
    refuse(422, ErrorType::tokenizer, fmt::format("found the {} {}, expected from 0 to {}", what, *odd, end - 1));
  }

  std::string_view prompt(const std::string& name) const {
    static const std::map<std::string, std::string> none;
    const auto& prompts = has_prompts_ ? pipeline_.tokenizer().sentence().prompts : none;
    if (const auto found = prompts.find(name); found != prompts.end()) return found->second;
    std::string known;
    for (const auto& [own, text] : prompts) known += (known.empty() ? "one of " : ", ") + one_line(own, 40);
    refuse(422, ErrorType::validation,
           fmt::format("prompt_name: found \"{}\", expected {}", one_line(name, 40),
                       known.empty() ? "none: the model's folder has no prompts" : known));
  }

  void check_encoding(const Encoding& encoding) const {
    if (encoding.input_ids.empty()) {
      refuse(422, ErrorType::tokenizer, "the tokenizer makes no token of the text, expected at least one");
    }
    const auto token = unusable_token(encoding, pipeline_.tokenizer());
    if (token.empty()) return;
    refuse(422, ErrorType::tokenizer,
           fmt::format("found {}, which the model has no row for: expected ids below {}", token,
                       pipeline_.tokenizer().usable_ids()));
  }

  /// A text that is too long is seen by one token more than there may be.
  Reading text_reading(const TextInput& input, const ReadOptions& options) const {
    const auto most = info_.max_length;
    const auto& tokenizer = pipeline_.tokenizer();
    EncodeOptions how{.max_length = options.truncate ? most : most + 1, .sentence = embeds()};
    if (options.truncate && options.keep_end) how = {.max_length = 0, .offsets = true, .sentence = embeds()};
    if (options.prompt_name) how.prompt = prompt(*options.prompt_name);
    auto encoding = tokenizer.encode(input, how);
    if (options.truncate && options.keep_end) keep_end(encoding);
    if (std::ssize(encoding.input_ids) > most) refuse_length();
    check_encoding(encoding);
    const auto tokens = std::ssize(encoding.input_ids);
    return {.ids = std::move(encoding.input_ids), .types = std::move(encoding.token_type_ids), .tokens = tokens};
  }

  /// Cuts tokens of texts, never special ones, from the left, of the longer of two.
  void keep_end(Encoding& encoding) const {
    auto excess = std::ssize(encoding.input_ids) - info_.max_length;
    if (excess <= 0) return;
    int64_t left[] = {std::ranges::count(encoding.sequence_ids, 0), std::ranges::count(encoding.sequence_ids, 1)};
    int64_t cut[] = {0, 0};
    for (; excess > 0; --excess) {
      const auto longer = left[1] > left[0] ? 1 : 0;
      --left[longer];
      ++cut[longer];
    }
    size_t kept = 0;
    for (size_t i = 0; i < encoding.input_ids.size(); ++i) {
      const auto sequence = encoding.sequence_ids[i];
      if (sequence >= 0 && cut[sequence]-- > 0) continue;
      encoding.input_ids[kept] = encoding.input_ids[i];
      encoding.token_type_ids[kept++] = encoding.token_type_ids[i];
    }
    encoding.input_ids.resize(kept);
    encoding.token_type_ids.resize(kept);
  }

  /// Of tags, answers and masked words, whose texts the pipeline reads itself: how many tokens it will compute.
  Reading object_reading(const TextInput& input, const ReadOptions& options) const {
    const auto& tokenizer = pipeline_.tokenizer();
    const auto most = info_.max_length;
    if (task().labels == LabelKind::answers) {
      const auto tokens = std::ssize(tokenizer.encode(input, {.max_length = most * most_windows + 1}).input_ids);
      if (tokens > most * most_windows) {
        refuse(413, ErrorType::validation,
               fmt::format("found more than {} tokens in a question and its context, expected at most so many",
                           most * most_windows));
      }
      return {.tokens = tokens <= most ? tokens : tokens * 3 / 2};  // windows overlap by a third, or about so much
    }
    Encoding encoding;
    if (task().labels == LabelKind::tags) {
      std::vector<std::string> words;
      for (auto& word : words_of(input.text)) words.push_back(std::move(word.text));
      if (words.empty()) refuse(422, ErrorType::validation, "found no words, expected at least one");
      encoding = tokenizer.encode_words(words, {.max_length = most + 1});
    } else {
      encoding = tokenizer.encode(input, {.max_length = most + 1});
      const auto mask = tokenizer.mask_id();
      if (!mask || std::ranges::find(encoding.input_ids, *mask) == encoding.input_ids.end()) {
        refuse(422, ErrorType::validation,
               fmt::format("found no {}, expected one or more", mask ? tokenizer.token(*mask) : "mask"));
      }
    }
    const auto tokens = std::ssize(encoding.input_ids);
    if (tokens > most && !options.truncate) refuse_length();
    check_encoding(encoding);
    return {.tokens = std::min(tokens, most)};
  }

  std::vector<Result> run_texts(std::span<const Reading* const> readings) const {
    std::vector<Result> results(readings.size());
    for (const auto wanted : {Wanted::outputs, Wanted::states}) {
      std::vector<TokenRow> rows;
      std::vector<size_t> places;
      for (size_t i = 0; i < readings.size(); ++i) {
        if (readings[i]->wanted != wanted) continue;
        rows.push_back({readings[i]->ids, readings[i]->types});
        places.push_back(i);
      }
      if (rows.empty()) continue;
      const auto outputs = wanted == Wanted::outputs ? engine_.run(rows) : engine_.states(rows);
      for (size_t i = 0; i < places.size(); ++i) {
        auto& result = results[places[i]];
        result.width = outputs.width;
        const auto* values = outputs.values.data();
        result.values.assign(values + outputs.begin[i] * outputs.width, values + outputs.begin[i + 1] * outputs.width);
      }
    }
    return results;
  }

  std::vector<Result> run_objects(std::span<const Reading* const> readings) const {
    std::vector<TextInput> inputs;
    for (const auto* reading : readings) inputs.push_back(reading->input);
    const auto predictions = pipeline_.run(inputs);
    std::vector<Result> results;
    for (size_t i = 0; i < inputs.size(); ++i) {
      results.push_back({.object = pipeline_.answer(predictions[i], inputs[i]).object});
    }
    return results;
  }

  const Pipeline pipeline_;
  const Engine& engine_;
  const ModelInfo info_;
  const std::string no_pairs_;
  const bool has_prompts_;
};

}  // namespace

std::shared_ptr<const Model> load_model(const std::filesystem::path& folder, std::optional<int64_t> max_length,
                                        const std::function<void(const std::string& line)>& warning) {
  auto pipeline = Pipeline::load(folder, {.max_length = max_length});
  for (const auto& line : pipeline.warnings()) warning(line);
  return std::make_shared<const PipelineModel>(std::move(pipeline), folder);
}

}  // namespace compression::serve
