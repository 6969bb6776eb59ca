#include "compress/base/fingerprint.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <vector>

#include "compress/base/error.h"  // StorageError
#include "compress/base/file.h"   // open_stream
#include "compress/base/files.h"  // refused

namespace compression {
namespace {

std::string hexadecimal(XXH128_hash_t hash) {
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace

struct Fingerprint::State {
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> hash{XXH3_createState(), XXH3_freeState};
};

Fingerprint::Fingerprint() : state_(std::make_unique<State>()) {
  XXH3_128bits_reset(state_->hash.get());
}

Fingerprint::~Fingerprint() = default;

void Fingerprint::add(const void* data, size_t size) {
  XXH3_128bits_update(state_->hash.get(), data, size);
}

std::string Fingerprint::text() const {
  return hexadecimal(XXH3_128bits_digest(state_->hash.get()));
}

std::string fingerprint(std::string_view bytes) {
  return hexadecimal(XXH3_128bits(bytes.data(), bytes.size()));
}

std::string file_fingerprint(const std::filesystem::path& file) {
  const auto in = open_stream(file);
  const auto fail = [&] { return StorageError(refused(file, "can't be read", errno)); };
  struct stat status {};
  if (!in || ::fstat(::fileno(in.get()), &status) != 0) throw fail();
  if (!S_ISREG(status.st_mode)) throw StorageError(file.string() + ": can't be read: no regular file");
  Fingerprint hash;
  std::vector<char> block(1 << 20);
  while (const auto n = std::fread(block.data(), 1, block.size(), in.get())) {
    hash.add(block.data(), n);
  }
  if (std::ferror(in.get())) throw fail();
  return hash.text();
}

}  // namespace compression
