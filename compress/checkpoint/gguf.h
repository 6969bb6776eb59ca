#pragma once
// The GGUF format, version 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): typed metadata by key, a
// table of tensors, and their bytes, many of them in blocks of a few bits a number.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/checkpoint/tensor_file.h"  // TensorFile

namespace compression {

/// Tensors have the names that the file has for them ("blk.0.attn_q.weight"), and their rows first, as everywhere here:
/// the file has the innermost size first. Those in blocks (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K) are float32
/// when they are read, bit for bit as the reference library (gguf of PyPI) makes them; F16 and BF16 stay what they are.
/// The header has been checked as a whole, as the reference library does: every tensor lies in the file, right behind
/// the one before it.
class GgufFile : public TensorFile {
 public:
  /// Only the header is read. Throws CheckpointError that names file, key or tensor, what was found and what was
  /// expected; UnsupportedError for another version, an array of arrays, and a tensor of another type.
  static GgufFile open(const std::filesystem::path& path) { return GgufFile(path); }

  /// An object by key: "general.architecture", "llama.block_count", "tokenizer.ggml.tokens". Strings may be any bytes.
  const nlohmann::json& metadata() const { return metadata_; }

  std::string_view encoding(const std::string& name) const override;

  struct Encoding;  // how a tensor's numbers are stored

 protected:
  void fill(const std::string& name, const TensorInfo& info, std::span<std::byte> memory) const override;

 private:
  explicit GgufFile(const std::filesystem::path& path);

  uint64_t data_begin_ = 0;
  std::map<std::string, const Encoding*> encodings_;
  nlohmann::json metadata_ = nlohmann::json::object();
};

/// The GGUF file that a model's path means: itself, or the only one of a folder. Absent if there is none. Throws
/// CheckpointError if a folder has several.
std::optional<std::filesystem::path> gguf_file(const std::filesystem::path& path);

/// Of a Llama's projections to queries and keys, GGUF has the rows of a head in another order, for rotary positions
/// that turn neighbours: first and second halves in turns. Element i is the row of the file that is row i in Hugging
/// Face's order, in which they turn row j with row j + head_size / 2. `heads`: of keys, those of keys.
std::vector<int64_t> gguf_rotary_rows(int64_t heads, int64_t head_size);

}  // namespace compression
