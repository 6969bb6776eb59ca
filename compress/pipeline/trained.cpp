#include "compress/pipeline/trained.h"

#include <fmt/format.h>

#include <algorithm>
#include <concepts>
#include <nlohmann/json.hpp>
#include <string_view>

#include "compress/base/error.h"      // CheckpointError
#include "compress/base/files.h"      // manifest_name
#include "compress/base/json_file.h"  // read_json_file

namespace compression {
namespace {

namespace fs = std::filesystem;

/// A number or truth value of a manifest, where it has one of the kind.
template <class T>
void take(const nlohmann::json& from, std::string_view key, T& value) {
  const auto found = from.find(key);
  if (found == from.end()) return;
  if constexpr (std::same_as<T, bool>) {
    if (found->is_boolean()) value = found->get<bool>();
  } else if constexpr (std::same_as<T, std::optional<double>>) {
    if (found->is_number()) value = found->get<double>();
  } else {
    if (found->is_number_integer()) value = found->get<int64_t>();
  }
}

}  // namespace

Trained trained_with(const fs::path& folder) {
  const auto file = folder / manifest_name;
  Trained trained;
  if (!fs::exists(file)) return trained;
  const auto manifest = read_json_file(file);
  if (!manifest.is_object()) return trained;
  take(manifest, "max_length", trained.max_length);
  const auto answers = manifest.find("answers");
  if (answers == manifest.end() || !answers->is_object()) return trained;
  AnswerConfig::fields(trained.answers,
                       [&](std::string_view name, auto& value, std::string_view) { take(*answers, name, value); });
  try {
    check(trained.answers);
  } catch (const ConfigError& error) {
    throw CheckpointError(fmt::format("{}: answers.{}", file.string(), error.what()));
  }
  return trained;
}

int64_t longest_text(const std::optional<ModelConfig>& config, const Tokenizer& tokenizer, const Trained& trained) {
  constexpr int64_t of_a_file = 512;
  const auto positions = config ? config->max_length() : of_a_file;
  const bool of_sentences = config && traits_of(config->task).head == HeadKind::embedding;
  if (const auto& own = tokenizer.sentence().max_length; of_sentences && own) {
    return std::min({positions, *own, trained.max_length.value_or(positions)});
  }
  return std::min(positions, trained.max_length ? *trained.max_length : tokenizer.max_length().value_or(positions));
}

}  // namespace compression
