#include "compress/pipeline/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "compress/base/error.h"        // CheckpointError, ConfigError, DataError
#include "compress/base/limits.h"       // text_bytes, context_bytes
#include "compress/model_files/fit.h"   // check_fit, unusable_token
#include "compress/pipeline/trained.h"  // trained_with, longest_text

namespace compression {
namespace {

std::vector<size_t> one_each(size_t count) {
  std::vector<size_t> all(count);
  std::iota(all.begin(), all.end(), size_t{0});
  return all;
}

/// The `count` largest of the softmax, best first.
std::vector<Prediction::Mask::Word> best_words(std::span<const float> logits, const Tokenizer& tokenizer) {
  constexpr size_t most = 5;
  auto order = one_each(logits.size());
  const auto shown = std::min(most, order.size());
  std::ranges::partial_sort(order, order.begin() + static_cast<std::ptrdiff_t>(shown), [&](size_t a, size_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  });
  double sum = 0.0;
  for (const auto logit : logits) sum += std::exp(static_cast<double>(logit) - logits[order.front()]);
  std::vector<Prediction::Mask::Word> words;
  for (size_t i = 0; i < shown; ++i) {
    const auto share = std::exp(static_cast<double>(logits[order[i]]) - logits[order.front()]) / sum;
    words.push_back({std::string(tokenizer.token(static_cast<int64_t>(order[i]))), share});
  }
  return words;
}

}  // namespace

std::string pairs_problem(const Tokenizer& tokenizer, const ModelConfig& config, const std::filesystem::path& model) {
  try {
    check_fit(tokenizer, config, model, {.pairs = true});
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "";
}

std::vector<std::string> check_fit_for_task(const Tokenizer& tokenizer, const ModelConfig& config,
                                            const std::filesystem::path& model) {
  const auto labels = traits_of(config.task).labels;
  return check_fit(tokenizer, config, model,
                   {.pairs = labels == LabelKind::answers, .masks = labels == LabelKind::none});
}

Pipeline Pipeline::load(const std::filesystem::path& folder, const PipelineOptions& options) {
  const auto engine = Engine::load(folder);
  const auto& config = engine->config();
  const auto trained = trained_with(folder);
  Parts parts{.outputs = [engine](std::span<const TokenRow> rows) { return engine->run(rows); },
              .tokenizer = load_tokenizer(options.tokenizer.value_or(folder), config.vocab_size),
              .head = {config.labels, config.task},
              .max_length = 0,
              .stride = options.stride,
              .answers = options.answers.value_or(trained.answers)};
  const auto& tokenizer = *parts.tokenizer;
  auto warnings = tokenizer.warnings();
  for (auto& line : check_fit_for_task(tokenizer, config, folder)) warnings.push_back(std::move(line));
  for (const auto& line : engine->warnings()) warnings.push_back(fmt::format("{}: {}", folder.string(), line));
  const bool is_asked = traits_of(config.task).labels == LabelKind::answers;
  if (!is_asked && (options.stride || options.answers)) {
    warnings.push_back(fmt::format("{}: found options of question answering, {}, for a model for {}: they are not used",
                                   folder.string(),
                                   options.stride && options.answers ? "stride and answers"
                                   : options.stride                  ? "stride"
                                                                     : "answers",
                                   enum_name(config.task)));
  }
  parts.max_length = options.max_length.value_or(longest_text(config, tokenizer, trained));
  if (options.max_length && (*options.max_length < 1 || *options.max_length > config.max_length())) {
    throw ConfigError(fmt::format("max_length: found {}, expected from 1 to {}, the positions that {} has",
                                  *options.max_length, config.max_length(), folder.string()));
  }
  parts.no_pairs = pairs_problem(tokenizer, config, folder);
  Pipeline pipeline(std::move(parts));
  pipeline.engine_ = engine;
  pipeline.warnings_ = std::move(warnings);
  return pipeline;
}

std::string Pipeline::place(size_t text) const {
  return fmt::format("{}:{}", parts_.source, text + 1);
}

void Pipeline::check(std::span<const TextInput> texts) const {
  const auto labels = traits_of(parts_.head.task).labels;
  const bool asks = labels == LabelKind::answers;
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto& [text, pair] = texts[i];
    const auto check_size = [&](const std::string& own, size_t most, std::string_view what) {
      if (own.size() <= most) return;
      throw DataError(fmt::format("{}: a {} of {} bytes, expected at most {}", place(i), what, own.size(), most));
    };
    check_size(text, limits::text_bytes, "text");
    if (asks && !pair) throw DataError(fmt::format("{}: found a question alone, expected its context too", place(i)));
    if (!pair) continue;
    check_size(*pair, asks ? limits::context_bytes : limits::text_bytes, asks ? "context" : "text");
    if (labels == LabelKind::tags || labels == LabelKind::cosine || labels == LabelKind::none) {
      throw DataError(fmt::format("{}: found two texts, expected one: {} reads each by itself", place(i),
                                  traits_of(parts_.head.task).name));
    }
    if (!parts_.no_pairs.empty()) throw CheckpointError(parts_.no_pairs);
  }
}

void Pipeline::check_encodings(std::span<const Encoding> encodings, std::span<const size_t> texts) const {
  const auto& tokenizer = *parts_.tokenizer;
  for (size_t i = 0; i < encodings.size(); ++i) {
    if (encodings[i].input_ids.empty()) {
      throw DataError(fmt::format("{}: the tokenizer makes no token of it, expected at least one", place(texts[i])));
    }
    const auto token = unusable_token(encodings[i], tokenizer);
    if (token.empty()) continue;
    throw DataError(fmt::format(
        "{}: found {}, which the model has no row for: expected ids below {}, the rows of its table of words",
        place(texts[i]), token, tokenizer.usable_ids()));
  }
}

Outputs Pipeline::outputs_of(std::span<const Encoding> encodings) const {
  std::vector<TokenRow> rows;
  for (const auto& encoding : encodings) rows.push_back({encoding.input_ids, encoding.token_type_ids});
  return parts_.outputs(rows);
}

std::vector<Prediction> Pipeline::texts(std::span<const TextInput> texts) const {
  const bool embeds = traits_of(parts_.head.task).labels == LabelKind::cosine;
  const auto encodings = parts_.tokenizer->encode_batch(texts, {.max_length = parts_.max_length, .sentence = embeds});
  check_encodings(encodings, one_each(texts.size()));
  const auto outputs = outputs_of(encodings);
  std::vector<Prediction> predictions;
  for (int64_t row = 0; row < outputs.rows(); ++row) {
    predictions.push_back(text_prediction(parts_.head, outputs.row(row)));
  }
  return predictions;
}

std::vector<Prediction> Pipeline::tags(std::span<const TextInput> texts) const {
  std::vector<Encoding> encodings;
  std::vector<std::vector<PlacedWord>> words;
  for (size_t i = 0; i < texts.size(); ++i) {
    words.push_back(words_of(texts[i].text));
    if (words.back().empty()) throw DataError(fmt::format("{}: found no words, expected at least one", place(i)));
    std::vector<std::string> bare;
    for (const auto& word : words.back()) bare.push_back(word.text);
    encodings.push_back(parts_.tokenizer->encode_words(bare, {.max_length = parts_.max_length, .offsets = true}));
  }
  check_encodings(encodings, one_each(texts.size()));
  const auto outputs = outputs_of(encodings);
  std::vector<Prediction> predictions;
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto first = static_cast<size_t>(outputs.begin[i] * outputs.width);
    const auto count = static_cast<size_t>(outputs.begin[i + 1] * outputs.width) - first;
    predictions.push_back(tags_prediction(parts_.head, std::span(outputs.values).subspan(first, count), texts[i].text,
                                          words[i], encodings[i]));
  }
  return predictions;
}

