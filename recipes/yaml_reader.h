#pragma once
// YAML text to Node.

#include <string>

#include "recipes/node.h"  // Node, Issues

namespace compression::recipes {

/// Reads one document. Anchors, aliases and merge keys (<<) are resolved; keys that are there twice become issues.
/// Texts of more than 256 KiB, nesting deeper than 64 and more than 20,000 values are refused, aliases counted as often
/// as used. Throws ConfigError, naming `file` and the line.
Node parse_yaml(const std::string& text, const std::string& file, Issues& issues);

/// The value of `--set key=value`; every node has `set` as its origin. Throws ConfigError without a place: the message
/// only.
Node parse_set_value(const std::string& value, const std::string& set);

}  // namespace compression::recipes
