#pragma once
// What commands read from standard input.

#include <istream>
#include <string>
#include <vector>

namespace compression::app {

/// As std::getline(), which would take a line without end. Throws DataError.
bool next_line(std::istream& in, std::string& line);

/// Without their ends. Throws DataError where a line, or all of them, are longer than limits.h allows.
std::vector<std::string> read_lines(std::istream& in);

}  // namespace compression::app
