#include "compress/workflow/fingerprint.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "compress/workflow/error.h"  // StorageError

namespace compression {
namespace {

std::string hexadecimal(XXH128_hash_t hash) {
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace

std::string fingerprint(std::string_view bytes) {
  return hexadecimal(XXH3_128bits(bytes.data(), bytes.size()));
}

std::string file_fingerprint(const std::filesystem::path& file) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> in(std::fopen(file.c_str(), "rb"), std::fclose);
  const auto fail = [&] {
    return StorageError(fmt::format("{}: can't be read: {}", file.string(), std::strerror(errno)));
  };
  if (!in) throw fail();
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
  XXH3_128bits_reset(state.get());
  std::vector<char> block(1 << 20);
  while (const auto n = std::fread(block.data(), 1, block.size(), in.get())) {
    XXH3_128bits_update(state.get(), block.data(), n);
  }
  if (std::ferror(in.get())) throw fail();
  return hexadecimal(XXH3_128bits_digest(state.get()));
}

}  // namespace compression
