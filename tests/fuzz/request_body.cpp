// A request: its path, and behind a separator its body. Each model has another task.

#include <future>
#include <nlohmann/json.hpp>

#include "compress/serve/pipeline_model.h"
#include "compress/serve/routes.h"
#include "tests/fuzz/fuzzing.h"

using namespace compression;
using namespace compression::serve;
namespace fs = std::filesystem;

namespace {

/// The models of tests/goldens, seen from the folder of the sources.
class Models {
 public:
  Models() : service_({.batches = {.threads = 1}, .workers = 1, .max_texts = 16}) {
    const fs::path goldens = "tests/goldens", tiny = goldens / "model/tiny";
    add("tiny", tiny);
    add("sentence", goldens / "sentence/model");
    for (const auto* name : {"token_classification", "question_answering", "masked_lm"}) {
      const auto folder = folder_.path() / name;
      fs::copy(goldens / "model/heads" / (std::string("bert.") + name), folder);
      std::ifstream words(tiny / "vocab.txt");
      std::ofstream out(folder / "vocab.txt");
      std::string word;
      for (int i = 0; i < 40 && std::getline(words, word); ++i) out << word << '\n';
      out.close();
      add(name, folder);
    }
    service_.set_ready();
  }

  Response ask(Request request) {
    if (const auto refusal = service_.refuse(request)) return *refusal;
    std::promise<Response> answer;
    const auto call = service_.start(std::move(request),
                                     [&](Response response, const Account&) { answer.set_value(std::move(response)); });
    return answer.get_future().get();
  }

 private:
  void add(const std::string& name, const fs::path& folder) {
    service_.add(name, load_model(folder, std::nullopt, [](const std::string&) {}));
  }

  fuzzing::Folder folder_;
  Service service_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Models models;
  fuzzing::Input input(data, size);
  std::string path(input.part());
  const auto response = models.ask(
      {.method = input.empty() ? "GET" : "POST", .path = std::move(path), .body = std::string(input.rest())});
  if (response.status >= 500)
    fuzzing::finding("an answer of " + std::to_string(response.status) + ": " + response.body);
  if (response.type == "application/json" && !nlohmann::json::accept(response.body)) {
    fuzzing::finding("an answer that is no JSON: " + response.body.substr(0, 300));
  }
  return 0;
}