std::vector<Prediction> Pipeline::questions(std::span<const TextInput> texts) const {
  const auto windows = std::make_shared<Windows>();
  std::vector<Encoding> encodings;
  for (size_t i = 0; i < texts.size(); ++i) {
    add_windows(texts[i], *parts_.tokenizer, parts_.max_length, parts_.stride, place(i), *windows, encodings);
  }
  check_encodings(encodings, windows->question);
  const auto outputs = outputs_of(encodings);
  AnswerFinder finder(windows, parts_.answers);
  for (size_t window = 0; window < encodings.size(); ++window) {
    const auto first = static_cast<size_t>(outputs.begin[window] * outputs.width);
    const auto count = static_cast<size_t>(outputs.begin[window + 1] * outputs.width) - first;
    finder.add(window, std::span(outputs.values).subspan(first, count));
  }
  std::vector<Prediction> predictions;
  for (auto& found : finder.answers()) predictions.emplace_back().answer = std::move(found);
  return predictions;
}

std::vector<Prediction> Pipeline::masks(std::span<const TextInput> texts) const {
  const auto& tokenizer = *parts_.tokenizer;
  const auto mask = tokenizer.mask_id();
  const auto encodings = tokenizer.encode_batch(texts, {.max_length = parts_.max_length, .offsets = true});
  check_encodings(encodings, one_each(texts.size()));
  std::vector<TokenRow> rows;
  for (size_t i = 0; i < texts.size(); ++i) {
    auto& row = rows.emplace_back(TokenRow{encodings[i].input_ids, encodings[i].token_type_ids});
    auto& asked = row.tokens.emplace();
    for (size_t t = 0; t < row.ids.size(); ++t) {
      if (mask && row.ids[t] == *mask) asked.push_back(static_cast<int64_t>(t));
    }
    if (!asked.empty()) continue;
    throw DataError(fmt::format("{}: found no {}, expected one or more in the place of the words that are asked for",
                                place(i), mask ? tokenizer.token(*mask) : "mask"));
  }
  const auto outputs = parts_.outputs(rows);
  std::vector<Prediction> predictions(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    auto row = outputs.begin[i];
    for (const auto token : *rows[i].tokens) {
      predictions[i].masks.push_back(
          {encodings[i].offsets[static_cast<size_t>(token)], best_words(outputs.row(row++), tokenizer)});
    }
  }
  return predictions;
}

std::vector<Prediction> Pipeline::run(std::span<const TextInput> texts) const {
  check(texts);
  if (texts.empty()) return {};
  switch (traits_of(parts_.head.task).labels) {
    case LabelKind::tags:
      return tags(texts);
    case LabelKind::answers:
      return questions(texts);
    case LabelKind::none:
      return masks(texts);
    case LabelKind::class_name:
    case LabelKind::class_names:
    case LabelKind::number:
    case LabelKind::cosine:
      break;
  }
  return this->texts(texts);
}

}  // namespace compression
