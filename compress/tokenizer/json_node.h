#pragma once
// JSON files of tokenizers: values that know where they are, so that an error can say so.

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "compress/base/error.h"
#include "compress/base/limits.h"

namespace compression {

/// In quotes, on one line.
std::string in_quotes(std::string_view text);

bool is_present(const std::filesystem::path& path);

/// Throws CheckpointError where the file is missing, no regular one, or larger than limits::tokenizer_bytes;
/// StorageError where the system refuses.
std::string read_tokenizer_file(const std::filesystem::path& path);

/// Throws as read_tokenizer_file() and parse_json().
nlohmann::json read_strict_json(const std::filesystem::path& path);

class JsonElements;

/// A JSON value together with where it is, so that an error can say so.
class JsonNode {
 public:
  JsonNode(const nlohmann::json& value, std::string place) : value_(&value), place_(std::move(place)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& place() const { return place_; }

  /// A null where there is no such key.
  JsonNode operator[](const std::string& key) const {
    static const nlohmann::json null;
    if (!value_->is_object()) mismatch("an object");
    const auto found = value_->find(key);
    return JsonNode(found == value_->end() ? null : *found, place_ + (place_.ends_with(": ") ? "" : ".") + key);
  }

  std::optional<JsonNode> find(const std::string& key) const {
    JsonNode node = (*this)[key];
    return node.value_->is_null() ? std::nullopt : std::optional(std::move(node));
  }

  JsonNode at(const std::string& key) const {
    JsonNode node = (*this)[key];
    if (node.value_->is_null()) node.mismatch("a value");
    return node;
  }

  /// Of an array.
  JsonElements elements() const;

  /// A token, or anything else that is a few words long.
  std::string string() const {
    std::string text = long_string();
    if (text.size() > limits::token_bytes) {
      mismatch("at most " + std::to_string(limits::token_bytes) + " bytes, not " + std::to_string(text.size()));
    }
    return text;
  }

  std::string long_string() const {
    if (!value_->is_string()) mismatch("a string");
    return value_->get<std::string>();
  }

  bool boolean() const {
    if (!value_->is_boolean()) mismatch("true or false");
    return value_->get<bool>();
  }

  bool boolean_or(const std::string& key, bool otherwise) const {
    const auto found = find(key);
    return found ? found->boolean() : otherwise;
  }

  /// A number that fits an id.
  int32_t natural() const {
    if (!is_natural(*value_)) mismatch("a whole number from 0 to " + std::to_string(kMaxNatural));
    return value_->get<int32_t>();
  }

  static bool is_natural(const nlohmann::json& value) {
    return value.is_number_unsigned() && value.get<uint64_t>() <= kMaxNatural;
  }

  [[noreturn]] void mismatch(const std::string& expected) const {
    throw CheckpointError(place_ + ": found " + found() + ", expected " + expected);
  }

  [[noreturn]] void unsupported(const std::string& supported) const {
    throw UnsupportedError(place_ + ": found " + found() + ", supported: " + supported);
  }

 private:
  static constexpr uint64_t kMaxNatural = std::numeric_limits<int32_t>::max() - 1;

  std::string found() const {
    constexpr size_t kShown = 60;
    if (value_->is_null()) return "nothing";
    if (value_->is_object()) return "an object";
    if (value_->is_array()) return "an array of " + std::to_string(value_->size());
    std::string text = value_->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    if (text.size() > kShown) text = text.substr(0, kShown) + "...";
    return text;
  }

  const nlohmann::json* value_;
  std::string place_;
};

/// The elements of an array, which are made when they are asked for: their places are longer than most of them.
class JsonElements {
 public:
  class Iterator {
   public:
    Iterator(const JsonElements& elements, size_t index) : elements_(&elements), index_(index) {}
    JsonNode operator*() const { return (*elements_)[index_]; }
    Iterator& operator++() {
      ++index_;
      return *this;
    }
    bool operator==(const Iterator& other) const { return index_ == other.index_; }

   private:
    const JsonElements* elements_;
    size_t index_;
  };

  explicit JsonElements(JsonNode array) : array_(std::move(array)) {}

  size_t size() const { return array_.value().size(); }
  JsonNode operator[](size_t i) const {
    return JsonNode(array_.value()[i], array_.place() + "[" + std::to_string(i) + "]");
  }
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, size()}; }

 private:
  JsonNode array_;
};

inline JsonElements JsonNode::elements() const {
  if (!value_->is_array()) mismatch("an array");
  return JsonElements(*this);
}

/// The whole of a file.
inline JsonNode root(const nlohmann::json& document, const std::filesystem::path& path) {
  return JsonNode(document, path.string() + ": ");
}

}  // namespace compression
