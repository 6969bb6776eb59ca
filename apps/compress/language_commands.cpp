// generate; eval of decoders

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "commands.h"
#include "compress/base/error.h"                          // ConfigError, DataError
#include "compress/base/json_file.h"                      // read_text_file
#include "compress/base/limits.h"                         // piped_bytes
#include "compress/base/message.h"                        // json_text, printable
#include "compress/evaluate/perplexity.h"                 // perplexity
#include "compress/model_folder/language_model_folder.h"  // load_language_model, end_ids
#include "compress/tokenizer/token_stream.h"              // TokenStream
#include "datasets/dataset.h"                             // read_dataset
#include "input.h"                                        // read_lines

namespace compression::app {
namespace {

/// printable(), but for ends of lines and tabs.
std::string shown(std::string_view text) {
  std::string all;
  while (!text.empty()) {
    const auto end = std::min(text.find_first_of("\n\t"), text.size());
    all += printable(text.substr(0, end)) + std::string(text.substr(end, 1));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return all;
}

struct Decoder {
  LanguageModel model{nullptr};
  std::shared_ptr<const Tokenizer> tokenizer;
};

Decoder open(const ModelOptions& options, const Context& context) {
  const auto& path = options.model;
  std::vector<std::string> warnings;
  Decoder decoder{.model = load_language_model(path, &warnings)};
  for (const auto& warning : warnings) context.logger->warn("{}: {}", path.string(), warning);
  decoder.model->to(context.device);
  decoder.tokenizer = load_tokenizer(options.tokenizer.value_or(path), decoder.model->config().vocab_size);
  for (const auto& warning : decoder.tokenizer->warnings()) context.logger->warn("{}", warning);
  return decoder;
}

/// A file of texts: of a name that ends in .txt it is one, else each of its texts.
std::vector<std::string> read_documents(const EvalOptions& options) {
  if (options.data.extension() == ".txt" && !options.format) return {read_text_file(options.data, limits::piped_bytes)};
  datasets::FileConfig file{.path = options.data, .format = options.format, .text = options.text};
  file.header = !options.no_header;
  file.quotes = options.quotes;
  std::vector<std::string> texts;
  for (auto& input : datasets::read_dataset(file, /*labelled=*/false).inputs) texts.push_back(std::move(input.text));
  return texts;
}

}  // namespace

int eval_language_command(const EvalOptions& options, Context& context, bool as_json) {
  for (const auto& [name, given] : {std::pair("--label", options.label.has_value()),
                                    {"--metric", options.metric.has_value()},
                                    {"--text-pair", options.text_pair.has_value()}}) {
    if (given)
      throw ConfigError(
          fmt::format("{}: {} is a decoder, whose perplexity is measured", name, options.model.model.string()));
  }
  const auto texts = read_documents(options);
  auto [model, tokenizer] = open(options.model, context);
  std::vector<std::vector<int64_t>> documents;
  for (const auto& text : texts) {
    documents.push_back(tokenizer->encode({text, {}}, {.max_length = 0, .add_special_tokens = false}).input_ids);
  }
  if (std::ranges::none_of(documents, [](const auto& ids) { return ids.size() > 1; })) {
    throw DataError(fmt::format("{}: found no text of two tokens, expected at least one", options.data.string()));
  }
  constexpr int64_t usual = 1024;
  const auto most = model->config().max_length();
  const auto window = options.model.max_length.value_or(std::min(usual, most));
  if (window < 2 || window > most) {
    throw ConfigError(
        fmt::format("--max-length: found {}, expected from 2 to {}, the model's positions", window, most));
  }
  const auto result = perplexity(model, documents, window, context);
  if (as_json) {
    std::cout << json_text(nlohmann::json{{"perplexity", result.value()},
                                          {"loss", result.loss},
                                          {"tokens", result.tokens},
                                          {"predicted", result.predicted},
                                          {"windows", result.windows},
                                          {"window", window}})
              << '\n';
  } else {
    std::cout << fmt::format("perplexity {:.3f}, loss {:.4f} ({} of {} tokens, {} windows of {})\n", result.value(),
                             result.loss, result.predicted, result.tokens, result.windows, window);
  }
  return success;
}

int generate_command(const GenerateCommand& options, Context& context, bool as_json) {
  const auto prompts = options.prompts.empty() ? read_lines(std::cin) : options.prompts;
  if (prompts.empty()) throw DataError("generate: no prompt; give some as arguments or on standard input, one a line");
  auto [model, tokenizer] = open(options.model, context);
  std::vector<std::vector<int64_t>> ids;
  for (const auto& prompt : prompts) ids.push_back(tokenizer->encode({prompt, {}}, {.max_length = 0}).input_ids);

  auto settings = options.options;
  settings.end_ids = end_ids(options.model.model);
  TokenStream stream(*tokenizer);
  const bool streams = !as_json && prompts.size() == 1;  // of several, words come in turns
  const auto begin = std::chrono::steady_clock::now();
  const auto made = generate(model, ids, settings, [&](size_t, int64_t id) {
    context.check_stop();
    if (streams) std::cout << shown(stream.add(id)) << std::flush;
  });
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (streams) std::cout << shown(stream.finish()) << '\n';
  size_t count = 0;
  for (size_t i = 0; i < made.size(); ++i) {
    count += made[i].size();
    const bool ended =
        !made[i].empty() && std::ranges::find(settings.end_ids, made[i].back()) != settings.end_ids.end();
    if (as_json) {
      std::cout << json_text(nlohmann::json{{"prompt", prompts[i]},
                                            {"text", tokenizer->decode(made[i])},
                                            {"ids", made[i]},
                                            {"prompt_tokens", ids[i].size()},
                                            {"ended", ended}})
                << '\n';
    } else if (!streams) {
      std::cout << shown(tokenizer->decode(made[i])) << '\n';
    }
  }
  context.logger->info("{} tokens in {:.2f} s, {:.1f} tokens/s", count, seconds, static_cast<double>(count) / seconds);
  return success;
}

}  // namespace compression::app
