// generate

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "compress/base/error.h"                          // DataError
#include "compress/base/message.h"                        // json_text, printable
#include "compress/model_folder/language_model_folder.h"  // load_language_model, end_ids
#include "compress/tokenizer/token_stream.h"              // TokenStream
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

}  // namespace

int generate_command(const GenerateCommand& options, Context& context, bool as_json) {
  const auto prompts = options.prompts.empty() ? read_lines(std::cin) : options.prompts;
  if (prompts.empty()) throw DataError("generate: no prompt; give some as arguments or on standard input, one a line");
  const auto& path = options.model.model;
  std::vector<std::string> warnings;
  auto model = load_language_model(path, &warnings);
  for (const auto& warning : warnings) context.logger->warn("{}: {}", path.string(), warning);
  model->to(context.device);
  const auto tokenizer = load_tokenizer(options.model.tokenizer.value_or(path), model->config().vocab_size);
  for (const auto& warning : tokenizer->warnings()) context.logger->warn("{}", warning);
  std::vector<std::vector<int64_t>> ids;
  for (const auto& prompt : prompts) ids.push_back(tokenizer->encode({prompt, {}}, {.max_length = 0}).input_ids);

  auto settings = options.options;
  settings.end_ids = end_ids(path);
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
    const bool ended = !made[i].empty() && std::ranges::find(settings.end_ids, made[i].back()) != settings.end_ids.end();
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
