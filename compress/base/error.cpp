#include "compress/base/error.h"

#include "compress/base/message.h"  // one_line, message_lines

namespace compression {

Error::Error(const std::string& message) : std::runtime_error(one_line(message)) {}

Error::Error(Lines, const std::string& messages) : std::runtime_error(message_lines(messages)) {}

}  // namespace compression
