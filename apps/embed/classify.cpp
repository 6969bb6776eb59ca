// The folder of a recipe's last stage in a program of one's own: the class of each line of standard input, and its
// probability. docs/tutorial.md shows how such a folder is made.
//   classify FOLDER

#include <torch/types.h>

#include <cstdio>
#include <exception>
#include <iostream>
#include <string>

#include "datasets/encoded.h"  // make_batch
#include "recipes/runnable.h"  // open_model

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: classify FOLDER < TEXTS\n");
    return 2;
  }
  try {
    const auto model = compression::recipes::open_model(argv[1]);
    const auto& tokenizer = *model.tokenizer;
    const auto& classes = model.config->labels;
    const c10::InferenceMode inference;
    for (std::string text; std::getline(std::cin, text);) {
      const auto encoding = tokenizer.encode({text, {}}, {.max_length = model.max_length});
      const auto logits = model.logits(compression::datasets::make_batch({encoding}, tokenizer.pad_id()));
      const auto shares = torch::softmax(logits, -1)[0];  // logits: [1, classes]
      const auto best = shares.argmax().item<int64_t>();
      std::printf("%s\t%.4f\n", classes.at(static_cast<size_t>(best)).c_str(), shares[best].item<double>());
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "classify: %s\n", error.what());
    return 1;
  }
}
