// A program of the layers without LibTorch alone: the token ids of a text. usage: plain_tokenize FOLDER TEXT
#include <exception>
#include <iostream>
#include <vector>

#include "compress/tokenizer/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    const std::vector<compression::TextInput> texts{{argv[2], std::nullopt}};
    const auto encodings = compression::load_tokenizer(argv[1])->encode_batch(texts, {});
    for (const auto id : encodings.front().input_ids) std::cout << id << ' ';
    std::cout << '\n';
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
