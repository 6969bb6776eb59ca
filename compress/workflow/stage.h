#pragma once
// What a step of a recipe is: models in, one folder out.

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "compress/base/fields.h"       // Reference
#include "compress/workflow/context.h"  // Context

namespace compression {

class DataProvider;

/// A folder with a model in it (docs/artifact.md).
struct Artifact {
  std::filesystem::path folder;
  nlohmann::json notes = nlohmann::json::object();  // what the stage wants kept in compress.json: history, choices made
};

struct Inputs {
  std::map<std::string, Artifact> models;  // by the name that the stage's config uses in a Reference
  Artifact base;                           // the recipe's model
  const DataProvider& data;

  const Artifact& model(const Reference& reference) const { return models.at(reference.name); }
};

class Stage {
 public:
  virtual ~Stage() = default;

  /// Writes the model into context.work_folder, and returns that folder as an artefact.
  virtual Artifact run(const Inputs& inputs, Context& context) const = 0;
};

}  // namespace compression
