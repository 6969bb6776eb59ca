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
// Goals: configs stay aggregates with defaults; no macro; a visitor is any callable with operator()(name, value, doc,
// presence). Types a visitor meets: bool, int64_t, double, std::string, std::filesystem::path, enums with enum_names(),
// TextValue types such as Reference, other config structs, and std::optional, std::vector and std::map<std::string, T>
// of these.

#include <array>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "compress/base/error.h"  // ConfigError

namespace compression {

enum class Presence { optional, required };

/// Names a model: the id of an earlier stage of the recipe, or the path of a checkpoint folder.
struct Reference {
  static constexpr std::string_view type_name = "stage id or checkpoint folder";
  std::string name;
  bool operator==(const Reference&) const = default;
};
inline std::string to_text(const Reference& reference) {
  return reference.name;
}
inline void from_text(const std::string& text, Reference& reference) {
  reference.name = text;
}

struct NullVisitor {
  template <class T>
  void operator()(std::string_view, T&, std::string_view, Presence = Presence::optional) {}
};

template <class T>
concept Config = requires(T& config) { std::remove_const_t<T>::fields(config, NullVisitor{}); };

/// A value that is written as one text. from_text throws ConfigError: "found ..., expected ...".
template <class T>
concept TextValue = requires(const T& value, T& result, const std::string& text) {
  { T::type_name } -> std::convertible_to<std::string_view>;
  { to_text(value) } -> std::same_as<std::string>;
  from_text(text, result);
};

template <class T>
concept OptionalValue = requires { typename T::value_type; } && std::same_as<T, std::optional<typename T::value_type>>;
template <class T>
concept ListValue = requires { typename T::value_type; } && std::same_as<T, std::vector<typename T::value_type>>;
template <class T>
concept MapValue =
    requires { typename T::mapped_type; } && std::same_as<T, std::map<std::string, typename T::mapped_type>>;

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

/// The key path of `key` below `parent`: "losses[0]" and "weight" give "losses[0].weight". Either may be empty.
inline std::string join_key(std::string_view parent, std::string_view key) {
  const bool dot = !parent.empty() && !key.empty() && key.front() != '[';
  return std::string(parent) + (dot ? "." : "") + std::string(key);
}
inline std::string join_key(std::string_view parent, size_t index) {
  return std::string(parent) + "[" + std::to_string(index) + "]";
}

/// Calls visit(key path, value) for every single value of a config, at any depth; absent optionals are left out.
template <class T, class Visitor>
void for_each_value(const T& value, const std::string& key, Visitor&& visit) {
  if constexpr (OptionalValue<T>) {
    if (value) for_each_value(*value, key, visit);
  } else if constexpr (ListValue<T>) {
    for (size_t i = 0; i < value.size(); ++i) for_each_value(value[i], join_key(key, i), visit);
  } else if constexpr (MapValue<T>) {
    for (const auto& [name, entry] : value) for_each_value(entry, join_key(key, name), visit);
  } else if constexpr (Config<T>) {
    T::fields(value, [&](std::string_view name, const auto& field, std::string_view, Presence = Presence::optional) {
      for_each_value(field, join_key(key, name), visit);
    });
  } else {
    visit(key, value);
  }
}

/// A number as messages show it: 3, 0.1, 5e-05.
template <class T>
  requires std::is_arithmetic_v<T>
std::string number_text(T value) {
  char digits[32];
  if constexpr (std::floating_point<T>) {
    return {digits, std::to_chars(digits, std::end(digits), value, std::chars_format::general).ptr};
  } else {
    return {digits, std::to_chars(digits, std::end(digits), value).ptr};
  }
}

/// What validation found, all of it. Keys are paths below the struct that is validated: "losses[0].temperature"; an
/// empty key is the struct itself.
class Problems {
 public:
  struct Problem {
    std::string key, message;
  };

  void add(std::string_view key, std::string message) { list_.push_back({join_key(prefix_, key), std::move(message)}); }

  /// Adds a problem unless `holds`.
  void require(bool holds, std::string_view key, std::string message) {
    if (!holds) add(key, std::move(message));
  }

  /// The checks of numbers accept an optional too, which may be absent. None accepts infinity or NaN.
  template <class T>
  void at_least(std::string_view key, const T& value, double low) {
    number(key, value, "at least " + number_text(low), [=](double x) { return x >= low; });
  }
  template <class T>
  void within(std::string_view key, const T& value, double low, double high) {
    number(key, value, "from " + number_text(low) + " to " + number_text(high),
           [=](double x) { return x >= low && x <= high; });
  }
  template <class T>
  void above(std::string_view key, const T& value, double low) {
    number(key, value, "a number above " + number_text(low), [=](double x) { return x > low; });
  }

  /// Validates a nested config under `key`.
  template <class T>
  void nested(std::string_view key, const T& config) {
    const std::string before = prefix_;
    prefix_ = join_key(prefix_, key);
    validate(config, *this);
    prefix_ = before;
  }

  /// Throws ConfigError with every problem, one a line.
  void throw_if_any() const {
    if (list_.empty()) return;
    std::string message;
    for (const auto& [key, text] : list_) {
      message += (message.empty() ? "" : "\n") + key + (key.empty() ? "" : ": ") + text;
    }
    throw ConfigError(message);
  }

  const std::vector<Problem>& list() const { return list_; }
  bool empty() const { return list_.empty(); }

 private:
  template <class T, class Predicate>
  void number(std::string_view key, const T& value, const std::string& expected, Predicate&& holds) {
    if constexpr (OptionalValue<T>) {
      if (value) number(key, *value, expected, holds);
    } else {
      const double x = static_cast<double>(value);
      require(std::isfinite(x) && holds(x), key, "found " + number_text(value) + ", expected " + expected);
    }
  }

  std::string prefix_;
  std::vector<Problem> list_;
};

/// Throws ConfigError with every problem of `config`, one a line. For callers without a recipe.
template <class T>
void check(const T& config) {
  Problems problems;
  validate(config, problems);
  problems.throw_if_any();
}

}  // namespace compression
