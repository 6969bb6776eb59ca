#include "recipes/recipe.h"

namespace compression::recipes {

std::string_view stage_kind(const StageConfig& config) {
  return std::visit([](const auto& held) { return std::remove_cvref_t<decltype(held)>::kind; }, config);
}

std::vector<Reference> references(const StageEntry& stage) {
  std::vector<Reference> result;
  for_each_value(stage, "", [&]<class T>(const std::string&, const T& value) {
    if constexpr (std::same_as<T, Reference>) result.push_back(value);
  });
  return result;
}

}  // namespace compression::recipes
