#include "compress/tokenizer/trim.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "compress/base/error.h"                  // UnsupportedError
#include "compress/base/json_file.h"              // write_text_file
#include "compress/tokenizer/json_node.h"         // read_strict_json, read_tokenizer_file
#include "compress/tokenizer/subword_model.h"     // byte_token
#include "compress/tokenizer/tokenizer_json.h"    // read_merge
#include "compress/tokenizer/vocabulary_files.h"  // read_merges

namespace compression {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

using Merge = std::pair<std::string, std::string>;  // the two tokens

std::vector<std::string> lines_of(const fs::path& file) {
  std::istringstream text(read_tokenizer_file(file));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) {
    if (line.ends_with('\r')) line.pop_back();
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  return text;
}

/// What the files say of tokens, and which of them stay.
class Trimmer {
 public:
  Trimmer(const Tokenizer& from, const std::vector<bool>& used) : folder_(from.folder()), files_(from.files()) {
    tokens_.resize(static_cast<size_t>(from.usable_ids()));
    keep_.resize(tokens_.size());
    for (const auto& [content, id] : from.added_tokens()) {
      if (id >= from.usable_ids()) without_row_.insert(content);
    }
    if (has("tokenizer.json")) {
      read_json();
    } else if (has("vocab.txt")) {
      const auto lines = lines_of(folder_ / "vocab.txt");
      for (size_t id = 0; id < lines.size(); ++id) name(id, lines[id]);
      prefix_ = "##";
    } else if (has("vocab.json")) {
      read_vocabulary(read_strict_json(folder_ / "vocab.json"));
      merges_ = read_merges(folder_ / "merges.txt");
    } else {
      throw UnsupportedError(
          folder_.string() +
          ": found a sentencepiece model alone, supported for fewer tokens: tokenizer.json, vocab.txt, "
          "vocab.json with merges.txt");
    }
    choose(used, from.special_ids());
  }

  std::vector<int64_t> kept() const {
    std::vector<int64_t> ids;
    for (size_t id = 0; id < keep_.size(); ++id) {
      if (keep_[id]) ids.push_back(static_cast<int64_t>(id));
    }
    return ids;
  }

  void write(const fs::path& folder) {
    const auto ids = kept();
    for (size_t i = 0; i < ids.size(); ++i) new_ids_[ids[i]] = static_cast<int64_t>(i);
    for (const auto& file : files_) {
      const auto text = changed(file.string());
      if (text) write_text_file(folder / file, *text);
    }
  }

 private:
  bool has(const char* file) const { return std::find(files_.begin(), files_.end(), file) != files_.end(); }

  void name(size_t id, std::string token) {
    if (id >= tokens_.size()) return;
    ids_.emplace(token, id);
    tokens_[id] = std::move(token);
  }

  void read_vocabulary(const json& vocabulary) {
    for (const auto& [token, id] : vocabulary.items()) name(id.get<size_t>(), token);
  }

  void read_json() {
    auto document = read_strict_json(folder_ / "tokenizer.json");
    const auto& model = document.at("model");
    const auto text = [&](const char* key) {
      const auto found = model.find(key);
      return found == model.end() || !found->is_string() ? std::string() : found->get<std::string>();
    };
    prefix_ = text("continuing_subword_prefix");
    suffix_ = text("end_of_word_suffix");
    const auto& vocabulary = model.at("vocab");
    if (vocabulary.is_object()) {
      read_vocabulary(vocabulary);
    } else {
      double lowest = 0.0;
      size_t id = 0, lowest_id = 0;  // the score of unknown characters counts from the lowest
      for (const auto& piece : vocabulary) {
        if (id == 0 || piece[1].get<double>() < lowest) lowest = piece[1], lowest_id = id;
        name(id++, piece[0]);
      }
      always_.push_back(lowest_id);
    }
    if (const auto merges = root(document, folder_ / "tokenizer.json").at("model").find("merges")) {
      for (const auto& merge : merges->elements()) merges_.push_back(read_merge(merge));
    }
    if (const auto unknown = ids_.find(text("unk_token")); unknown != ids_.end()) always_.push_back(unknown->second);
    if (const auto added = document.find("added_tokens"); added != document.end() && added->is_array()) {
      for (const auto& token : *added) name(token.at("id").get<size_t>(), token.at("content"));
    }
    each_id(document, [&](const json& id) { always_.push_back(id.get<size_t>()); });
  }

  /// Visits the ids that a tokenizer.json names outside of its vocabulary.
  template <class Visit>
  static void each_id(json& document, const Visit& visit) {
    auto& model = document.at("model");
    if (auto id = model.find("unk_id"); id != model.end() && id->is_number()) visit(*id);
    if (auto added = document.find("added_tokens"); added != document.end() && added->is_array()) {
      for (auto& token : *added) visit(token.at("id"));
    }
    if (auto padding = document.find("padding"); padding != document.end() && padding->is_object()) {
      visit(padding->at("pad_id"));
    }
    if (auto processor = document.find("post_processor"); processor != document.end()) each_id_of(*processor, visit);
  }

