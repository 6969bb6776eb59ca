// Times the tokenizer on the texts of a JSONL file: tokenizer_bench MODEL FILE.jsonl FIELD [--threads N]
// [--max-length N] [--rounds N]. Prints one JSON line. bench/tokenizer.py runs it against Hugging Face's.

#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "compress/tokenizer/tokenizer.h"

namespace {

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() < 3) {
    std::cerr << "usage: tokenizer_bench MODEL FILE.jsonl FIELD [--threads N] [--max-length N] [--rounds N]\n";
    return 2;
  }
  int threads = at::get_num_threads();
  int rounds = 15;
  compression::EncodeOptions options{.max_length = 0};
  for (size_t i = 3; i + 1 < arguments.size(); i += 2) {
    const int value = std::stoi(arguments[i + 1]);
    if (arguments[i] == "--threads") threads = value;
    if (arguments[i] == "--rounds") rounds = value;
    if (arguments[i] == "--max-length") options.max_length = value;
  }
  at::set_num_threads(threads);

  const auto tokenizer = compression::load_tokenizer(arguments[0]);
  std::vector<compression::TextInput> inputs;
  std::ifstream file(arguments[1]);
  for (std::string line; std::getline(file, line);) {
    inputs.push_back({.text = nlohmann::json::parse(line).at(arguments[2]).get<std::string>(), .pair = {}});
  }

  std::vector<double> seconds;
  size_t tokens = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    const auto encodings = tokenizer->encode_batch(inputs, options);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    tokens = 0;
    for (const auto& encoding : encodings) tokens += encoding.input_ids.size();
  }
  const double typical = median(seconds);
  std::cout << nlohmann::json{{"threads", threads},
                              {"lines", inputs.size()},
                              {"tokens", tokens},
                              {"seconds", typical},
                              {"lines_per_second", static_cast<double>(inputs.size()) / typical},
                              {"tokens_per_second", static_cast<double>(tokens) / typical}}
            << '\n';
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
