#include "compress/checkpoint/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ne.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "compress/base/error.h"      // CheckpointError, UnsupportedError
#include "compress/base/file.h"       // InputFile, FileContent, FileWriter
#include "compress/base/json_file.h"  // parse_json, excerpt
#include "compress/base/limits.h"     // header_bytes

namespace compression {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr uint64_t length_bytes = 8;
constexpr size_t highest_rank = 64;  // as in LibTorch
constexpr std::string_view metadata_key = "__metadata__";

struct Dtype {
  std::string_view name;
  torch::ScalarType type;
  uint64_t size;  // bytes; also the alignment
};

/// In the order in which the reference library writes them.
constexpr std::array dtypes{Dtype{"U64", torch::kUInt64, 8},
                            Dtype{"I64", torch::kLong, 8},
                            Dtype{"F64", torch::kDouble, 8},
                            Dtype{"F32", torch::kFloat, 4},
                            Dtype{"U32", torch::kUInt32, 4},
                            Dtype{"I32", torch::kInt, 4},
                            Dtype{"BF16", torch::kBFloat16, 2},
                            Dtype{"F16", torch::kHalf, 2},
                            Dtype{"U16", torch::kUInt16, 2},
                            Dtype{"I16", torch::kShort, 2},
                            Dtype{"F8_E4M3", torch::kFloat8_e4m3fn, 1},
                            Dtype{"F8_E5M2", torch::kFloat8_e5m2, 1},
                            Dtype{"I8", torch::kChar, 1},
                            Dtype{"U8", torch::kByte, 1},
                            Dtype{"BOOL", torch::kBool, 1}};

std::string dtype_names() {
  std::vector<std::string_view> names;
  for (const auto& dtype : dtypes) names.push_back(dtype.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

const Dtype* find_dtype(torch::ScalarType type) {
  const auto found = std::ranges::find(dtypes, type, &Dtype::type);
  return found == dtypes.end() ? nullptr : &*found;
}

/// Bytes of a tensor; nothing if they, or a stride, would not fit 63 bits.
std::optional<uint64_t> byte_count(const std::vector<int64_t>& shape, uint64_t item_size) {
  auto extent = static_cast<int64_t>(item_size);
  for (const int64_t size : shape) {
    if (__builtin_mul_overflow(extent, std::max<int64_t>(size, 1), &extent)) return std::nullopt;
  }
  const bool empty = std::ranges::find(shape, 0) != shape.end();
  return empty ? 0 : static_cast<uint64_t>(extent);
}

/// Reads the entry of one tensor. `where` begins the messages: file and tensor.
class EntryReader {
 public:
  EntryReader(const json& entry, std::string where) : entry_(entry), where_(std::move(where)) {}

  TensorInfo read(uint64_t data_size) const {
    if (!entry_.is_object()) fail("entry", entry_, "an object");
    const auto& dtype = read_dtype();
    TensorInfo info{.dtype = dtype.type, .shape = read_shape()};
    std::tie(info.begin, info.end) = read_offsets(data_size);
    const auto expected = byte_count(info.shape, dtype.size);
    if (!expected)
      throw CheckpointError(fmt::format("{}: shape [{}] is too large", where_, fmt::join(info.shape, ", ")));
    if (info.end - info.begin != *expected) {
      throw CheckpointError(fmt::format("{}: found {} bytes, expected {} for {} [{}]", where_, info.end - info.begin,
                                        *expected, dtype.name, fmt::join(info.shape, ", ")));
    }
    return info;
  }

 private:
  [[noreturn]] void fail(std::string_view key, const json& found, std::string_view expected) const {
    throw CheckpointError(fmt::format("{}: {}: found {}, expected {}", where_, key, excerpt(found), expected));
  }

  const json& field(const char* key) const {
    const auto found = entry_.find(key);
    if (found == entry_.end()) throw CheckpointError(fmt::format("{}: {}: found nothing, expected it", where_, key));
    return *found;
  }

  const Dtype& read_dtype() const {
    const json& name = field("dtype");
    if (name.is_string()) {
      const auto found = std::ranges::find(dtypes, name.get_ref<const std::string&>(), &Dtype::name);
      if (found != dtypes.end()) return *found;
    }
    fail("dtype", name, "one of " + dtype_names());
  }

  std::vector<int64_t> read_shape() const {
    const json& sizes = field("shape");
    if (!sizes.is_array() || sizes.size() > highest_rank) {
      fail("shape", sizes, fmt::format("an array of at most {}", highest_rank));
    }
    std::vector<int64_t> shape;
    for (const json& size : sizes) {
      if (!size.is_number_unsigned() || size.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
        fail("shape", size, "sizes that are whole numbers from 0 to 2^63 - 1");
      }
      shape.push_back(size.get<int64_t>());
    }
    return shape;
  }

  std::pair<uint64_t, uint64_t> read_offsets(uint64_t data_size) const {
    const json& offsets = field("data_offsets");
    if (!offsets.is_array() || offsets.size() != 2) fail("data_offsets", offsets, "an array of 2");
    for (const json& offset : offsets) {
      if (!offset.is_number_unsigned()) fail("data_offsets", offset, "whole numbers from 0");
    }
    const auto begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
    if (begin > end || end > data_size) {
      throw CheckpointError(
          fmt::format("{}: data_offsets: found {} to {}, expected a range within the {} bytes of data", where_, begin,
                      end, data_size));
    }
    return {begin, end};
  }

  const json& entry_;
  std::string where_;
};

std::string header_text(const InputFile& file) {
  const auto path = file.path().string();
  if (file.size() < length_bytes) {
    throw CheckpointError(fmt::format("{}: found {} bytes, expected a safetensors header", path, file.size()));
  }
  uint64_t length = 0;
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  const auto longest = std::min(limits::header_bytes, file.size() - length_bytes);
  if (length > longest) {
    throw CheckpointError(
        fmt::format("{}: header: found a length of {} bytes, expected at most {}", path, length, longest));
  }
  std::string text(length, '\0');
  file.read(length_bytes, std::as_writable_bytes(std::span(text)));
  if (!text.starts_with('{')) throw CheckpointError(path + ": header: expected it to begin with {");
  return text;
}

std::map<std::string, std::string> read_metadata(const json& entry, const std::string& path) {
  std::map<std::string, std::string> metadata;
  if (!entry.is_object()) {
    throw CheckpointError(fmt::format("{}: {}: found {}, expected an object", path, metadata_key, excerpt(entry)));
  }
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) {
      throw CheckpointError(fmt::format("{}: {}: {}: found {}, expected a string", path, metadata_key,
                                        excerpt(json(key)), excerpt(value)));
    }
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

/// The tensors must follow each other without hole or overlap, from the first byte of the data to the last.
void check_coverage(const std::map<std::string, TensorInfo>& tensors, uint64_t data_size, const std::string& path) {
  std::vector<const std::pair<const std::string, TensorInfo>*> order;
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::ranges::sort(order, {}, [](const auto* tensor) { return std::pair(tensor->second.begin, tensor->second.end); });
  uint64_t covered = 0;
  for (const auto* tensor : order) {
    const auto& [name, info] = *tensor;
    if (info.begin != covered) {
      throw CheckpointError(fmt::format("{}: tensor {}: found its data at byte {}, expected {}: there is {} before it",
                                        path, excerpt(json(name)), info.begin, covered,
                                        info.begin > covered ? "a hole" : "an overlap"));
    }
    covered = info.end;
  }
  if (covered != data_size) {
    throw CheckpointError(
        fmt::format("{}: found {} bytes of data, expected {}, as many as its tensors have", path, data_size, covered));
  }
}

std::pair<std::map<std::string, TensorInfo>, std::map<std::string, std::string>> read_header(std::string_view text,
                                                                                             uint64_t data_size,
                                                                                             const std::string& path) {
  std::map<std::string, TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
  for (const json header = parse_json(text, path + ": header"); const auto& [name, entry] : header.items()) {
    if (name == metadata_key) {
      metadata = read_metadata(entry, path);
    } else {
      const auto where = fmt::format("{}: tensor {}", path, excerpt(json(name)));
      tensors[name] = EntryReader(entry, where).read(data_size);
    }
  }
  check_coverage(tensors, data_size, path);
  return {std::move(tensors), std::move(metadata)};
}

const Dtype& writable_dtype(const std::string& name, const torch::Tensor& tensor, const std::filesystem::path& path) {
  const auto* dtype =
      tensor.defined() && tensor.layout() == torch::kStrided ? find_dtype(tensor.scalar_type()) : nullptr;
  if (dtype != nullptr) return *dtype;
  throw UnsupportedError(fmt::format("{}: tensor {}: found {}, expected a dense tensor of one of {}", path.string(),
                                     excerpt(json(name)), tensor.toString(), dtype_names()));
}

struct Entry {
  const std::string* name;
  const torch::Tensor* tensor;
  const Dtype* dtype;
};

std::vector<Entry> in_writing_order(const std::map<std::string, torch::Tensor>& tensors,
                                    const std::filesystem::path& path) {
  std::vector<Entry> entries;
  for (const auto& [name, tensor] : tensors) {
    if (name == metadata_key)
      throw UnsupportedError(fmt::format("{}: a tensor cannot be called {}", path.string(), name));
    entries.push_back({&name, &tensor, &writable_dtype(name, tensor, path)});
  }
  std::ranges::stable_sort(entries, {}, &Entry::dtype);  // by the order of the table; names are in order already
  return entries;
}

/// The header with its length before it, padded so that the data begin at a multiple of 8 bytes.
std::string make_header(const std::vector<Entry>& entries, const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> members;
  if (!metadata.empty()) members.push_back(fmt::format("\"{}\":{}", metadata_key, json(metadata).dump()));
  uint64_t offset = 0;
  for (const auto& [name, tensor, dtype] : entries) {
    const uint64_t end = offset + static_cast<uint64_t>(tensor->numel()) * dtype->size;
    members.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", json(*name).dump(),
                                  dtype->name, fmt::join(tensor->sizes().vec(), ","), offset, end));
    offset = end;
  }
  auto text = fmt::format("{{{}}}", fmt::join(members, ","));
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), length_bytes) + text;
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile result;
  result.path_ = path.string();
  const InputFile file(path);
  const auto text = header_text(file);
  result.data_begin_ = length_bytes + text.size();
  const uint64_t data_size = file.size() - result.data_begin_;
  std::tie(result.tensors_, result.metadata_) = read_header(text, data_size, result.path_);
  result.file_ = std::make_shared<FileContent>(file);
  return result;
}