  template <class Visit>
  static void each_id_of(json& processor, const Visit& visit) {
    if (!processor.is_object()) return;
    for (const char* key : {"sep", "cls"}) {  // of BertProcessing and RobertaProcessing: [token, id]
      if (auto token = processor.find(key); token != processor.end() && token->is_array()) visit(token->at(1));
    }
    if (auto special = processor.find("special_tokens"); special != processor.end()) {
      for (auto& token : *special) {
        for (auto& id : token.at("ids")) visit(id);
      }
    }
    if (auto parts = processor.find("processors"); parts != processor.end()) {
      for (auto& part : *parts) each_id_of(part, visit);
    }
  }

  /// Whether it is one character, which any text can fall back to.
  bool is_character(std::string_view token) const {
    if (!prefix_.empty() && token.starts_with(prefix_) && token.size() > prefix_.size())
      token.remove_prefix(prefix_.size());
    if (!suffix_.empty() && token.ends_with(suffix_) && token.size() > suffix_.size())
      token.remove_suffix(suffix_.size());
    const auto characters = std::count_if(token.begin(), token.end(), [](char c) { return (c & 0xC0) != 0x80; });
    return characters == 1;
  }

  void choose(const std::vector<bool>& used, const SpecialIds& special) {
    const auto always = [&](std::optional<int64_t> id) {
      if (id && *id >= 0) always_.push_back(static_cast<size_t>(*id));
    };
    for (const auto& id : {std::optional(special.pad), special.cls, special.sep, special.mask, special.unk}) always(id);
    read_added_tokens();
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (const auto id = ids_.find(byte_token(byte)); id != ids_.end()) always_.push_back(id->second);
    }
    for (const auto id : always_) {
      if (id < keep_.size()) keep_[id] = true;
    }
    for (size_t id = 0; id < keep_.size(); ++id) {
      if ((id < used.size() && used[id]) || is_character(tokens_[id])) keep_[id] = true;
    }
    keep_parts();
  }

