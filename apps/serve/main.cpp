// compress-serve: `compress serve` without LibTorch, for where only serving is wanted.

#include <omp.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "apps/compress/serve_command.h"
#include "compress/base/error.h"            // ConfigError, StorageError
#include "compress/base/failure.h"          // failure_text
#include "compress/kernels/kept_choices.h"  // keep_choices

int main(int argc, char** argv) {
  using namespace compression;
  CLI::App app{"Serves encoders over HTTP: Text Embeddings Inference's routes, OpenAI's, the Open Inference Protocol."};
  app::ServeArguments arguments;
  int threads = omp_get_max_threads();
  bool json = false;
  app::add_serve(app, arguments);
  app.add_option("--threads", threads, "Threads; if absent as OMP_NUM_THREADS says, else a processor each")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--json", json, "Where it listens as JSON on standard output");
  app.set_version_flag("--version", COMPRESS_VERSION);
  app.footer("Exit codes: 0 stopped, 1 internal error, 2 bad input, 4 the system refused.");
  kernels::keep_choices(kernels::usual_choices_file());
  try {
    app.parse(argc, argv);
    return app::serve_command(arguments, threads, json,
                              [](const std::string& line) { std::cerr << "compress-serve: " << line << '\n'; });
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::cerr << "compress-serve: " << error.what() << "; compress-serve --help tells more\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "compress-serve: " << failure_text(error) << '\n';
    if (dynamic_cast<const StorageError*>(&error) != nullptr) return 4;
    return dynamic_cast<const Error*>(&error) != nullptr ? 2 : 1;
  }
}
