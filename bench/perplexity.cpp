// The perplexity of a decoder on a text, in windows that are read apart.
//   perplexity MODEL TEXT [--window 1024] [--windows N]
// MODEL: a folder or a GGUF file, with its tokenizer. Prints one line a window, and at the end the whole.

#include <fmt/format.h>
#include <torch/types.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "compress/model_folder/language_model_folder.h"  // load_language_model
#include "compress/tokenizer/tokenizer.h"                 // load_tokenizer

int main(int argc, char** argv) {
  using namespace compression;
  std::string path, text_file;
  int64_t window = 1024, most = std::numeric_limits<int64_t>::max();
  CLI::App app("The perplexity of a decoder on a text");
  app.add_option("model", path, "A folder or a GGUF file")->required();
  app.add_option("text", text_file, "A text file")->required();
  app.add_option("--window", window, "Tokens that are read together")->check(CLI::Range(2, 1 << 20));
  app.add_option("--windows", most, "At most so many windows, from the text's beginning");
  CLI11_PARSE(app, argc, argv);
  std::ifstream file(text_file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto tokenizer = load_tokenizer(path);
  const auto ids = tokenizer->encode({text, std::nullopt}, {.max_length = 0, .add_special_tokens = false}).input_ids;
  auto model = load_language_model(path);
  const c10::InferenceMode inference;
  double total = 0.0;
  int64_t words = 0;
  for (int64_t first = 0, n = 0; first + 1 < static_cast<int64_t>(ids.size()) && n < most; first += window, ++n) {
    const auto count = std::min<int64_t>(window, static_cast<int64_t>(ids.size()) - first);
    if (count < 2) break;
    const std::vector<int64_t> own(ids.begin() + first, ids.begin() + first + count);
    const auto batch = torch::tensor(own, torch::kLong).unsqueeze(0);
    total += next_word_loss(model->forward(batch), batch).item<double>() * static_cast<double>(count - 1);
    words += count - 1;
    fmt::print("window {}: {} words, perplexity so far {:.3f}\n", n, words,
               std::exp(total / static_cast<double>(words)));
    std::fflush(stdout);
  }
  fmt::print("{} tokens, {} of them predicted: perplexity {:.3f}\n", ids.size(), words,
             std::exp(total / static_cast<double>(words)));
  return 0;
}
