// Opens a model and nothing else. usage: open_model FOLDER
#include <exception>
#include <iostream>

#include "compress/model_folder/model_folder.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    compression::load_model(argv[1]);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
