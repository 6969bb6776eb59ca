#pragma once
// One list of fields a config struct, from which reading, unknown-key errors, printing and the reference page are made.
//
//   struct LossConfig {
//     double temperature = 2.0;
//     template <class Self, class Visitor>
//     static void fields(Self& self, Visitor&& visit) {
//       visit("temperature", self.temperature, "Softens both distributions");
//     }
//   };
//   void validate(const LossConfig& config, Problems& problems);   // found by argument-dependent lookup; optional
//
// Goals: configs stay aggregates with defaults; no macro; a visitor is any callable with operator()(name, value, doc, presence).
// Types a visitor meets: bool, int64_t, double, std::string, std::filesystem::path, Reference, enums with enum_names(),
// other config structs, and std::optional, std::vector and std::map<std::string, T> of these.

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "compress/workflow/error.h"  // ConfigError

namespace compression {

enum class Presence { optional, required };

/// Names a model: the id of an earlier stage of the recipe, or the path of a checkpoint folder.
struct Reference {
  std::string name;
  bool operator==(const Reference&) const = default;
};

struct NullVisitor {
  template <class T>
  void operator()(std::string_view, T&, std::string_view, Presence = Presence::optional) {}
};

template <class T>
concept Config = requires(T& config) { std::remove_const_t<T>::fields(config, NullVisitor{}); };

/// An enum is readable if `enum_names(E{})` gives its values' names, in a container of pairs {value, name}.
template <class E>
concept NamedEnum = std::is_enum_v<E> && requires(E value) { enum_names(value); };

template <NamedEnum E>
std::string_view enum_name(E value) {
  for (const auto& [candidate, name] : enum_names(value)) {
    if (candidate == value) return name;
  }
  return "?";
}

/// What validation found, all of it. Keys are paths below the struct that is validated: "losses[0].temperature".
class Problems {
 public:
  struct Problem {
    std::string key, message;
  };

  void add(std::string_view key, std::string message) { list_.push_back({prefix_ + std::string(key), std::move(message)}); }

  /// Adds a problem unless `holds`.
  void require(bool holds, std::string_view key, std::string message) {
    if (!holds) add(key, std::move(message));
  }

  /// Validates a nested config under `key`.
  template <class T>
  void nested(std::string_view key, const T& config) {
    const std::string before = prefix_;
    prefix_ += std::string(key) + ".";
    validate(config, *this);
    prefix_ = before;
  }

  const std::vector<Problem>& list() const { return list_; }
  bool empty() const { return list_.empty(); }

 private:
  std::string prefix_;
  std::vector<Problem> list_;
};

/// Throws ConfigError with every problem of `config`, one a line. For callers without a recipe.
template <class T>
void check(const T& config) {
  Problems problems;
  validate(config, problems);
  if (problems.empty()) return;
  std::string message;
  for (const auto& [key, text] : problems.list()) message += (message.empty() ? "" : "\n") + key + ": " + text;
  throw ConfigError(message);
}

}  // namespace compression
