// Opens a model's engine, without LibTorch, and nothing else. usage: open_engine FOLDER
#include <exception>
#include <iostream>

#include "compress/engine/engine.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    compression::Engine::load(argv[1]);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
