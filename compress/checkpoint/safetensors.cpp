#include "compress/checkpoint/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "compress/base/error.h"      // CheckpointError, UnsupportedError
#include "compress/base/fields.h"     // enum_name
#include "compress/base/file.h"       // InputFile, FileWriter
#include "compress/base/json_file.h"  // parse_json, excerpt
#include "compress/base/limits.h"     // header_bytes

namespace compression {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr uint64_t length_bytes = 8;
constexpr size_t highest_rank = 64;  // as in LibTorch
constexpr std::string_view metadata_key = "__metadata__";

/// Bytes of a tensor; nothing if they, or a stride, would not fit 63 bits.
std::optional<uint64_t> byte_count(const std::vector<int64_t>& shape, int64_t item_size) {
  auto extent = item_size;
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
    TensorInfo info{.dtype = read_dtype(), .shape = read_shape()};
    std::tie(info.begin, info.end) = read_offsets(data_size);
    const auto expected = byte_count(info.shape, size_of(info.dtype));
    if (!expected)
      throw CheckpointError(fmt::format("{}: shape [{}] is too large", where_, fmt::join(info.shape, ", ")));
    if (info.end - info.begin != *expected) {
      throw CheckpointError(fmt::format("{}: found {} bytes, expected {} for {} [{}]", where_, info.end - info.begin,
                                        *expected, enum_name(info.dtype), fmt::join(info.shape, ", ")));
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

  DType read_dtype() const {
    const json& found = field("dtype");
    for (const auto& [dtype, name] : enum_names(DType{})) {
      if (found.is_string() && found.get_ref<const std::string&>() == name) return dtype;
    }
    fail("dtype", found, "one of " + safetensors_dtypes());
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

using Entry = std::pair<const std::string, LazyTensor>;

std::vector<const Entry*> in_writing_order(const std::map<std::string, LazyTensor>& tensors,
                                           const std::filesystem::path& path) {
  std::vector<const Entry*> entries;
  for (const auto& entry : tensors) {
    if (entry.first == metadata_key)
      throw UnsupportedError(fmt::format("{}: a tensor cannot be called {}", path.string(), entry.first));
    entries.push_back(&entry);
  }
  const auto place = [](const Entry* entry) {
    constexpr auto order = enum_names(DType{});
    return std::ranges::find(order, entry->second.dtype, &decltype(order)::value_type::first) - order.begin();
  };
  std::ranges::stable_sort(entries, {}, place);  // names are in order already
  return entries;
}

/// The header with its length before it, padded so that the data begin at a multiple of 8 bytes.
std::string make_header(const std::vector<const Entry*>& entries, const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> members;
  if (!metadata.empty()) members.push_back(fmt::format("\"{}\":{}", metadata_key, json(metadata).dump()));
  uint64_t offset = 0;
  for (const auto* entry : entries) {
    const auto& [name, tensor] = *entry;
    const uint64_t end = offset + byte_count(tensor.shape, size_of(tensor.dtype)).value();
    members.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", json(name).dump(),
                                  enum_name(tensor.dtype), fmt::join(tensor.shape, ","), offset, end));
    offset = end;
  }
  auto text = fmt::format("{{{}}}", fmt::join(members, ","));
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), length_bytes) + text;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : TensorFile(path) {
  const auto text = header_text(file());
  data_begin_ = length_bytes + text.size();
  std::tie(tensors_, metadata_) = read_header(text, file().size() - data_begin_, path.string());
}

void SafetensorsFile::fill(const std::string&, const TensorInfo& info, std::span<std::byte> memory) const {
  file().read(data_begin_ + info.begin, memory);
  if (info.dtype != DType::boolean) return;
  for (auto& byte : memory) byte = std::byte{byte != std::byte{0}};
}

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, LazyTensor>& tensors,
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
  for (const auto* entry : entries) {
    const auto numbers = entry->second.read();
    file.write(numbers.data.get(), static_cast<size_t>(numbers.bytes()));
  }
  file.finish();
}

std::string safetensors_dtypes() {
  std::vector<std::string_view> names;
  for (const auto& [dtype, name] : enum_names(DType{})) names.push_back(name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace compression
