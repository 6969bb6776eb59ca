// A program of the layers without LibTorch alone: the token ids of a text. usage: plain_tokenize FOLDER TEXT
#include <exception>
#include <iostream>

#include "compress/tokenizer/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    for (const auto id : compression::load_tokenizer(argv[1])->encode({argv[2], std::nullopt}, {}).input_ids) {
      std::cout << id << ' ';
    }
    std::cout << '\n';
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
