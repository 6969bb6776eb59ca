#pragma once
// `compress serve`: models of folders behind a server, from the first file that is read to the last request that is
// answered.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/serve/server.h"
#include "compress/serve/service.h"

namespace compression::serve {

struct ServeOptions {
  std::vector<std::string> models;  // folders, or NAME=FOLDER; a folder's own name where none is given
  ServiceSettings service = {};
  ServerSettings server = {};
  std::optional<std::filesystem::path> key_file = {};    // a key a line
  std::optional<std::filesystem::path> access_log = {};  // "-": standard error
};

using ModelLoader = std::function<std::shared_ptr<const Model>(const std::filesystem::path& folder)>;

/// What the caller tells a person.
struct ServeMessages {
  std::function<void(const std::string& line)> warning;
  std::function<void(const std::string& url, const std::vector<std::string>& models)> ready;
};

/// Listens, and says that it is not ready; loads the models and computes some texts with each; answers until it is told
/// to stop (Server). Raises the process's limit of open files, and ignores SIGPIPE. Throws ConfigError, what Server and
/// the loader throw.
void serve(const ServeOptions& options, const ModelLoader& load, const ServeMessages& messages);

/// The keys of a file, one a line. Throws ConfigError where there is none.
std::vector<std::string> read_keys(const std::filesystem::path& file);

/// Name and folder of "NAME=FOLDER" or "FOLDER".
struct NamedFolder {
  std::string name;
  std::filesystem::path folder;
};

/// Throws ConfigError where two have one name, or one has none that can be in a path.
std::vector<NamedFolder> named_folders(const std::vector<std::string>& models);

}  // namespace compression::serve