  /// The tokens that the settings name, by content or by id.
  void read_added_tokens() {
    const auto by_content = [&](const json& token) {
      const auto& content = token.is_object() ? token.value("content", json()) : token;
      if (!content.is_string()) return;
      if (const auto id = ids_.find(content.get<std::string>()); id != ids_.end()) always_.push_back(id->second);
    };
    if (has("added_tokens.json")) {
      const auto added = read_strict_json(folder_ / "added_tokens.json");
      for (const auto& [token, id] : added.items()) always_.push_back(id.get<size_t>());
    }
    for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) {
      if (!has(file)) continue;
      const auto settings = read_strict_json(folder_ / file);
      for (const auto& [key, value] : settings.items()) {
        if (key.ends_with("_token")) by_content(value);
        if (key == "additional_special_tokens" && value.is_array()) {
          for (const auto& token : value) by_content(token);
        }
        if (key == "added_tokens_decoder" && value.is_object()) {
          for (const auto& [id, token] : value.items()) {
            if (is_id(id)) always_.push_back(std::stoul(id));
          }
        }
      }
    }
  }

  /// Whether the key of an object is the id of a token.
  bool is_id(const std::string& text) const {
    constexpr size_t kMaxDigits = 9;
    return !text.empty() && text.size() <= kMaxDigits && text.find_first_not_of("0123456789") == std::string::npos &&
           std::stoul(text) < keep_.size();
  }

  std::string whole(const Merge& merge) const {
    return merge.first + merge.second.substr(std::min(prefix_.size(), merge.second.size()));  // as Bpe
  }

  /// A token's parts stay, in every way in which it can be merged, so that it is merged as before.
  void keep_parts() {
    std::unordered_map<size_t, std::vector<const Merge*>> ways;
    for (const auto& merge : merges_) ways[ids_.at(whole(merge))].push_back(&merge);
    std::vector<size_t> open;
    for (size_t id = 0; id < keep_.size(); ++id) {
      if (keep_[id]) open.push_back(id);
    }
    while (!open.empty()) {
      const auto found = ways.find(open.back());
      open.pop_back();
      if (found == ways.end()) continue;
      for (const auto* merge : found->second) {
        for (const auto& part : {merge->first, merge->second}) {
          const auto id = ids_.at(part);
          if (!keep_[id]) open.push_back(id);
          keep_[id] = true;
        }
      }
    }
  }

  bool stays(const Merge& merge) const {
    const auto id = ids_.find(whole(merge));
    return id != ids_.end() && keep_[id->second];
  }

  int64_t new_id(int64_t id) const {
    const auto found = new_ids_.find(id);
    if (found != new_ids_.end()) return found->second;
    throw CheckpointError(
        fmt::format("{}: the tokenizer's files name the id {}, expected that of a token", folder_.string(), id));
  }

  /// A file with the new ids; nothing for one that is left out, since it would say something else.
  std::optional<std::string> changed(const std::string& file) const {
    const auto path = folder_ / file;
    if (file == "tokenizer.json") return changed_json(path);
    if (file == "vocab.txt") {
      auto lines = lines_of(path);
      std::vector<std::string> left;
      for (size_t id = 0; id < lines.size(); ++id) {
        if (id < keep_.size() && keep_[id]) left.push_back(std::move(lines[id]));
      }
      return joined(left);
    }
    if (file == "merges.txt") {
      std::vector<std::string> left{"#version: 0.2"};
      for (const auto& merge : read_merges(path)) {
        if (stays(merge)) left.push_back(merge.first + " " + merge.second);
      }
      return joined(left);
    }
    if (file == "vocab.json" || file == "added_tokens.json") return changed_ids(read_strict_json(path)).dump() + "\n";
    if (file == "tokenizer_config.json") {
      auto settings = read_strict_json(path);
      if (auto decoder = settings.find("added_tokens_decoder"); decoder != settings.end() && decoder->is_object()) {
        auto tokens = json::object();
        for (const auto& [id, token] : decoder->items()) {
          if (is_id(id)) tokens[std::to_string(new_id(std::stoll(id)))] = token;
        }
        *decoder = std::move(tokens);
      }
      drop_tokens_without_row(settings);
      return settings.dump(2) + "\n";
    }
    if (file == "special_tokens_map.json" && !without_row_.empty()) {
      auto tokens = read_strict_json(path);
      drop_tokens_without_row(tokens);
      return tokens.dump(2) + "\n";
    }
    const bool of_sentences = file.starts_with("sentence_") || file == "config_sentence_transformers.json";
    if (file == "special_tokens_map.json" || of_sentences) return read_tokenizer_file(path);
    return std::nullopt;
  }

  bool has_row(const json& token) const {
    const auto& content = token.is_object() ? token.value("content", json()) : token;
    return !content.is_string() || !without_row_.contains(content.get<std::string>());
  }

  /// Takes the added tokens that the model has no row for out of the lists of special tokens.
  void drop_tokens_without_row(json& settings) const {
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      const auto list = settings.find(key);
      if (list == settings.end() || !list->is_array()) continue;
      auto left = json::array();
      for (auto& token : *list) {
        if (has_row(token)) left.push_back(std::move(token));
      }
      *list = std::move(left);
    }
  }

  /// An object of tokens and ids.
  json changed_ids(const json& vocabulary) const {
    auto left = json::object();
    for (const auto& [token, id] : vocabulary.items()) {
      if (const auto found = new_ids_.find(id.get<int64_t>()); found != new_ids_.end()) left[token] = found->second;
    }
    return left;
  }

  std::string changed_json(const fs::path& path) const {
    auto document = read_strict_json(path);
    auto& model = document.at("model");
    auto& vocabulary = model.at("vocab");
    if (vocabulary.is_object()) {
      vocabulary = changed_ids(vocabulary);
    } else {
      auto left = json::array();
      for (size_t id = 0; id < vocabulary.size(); ++id) {
        if (keep_[id]) left.push_back(std::move(vocabulary[id]));
      }
      vocabulary = std::move(left);
    }
    if (auto merges = model.find("merges"); merges != model.end() && merges->is_array()) {
      auto left = json::array();
      for (auto& merge : *merges) {
        if (stays(read_merge({merge, path.string()}))) left.push_back(std::move(merge));
      }
      *merges = std::move(left);
    }
    if (auto added = document.find("added_tokens"); added != document.end() && added->is_array()) {
      auto left = json::array();
      for (auto& token : *added) {
        if (has_row(token)) left.push_back(std::move(token));
      }
      *added = std::move(left);
    }
    each_id(document, [&](json& id) { id = new_id(id.get<int64_t>()); });
    return document.dump() + "\n";
  }

  fs::path folder_;
  std::vector<fs::path> files_;
  std::vector<std::string> tokens_;         // by id; empty where there is none
  std::set<std::string> without_row_ = {};  // added tokens that the model has no row for: they go
  std::unordered_map<std::string, size_t> ids_;
  std::vector<Merge> merges_;
  std::string prefix_, suffix_;
  std::vector<size_t> always_;
  std::vector<bool> keep_;
  std::map<int64_t, int64_t> new_ids_;
};

}  // namespace

std::vector<int64_t> trim_tokenizer(const Tokenizer& from, const std::vector<bool>& used, const fs::path& folder) {
  try {
    Trimmer trimmer(from, used);
    trimmer.write(folder);
    return trimmer.kept();
  } catch (const json::exception& error) {
    throw CheckpointError(
        fmt::format("{}: the tokenizer's files are not as expected: {}", from.folder().string(), error.what()));
  }
}

}  // namespace compression
