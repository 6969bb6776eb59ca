#include "compress/c/compress.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "compress/base/error.h"         // Error
#include "compress/base/message.h"       // json_text
#include "compress/pipeline/pipeline.h"  // Pipeline

using namespace compression;

struct compress_model {
  Pipeline pipeline;
};

namespace {

struct Result {
  std::vector<float> values;
  std::vector<std::string> texts;  // label and text of each span, which points to them
  std::vector<compress_span> spans;
  std::string json;
};

}  // namespace

struct compress_results {
  std::vector<Result> all;
};

namespace {

std::string& last_error() {
  thread_local std::string error;
  return error;
}

compress_status failed(compress_status status, const char* message) noexcept {
  try {
    last_error() = message;
  } catch (...) {  // no memory for the words either
    last_error().clear();
  }
  return status;
}

/// work(), whose exceptions become a status and compress_error().
template <class Work>
compress_status guarded(Work&& work) noexcept {
  try {
    work();
    return COMPRESS_OK;
  } catch (const ConfigError& error) {
    return failed(COMPRESS_INVALID, error.what());
  } catch (const DataError& error) {
    return failed(COMPRESS_TEXT, error.what());
  } catch (const CheckpointError& error) {
    return failed(COMPRESS_MODEL, error.what());
  } catch (const UnsupportedError& error) {
    return failed(COMPRESS_UNSUPPORTED, error.what());
  } catch (const Error& error) {
    return failed(COMPRESS_SYSTEM, error.what());
  } catch (const std::bad_alloc&) {
    return failed(COMPRESS_MEMORY, "out of memory");
  } catch (const std::filesystem::filesystem_error& error) {
    return failed(COMPRESS_SYSTEM, error.what());
  } catch (const std::exception& error) {
    return failed(COMPRESS_INTERNAL, error.what());
  } catch (...) {
    return failed(COMPRESS_INTERNAL, "an unknown error");
  }
}

void require(bool holds, const char* message) {
  if (!holds) throw ConfigError(message);
}

PipelineOptions options_of(const compress_options* given) {
  PipelineOptions options;
  if (given == nullptr) return options;
  require(given->size >= sizeof(compress_options),
          "compress_load: options.size is too small, expected sizeof(compress_options)");
  require(given->max_length >= 0 && given->stride >= 0, "compress_load: found a negative number, expected 0 or more");
  if (given->tokenizer != nullptr) options.tokenizer = given->tokenizer;
  if (given->max_length > 0) options.max_length = given->max_length;
  if (given->stride > 0) options.stride = given->stride;
  return options;
}

/// Adds what was found at `place` of `in`; {-1, -1}: at none.
void add(Result& result, std::string label, std::string text, double score, const std::string& in, ByteSpan place) {
  result.texts.push_back(std::move(label));
  result.texts.push_back(std::move(text));
  const auto characters = [&](int64_t byte) { return byte < 0 ? -1 : characters_before(in, byte); };
  result.spans.push_back(
      {nullptr, nullptr, score, place.begin, place.end, characters(place.begin), characters(place.end)});
}

Result result_of(const Pipeline& pipeline, const Prediction& prediction, const TextInput& input) {
  constexpr ByteSpan nowhere{-1, -1};
  Result result;
  switch (traits_of(pipeline.head().task).labels) {
    case LabelKind::class_name:
    case LabelKind::class_names:
      result.values = prediction.shares;
      for (const auto id : prediction.classes) {
        add(result, pipeline.head().labels.at(id), "", prediction.shares[id], input.text, nowhere);
      }
      break;
    case LabelKind::number:
      result.values = {prediction.number};
      break;
    case LabelKind::cosine:
      result.values = prediction.vector;
      break;
    case LabelKind::tags:
      for (const auto& span : prediction.entities)
        add(result, span.type, span.text, span.share, input.text, span.place);
      break;
    case LabelKind::answers: {
      const auto& found = prediction.answer;
      const auto& text = found.chosen(pipeline.answers().threshold.value_or(0.0));
      const auto own = std::ranges::find(found.candidates, text, &FoundAnswer::Candidate::text);
      const auto share = own == found.candidates.end() ? 0.0 : own->share;
      if (!text.empty()) add(result, "", text, share, input.pair.value_or(""), found.place);
      break;
    }
    case LabelKind::none:
      for (const auto& mask : prediction.masks) {
        for (const auto& word : mask.words) add(result, "", word.token, word.share, input.text, mask.place);
      }
      break;
  }
  for (size_t i = 0; i < result.spans.size(); ++i) {
    result.spans[i].label = result.texts[2 * i].c_str();
    result.spans[i].text = result.texts[2 * i + 1].c_str();
  }
  result.json = json_text(pipeline.answer(prediction, input).object);
  return result;
}

TextInput input_of(const compress_text& given) {
  require(given.text != nullptr || given.bytes == 0, "compress_run: found no text, expected one");
  TextInput input{std::string(given.text == nullptr ? "" : given.text, given.bytes), std::nullopt};
  if (given.pair != nullptr) input.pair = std::string(given.pair, given.pair_bytes);
  return input;
}

const Result* result_at(const compress_results* results, size_t index) {
  return results == nullptr || index >= results->all.size() ? nullptr : &results->all[index];
}

const char* text_at(const std::vector<std::string>& texts, size_t index) {
  return index < texts.size() ? texts[index].c_str() : nullptr;
}

}  // namespace

