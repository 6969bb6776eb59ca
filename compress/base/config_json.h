#pragma once
// A config as JSON, by its fields: for artefact manifests and for fingerprints.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "compress/base/fields.h"  // Config

namespace compression {

/// The JSON of any value that a config may hold. Enums, paths and TextValue types are strings.
template <class Json = nlohmann::json, class T>
Json value_json(const T& value);

/// Every field with its value, defaults included; optionals that are absent are left out.
/// nlohmann::json sorts keys, which suits fingerprints; nlohmann::ordered_json keeps the order of the fields.
template <class Json = nlohmann::json, Config T>
Json config_json(const T& config) {
  Json result = Json::object();
  T::fields(config, [&](std::string_view name, const auto& value, std::string_view, Presence = Presence::optional) {
    if constexpr (OptionalValue<std::remove_cvref_t<decltype(value)>>) {
      if (value) result[std::string(name)] = value_json<Json>(*value);
    } else {
      result[std::string(name)] = value_json<Json>(value);
    }
  });
  return result;
}

template <class Json, class T>
Json value_json(const T& value) {
  if constexpr (Config<T>) {
    return config_json<Json>(value);
  } else if constexpr (ListValue<T>) {
    Json result = Json::array();
    for (const auto& item : value) result.push_back(value_json<Json>(item));
    return result;
  } else if constexpr (MapValue<T>) {
    Json result = Json::object();
    for (const auto& [key, item] : value) result[key] = value_json<Json>(item);
    return result;
  } else if constexpr (NamedEnum<T>) {
    return std::string(enum_name(value));
  } else if constexpr (TextValue<T>) {
    return to_text(value);
  } else if constexpr (std::same_as<T, std::filesystem::path>) {
    return value.generic_string();
  } else {
    return value;
  }
}

}  // namespace compression