std::map<std::string, TensorInfo> read_safetensors_header(const std::filesystem::path& path) {
  const InputFile file(path);
  const auto text = header_text(file);
  return read_header(text, file.size() - length_bytes - text.size(), path.string()).first;
}

torch::Tensor SafetensorsFile::read(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw CheckpointError(fmt::format("{}: found no tensor {}, expected one", path_, excerpt(json(name))));
  }
  const auto& info = found->second;
  const uint64_t size = info.end - info.begin;
  if (size == 0) return at::empty(info.shape, info.dtype);

  std::byte* data = file_->bytes().data() + data_begin_ + info.begin;
  if (reinterpret_cast<uintptr_t>(data) % find_dtype(info.dtype)->size != 0) {
    auto copy = at::empty(info.shape, info.dtype);
    std::memcpy(copy.data_ptr(), data, size);
    return copy;
  }
  const bool is_bool = info.dtype == torch::kBool;
  const auto view = at::from_blob(data, info.shape, [keep = file_](void*) {}, is_bool ? torch::kByte : info.dtype);
  return is_bool ? view.ne(0) : view;
}

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, torch::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const auto entries = in_writing_order(tensors, path);
  std::string header;
  try {
    header = make_header(entries, metadata);
  } catch (const json::type_error&) {
    throw UnsupportedError(path.string() + ": found a tensor's name or metadata that is not UTF-8");
  }
  FileWriter file(path);
  file.write(header.data(), header.size());
  for (const auto& entry : entries) {
    const auto bytes = entry.tensor->detach().to(torch::kCPU).contiguous();
    file.write(bytes.data_ptr(), bytes.nbytes());
  }
  file.finish();
}

}  // namespace compression