int compress_api_version(void) {
  return COMPRESS_API_VERSION;
}

const char* compress_error(void) {
  return last_error().c_str();
}

compress_status compress_load(const char* folder, const compress_options* options, compress_model** model) {
  return guarded([&] {
    require(model != nullptr, "compress_load: found no place for the model, expected one");
    *model = nullptr;
    require(folder != nullptr, "compress_load: found no folder, expected one");
    *model = std::make_unique<compress_model>(compress_model{Pipeline::load(folder, options_of(options))}).release();
  });
}

void compress_free(compress_model* model) {
  delete model;
}

const char* compress_task(const compress_model* model) {
  return traits_of(model->pipeline.head().task).name.data();  // a literal
}

int64_t compress_max_length(const compress_model* model) {
  return model->pipeline.max_length();
}

size_t compress_class_count(const compress_model* model) {
  return model->pipeline.head().labels.size();
}

const char* compress_class_name(const compress_model* model, size_t index) {
  return text_at(model->pipeline.head().labels, index);
}

size_t compress_warning_count(const compress_model* model) {
  return model->pipeline.warnings().size();
}

const char* compress_warning(const compress_model* model, size_t index) {
  return text_at(model->pipeline.warnings(), index);
}

compress_status compress_set_threads(int count) {
  return guarded([&] {
    constexpr int most = 1024;
    if (count < 1 || count > most) {
      throw ConfigError(fmt::format("compress_set_threads: found {}, expected from 1 to {}", count, most));
    }
    omp_set_num_threads(count);
  });
}

compress_status compress_run(const compress_model* model, const compress_text* texts, size_t count,
                             compress_results** results) {
  return guarded([&] {
    require(results != nullptr, "compress_run: found no place for the results, expected one");
    *results = nullptr;
    require(model != nullptr, "compress_run: found no model, expected one");
    require(texts != nullptr || count == 0, "compress_run: found no texts, expected some");
    std::vector<TextInput> inputs;
    for (size_t i = 0; i < count; ++i) inputs.push_back(input_of(texts[i]));
    const auto predictions = model->pipeline.run(inputs);
    auto made = std::make_unique<compress_results>();
    for (size_t i = 0; i < count; ++i) made->all.push_back(result_of(model->pipeline, predictions[i], inputs[i]));
    *results = made.release();
  });
}

void compress_free_results(compress_results* results) {
  delete results;
}

size_t compress_result_count(const compress_results* results) {
  return results == nullptr ? 0 : results->all.size();
}

const float* compress_values(const compress_results* results, size_t index, size_t* count) {
  const auto* result = result_at(results, index);
  if (count != nullptr) *count = result == nullptr ? 0 : result->values.size();
  return result == nullptr ? nullptr : result->values.data();
}

size_t compress_span_count(const compress_results* results, size_t index) {
  const auto* result = result_at(results, index);
  return result == nullptr ? 0 : result->spans.size();
}

const compress_span* compress_span_at(const compress_results* results, size_t index, size_t span) {
  const auto* result = result_at(results, index);
  return result == nullptr || span >= result->spans.size() ? nullptr : &result->spans[span];
}

const char* compress_json(const compress_results* results, size_t index) {
  const auto* result = result_at(results, index);
  return result == nullptr ? nullptr : result->json.c_str();
}
