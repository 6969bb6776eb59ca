#include "compress/tokenizer/bpe.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <tuple>

#include "compress/base/error.h"
#include "compress/tokenizer/unicode.h"

namespace compression {
namespace {

uint64_t key_of(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

}  // namespace

const std::array<std::string, 256>& byte_characters() {
  static const std::array<std::string, 256> characters = [] {
    std::array<std::string, 256> result;
    char32_t next = 256;
    for (unsigned byte = 0; byte < result.size(); ++byte) {
      const bool is_printable = (byte > ' ' && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
      unicode::append(is_printable ? byte : next++, result[byte]);
    }
    return result;
  }();
  return characters;
}

Bpe::Bpe(BpeConfig config, const std::string& place) : config_(std::move(config)) {
  const auto at = [&](const std::string& token, const std::string& role) {
    if (const auto id = find(token)) return *id;
    throw CheckpointError(place + ": found no \"" + token + "\" in the vocabulary, expected it as " + role);
  };
  if (config_.unknown_token) unknown_id_ = at(*config_.unknown_token, "the unknown token");
  for (unsigned byte = 0; byte < byte_ids_.size(); ++byte) {
    if (config_.byte_level) byte_ids_[byte] = find(byte_characters()[byte]);
    if (config_.byte_fallback) byte_ids_[byte] = find(byte_token(byte));
  }
  merges_.reserve(config_.merges.size());
  for (size_t i = 0; i < config_.merges.size(); ++i) {
    const auto& [left, right] = config_.merges[i];
    const std::string role = "part of merge " + std::to_string(i + 1);
    if (right.size() < config_.continuing_prefix.size()) {
      throw CheckpointError(place + ": merge " + std::to_string(i + 1) + ": found \"" + right +
                            "\", expected a token with the prefix \"" + config_.continuing_prefix + "\"");
    }
    const std::string whole = left + right.substr(config_.continuing_prefix.size());
    const auto left_id = at(left, role), right_id = at(right, role), whole_id = at(whole, role);
    merges_[key_of(left_id, right_id)] = {static_cast<int32_t>(i), whole_id};
  }
  for (size_t i = 0; i < config_.merge_ids.size(); ++i) {
    const auto& [left, right, whole] = config_.merge_ids[i];
    merges_[key_of(left, right)] = {static_cast<int32_t>(i), whole};
  }
  config_.merges.clear();
  config_.merge_ids.clear();
}

std::optional<int32_t> Bpe::find(const std::string& token) const {
  const auto found = config_.vocabulary.find(token);
  return found == config_.vocabulary.end() ? std::nullopt : std::optional(found->second);
}

const Bpe::Merge* Bpe::merge_of(int32_t left, int32_t right) const {
  const auto found = merges_.find(key_of(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void Bpe::append_symbols(std::string_view part, std::vector<Symbol>& symbols) const {
  const auto add = [&](int32_t id, size_t size) {
    symbols.push_back({id, static_cast<int32_t>(symbols.size()) - 1, static_cast<int32_t>(symbols.size()) + 1,
                       static_cast<uint32_t>(size)});
  };
  size_t unknown_size = 0;  // of what waits to be an unknown symbol
  const auto flush_unknown = [&] {
    if (unknown_size > 0) add(*unknown_id_, unknown_size);
    unknown_size = 0;
  };
  std::string token;
  for (size_t i = 0; i < part.size();) {
    const size_t begin = i;
    std::optional<int32_t> id;
    if (config_.byte_level) {
      id = byte_ids_[static_cast<unsigned char>(part[i++])];
    } else {
      unicode::decode(part, i);
      token.assign(begin > 0 ? config_.continuing_prefix : std::string());
      token.append(part.substr(begin, i - begin));
      if (i == part.size()) token += config_.end_of_word_suffix;
      id = find(token);
    }
    if (id) {
      flush_unknown();
      add(*id, i - begin);
      continue;
    }
    if (config_.byte_fallback && std::all_of(token.begin(), token.end(),
                                             [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; })) {
      for (char byte : token) add(*byte_ids_[static_cast<unsigned char>(byte)], 1);
      continue;
    }
    if (!unknown_id_) continue;
    if (!config_.fuse_unknown) flush_unknown();
    unknown_size += i - begin;
  }
  flush_unknown();
  if (!symbols.empty()) symbols.back().next = -1;
}

void Bpe::merge_all(std::vector<Symbol>& symbols) const {
  using Candidate =
      std::tuple<int32_t, int32_t, int32_t>;  // rank, place, id: the lowest rank first, then from the left
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto consider = [&](int32_t left) {
    const int32_t right = left < 0 ? -1 : symbols[static_cast<size_t>(left)].next;
    if (right < 0) return;
    const Merge* merge = merge_of(symbols[static_cast<size_t>(left)].id, symbols[static_cast<size_t>(right)].id);
    if (merge != nullptr) candidates.emplace(merge->rank, left, merge->id);
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<int32_t>(i));
  while (!candidates.empty()) {
    const auto [rank, place, id] = candidates.top();
    candidates.pop();
    Symbol& left = symbols[static_cast<size_t>(place)];
    if (left.size == 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    const Merge* merge = merge_of(left.id, right.id);
    if (merge == nullptr || merge->id != id) continue;  // one of the two has been merged with another since
    left.id = id;
    left.size += right.size;
    left.next = right.next;
    right.size = 0;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = place;
    consider(left.previous);
    consider(place);
  }
}

void Bpe::segment(std::string_view part, std::vector<Piece>& pieces) const {
  if (config_.ignore_merges) {
    std::string token;
    if (config_.byte_level) {
      for (char byte : part) token += byte_characters()[static_cast<unsigned char>(byte)];
    } else {
      token = part;
    }
    if (const auto id = find(token)) return pieces.push_back({*id, {0, part.size()}});
  }
  std::vector<Symbol> symbols;
  symbols.reserve(part.size());
  append_symbols(part, symbols);
  merge_all(symbols);
  size_t position = 0;
  for (const Symbol& symbol : symbols) {
    if (symbol.size == 0) continue;
    pieces.push_back({symbol.id, {position, position + symbol.size}});
    position += symbol.size;
  }
}

}  // namespace compression
