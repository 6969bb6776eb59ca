#include "compress/tokenizer/sentence_settings.h"

#include <nlohmann/json.hpp>
#include <string>

#include "compress/base/json_file.h"  // write_text_file
#include "compress/tokenizer/json_node.h"

namespace compression {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kPrompts = "config_sentence_transformers.json";
constexpr const char* kText = "sentence_bert_config.json";
// The first of these is read; old versions named the family.
constexpr const char* kTextNames[] = {kText,
                                      "sentence_roberta_config.json",
                                      "sentence_distilbert_config.json",
                                      "sentence_camembert_config.json",
                                      "sentence_albert_config.json",
                                      "sentence_xlm-roberta_config.json",
                                      "sentence_xlnet_config.json"};

std::optional<fs::path> text_file(const fs::path& folder) {
  for (const char* name : kTextNames) {
    if (is_present(folder / name)) return name;
  }
  return std::nullopt;
}

void read_prompts(const fs::path& path, SentenceSettings& settings) {
  const json document = read_strict_json(path);
  const JsonNode all = root(document, path);
  if (const auto prompts = all.find("prompts"); prompts && prompts->value().is_object()) {
    for (const auto& [name, text] : prompts->value().items()) {
      if (text.is_string()) settings.prompts[name] = (*prompts)[name].string();
    }
  }
  const auto name = all.find("default_prompt_name");
  if (!name) return;
  const auto prompt = settings.prompts.find(name->string());
  if (prompt == settings.prompts.end()) name->mismatch("the name of one of the prompts");
  settings.prompt = prompt->second;
}

}  // namespace

fs::path transformer_folder(const fs::path& folder) {
  const fs::path modules = folder / "modules.json";
  if (is_present(folder / "config.json") || !is_present(modules)) return folder;
  try {
    const json list = read_strict_json(modules);
    const fs::path below = list.at(0).at("path").get<std::string>();
    const bool inside = below.is_relative() && below.lexically_normal().native().rfind("..", 0) != 0;
    if (inside && is_present(folder / below / "config.json")) return folder / below;
  } catch (const std::exception&) {  // told by who reads the model
  }
  return folder;
}

SentenceSettings read_sentence_settings(const fs::path& folder) {
  SentenceSettings settings;
  const fs::path encoder = transformer_folder(folder);
  if (const auto name = text_file(encoder)) {
    const json document = read_strict_json(encoder / *name);
    const JsonNode all = root(document, encoder / *name);
    if (const auto length = all.find("max_seq_length")) {
      settings.max_length = length->natural();
      if (*settings.max_length < 1) length->mismatch("at least 1");
    }
    settings.lower_case = all.boolean_or("do_lower_case", false);
  }
  if (is_present(folder / kPrompts)) read_prompts(folder / kPrompts, settings);
  return settings;
}

std::vector<fs::path> sentence_files(const fs::path& folder) {
  std::vector<fs::path> files;
  if (const auto name = text_file(transformer_folder(folder))) files.push_back(*name);
  if (is_present(transformer_folder(folder) / kPrompts)) files.emplace_back(kPrompts);
  return files;
}

void write_sentence_settings(const SentenceSettings& settings, const fs::path& folder) {
  const auto existing = [&](const fs::path& name) {
    json document = is_present(folder / name) ? read_strict_json(folder / name) : json::object();
    return document.is_object() ? document : json::object();
  };
  const fs::path text = text_file(folder).value_or(kText);
  json document = existing(text);
  document["max_seq_length"] = settings.max_length ? json(*settings.max_length) : json();
  document["do_lower_case"] = settings.lower_case;
  write_text_file(folder / text, document.dump(2) + "\n");
  if (settings.prompt.empty()) return;
  json prompts = existing(kPrompts);
  const json name = prompts.value("default_prompt_name", json());
  const std::string own = name.is_string() ? name.get<std::string>() : "default";
  prompts["default_prompt_name"] = own;
  if (!prompts.value("prompts", json()).is_object()) prompts["prompts"] = json::object();
  prompts["prompts"][own] = settings.prompt;
  write_text_file(folder / kPrompts, prompts.dump(2) + "\n");
}

}  // namespace compression
