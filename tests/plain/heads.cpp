// The engine alone on every head of each family: the logits that transformers has for the texts of goldens/model.
// usage: plain_heads GOLDENS
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <iostream>
#include <vector>

#include "compress/checkpoint/safetensors.h"
#include "compress/engine/engine.h"

using namespace compression;

namespace {

constexpr double tolerance = 1e-5;

/// The largest difference from what FOLDER.safetensors has.
double difference(const std::filesystem::path& folder) {
  const auto engine = Engine::load(folder);
  const auto file = SafetensorsFile::open(folder.string() + ".safetensors");
  const auto ids = file.read("input_ids"), mask = file.read("attention_mask"), logits = file.read("logits");
  const auto types = file.tensors().contains("token_type_ids") ? file.read("token_type_ids") : HostTensor();
  const auto columns = ids.size(1), numbers = logits.count() / ids.size(0);
  std::vector<TokenRow> rows;
  for (int64_t r = 0; r < ids.size(0); ++r) {
    const auto* first = mask.as<int64_t>() + r * columns;
    const auto tokens = static_cast<size_t>(std::count(first, first + columns, 1));  // padding is at the end
    rows.push_back({{ids.as<int64_t>() + r * columns, tokens}});
    if (types.defined()) rows.back().types = {types.as<int64_t>() + r * columns, tokens};
  }
  const auto outputs = engine->run(rows);
  double largest = 0.0;
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto* found = outputs.values.data() + outputs.begin[r] * outputs.width;
    const auto* expected = logits.as<float>() + static_cast<int64_t>(r) * numbers;
    for (int64_t i = 0; i < (outputs.begin[r + 1] - outputs.begin[r]) * outputs.width; ++i) {
      const double apart = std::abs(static_cast<double>(found[i]) - expected[i]);
      largest = apart <= largest ? largest : apart;  // NaN too
    }
  }
  return largest;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  int folders = 0, wrong = 0;
  try {
    for (const auto* group : {"heads", "families"}) {
      for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(argv[1]) / "model" / group)) {
        if (!entry.is_directory()) continue;
        const auto apart = difference(entry.path());
        const bool fits = apart <= tolerance;
        std::cout << entry.path().filename().string() << ": " << apart << (fits ? "" : ", expected at most 1e-5")
                  << '\n';
        ++folders;
        wrong += fits ? 0 : 1;
      }
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return folders > 0 && wrong == 0 ? 0 : 1;
}
