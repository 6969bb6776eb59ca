#include "compress/checkpoint/gguf.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "compress/base/error.h"      // CheckpointError, UnsupportedError
#include "compress/base/file.h"       // InputFile
#include "compress/base/json_file.h"  // excerpt
#include "compress/base/limits.h"

namespace compression {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "GGUF files are little-endian");

constexpr uint64_t longest_header = 256 * limits::MiB;
constexpr uint64_t most_tensors = 1 << 20;

// ---- numbers in blocks: Byte is unsigned, blocks begin anywhere

using Byte = uint8_t;

template <class Number>
Number load(const Byte* from) {
  Number number;
  std::memcpy(&number, from, sizeof(number));
  return number;
}

/// An IEEE half.
float half(const Byte* from) {
  const uint32_t bits = load<uint16_t>(from), exponent = bits >> 10 & 0x1F, fraction = bits & 0x3FF;
  const auto magnitude = exponent == 0    ? std::bit_cast<uint32_t>(static_cast<float>(fraction) * 0x1p-24f)
                         : exponent == 31 ? 0x7F800000 | fraction << 13
                                          : (exponent + 112) << 23 | fraction << 13;
  return std::bit_cast<float>(magnitude | (bits & 0x8000) << 16);
}

/// Q4_0, Q4_1, Q5_0, Q5_1: 32 numbers of 4 or 5 bits; a scale, and a minimum or the middle as zero. The low halves of
/// 16 bytes come before the high ones; fifth bits are in a word of their own.
template <bool fifth, bool minimum>
void dequantize_32(const Byte* in, float* out) {
  const float scale = half(in), least = minimum ? half(in + 2) : 0.0f;
  in += minimum ? 4 : 2;
  const auto high = fifth ? load<uint32_t>(in) : 0;
  in += fifth ? 4 : 0;
  for (int i = 0; i < 32; ++i) {
    const int q = ((in[i % 16] >> (i / 16 * 4)) & 0xF) | static_cast<int>((high >> i & 1) << 4);
    out[i] = minimum ? scale * static_cast<float>(q) + least : scale * static_cast<float>(q - (fifth ? 16 : 8));
  }
}

void dequantize_q8_0(const Byte* in, float* out) {
  const float scale = half(in);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(load<int8_t>(in + 2 + i)) * scale;
}

/// Q4_K, Q5_K: 256 numbers of 4 or 5 bits in 8 groups, whose scales and minima are 6 bits times those of the block.
template <bool fifth>
void dequantize_k(const Byte* in, float* out) {
  const float scale = half(in), least = half(in + 2);
  const Byte* scales =
      in + 4;  // the low 4 bits of groups 4 to 7 are behind those of the others, whose high 2 are theirs
  const Byte* high = scales + 12;
  const Byte* low = high + (fifth ? 32 : 0);
  for (int group = 0; group < 8; ++group) {
    const int j = group % 4;
    const int s = group < 4 ? scales[j] & 0x3F : (scales[8 + j] & 0xF) | (scales[j] >> 2 & 0x30);
    const int m = group < 4 ? scales[4 + j] & 0x3F : scales[8 + j] >> 4 | (scales[4 + j] >> 2 & 0x30);
    const float d = scale * static_cast<float>(s), dm = least * static_cast<float>(m);
    for (int i = 0; i < 32; ++i) {
      int q = low[group / 2 * 32 + i] >> (group % 2 * 4) & 0xF;
      if (fifth) q |= (high[i] >> group & 1) << 4;
      out[group * 32 + i] = d * static_cast<float>(q) - dm;
    }
  }
}

/// Q6_K: 256 numbers of 6 bits in 16 groups, whose scales are 8 bits times that of the block.
void dequantize_q6_k(const Byte* in, float* out) {
  const Byte *low = in, *high = in + 128, *scales = in + 192;
  const float scale = half(in + 208);
  for (int i = 0; i < 256; ++i) {
    const int part = i / 128, row = i / 32 % 4, column = i % 32;
    const int q = (low[part * 64 + row % 2 * 32 + column] >> (row / 2 * 4) & 0xF) |
                  (high[part * 32 + column] >> (row * 2) & 3) << 4;
    out[i] = scale * static_cast<float>(load<int8_t>(scales + i / 16)) * static_cast<float>(q - 32);
  }
}

}  // namespace

struct GgufFile::Encoding {
  uint32_t type;  // its number in the file
  std::string_view name;
  DType dtype;
  int64_t numbers;  // of a block
  int64_t bytes;
  void (*dequantize)(const Byte* in, float* out);  // null: the numbers as they are
};

namespace {

using Encoding = GgufFile::Encoding;

constexpr std::array encodings{Encoding{0, "F32", DType::float32, 1, 4, nullptr},
                               Encoding{1, "F16", DType::float16, 1, 2, nullptr},
                               Encoding{2, "Q4_0", DType::float32, 32, 18, dequantize_32<false, false>},
                               Encoding{3, "Q4_1", DType::float32, 32, 20, dequantize_32<false, true>},
                               Encoding{6, "Q5_0", DType::float32, 32, 22, dequantize_32<true, false>},
                               Encoding{7, "Q5_1", DType::float32, 32, 24, dequantize_32<true, true>},
                               Encoding{8, "Q8_0", DType::float32, 32, 34, dequantize_q8_0},
                               Encoding{12, "Q4_K", DType::float32, 256, 144, dequantize_k<false>},
                               Encoding{13, "Q5_K", DType::float32, 256, 176, dequantize_k<true>},
                               Encoding{14, "Q6_K", DType::float32, 256, 210, dequantize_q6_k},
                               Encoding{24, "I8", DType::int8, 1, 1, nullptr},
                               Encoding{25, "I16", DType::int16, 1, 2, nullptr},
                               Encoding{26, "I32", DType::int32, 1, 4, nullptr},
                               Encoding{27, "I64", DType::int64, 1, 8, nullptr},
                               Encoding{28, "F64", DType::float64, 1, 8, nullptr},
                               Encoding{30, "BF16", DType::bfloat16, 1, 2, nullptr}};

std::string encoding_names() {
  std::vector<std::string> names;
  for (const auto& encoding : encodings) names.push_back(fmt::format("{} ({})", encoding.type, encoding.name));
  return fmt::format("{}", fmt::join(names, ", "));
}

// ---- the header

enum class ValueType : uint32_t {
  uint8,
  int8,
  uint16,
  int16,
  uint32,
  int32,
  float32,
  boolean,
  string,
  array,
  uint64,
  int64,
  float64
};

/// Reads a header from the front. What is allocated is never more than the bytes that are there.
class HeaderReader {
 public:
  explicit HeaderReader(const InputFile& file) : file_(file), end_(std::min<uint64_t>(file.size(), longest_header)) {}

  uint64_t position() const { return position_; }

  template <class Number>
  Number number() {
    Number value;
    read({reinterpret_cast<std::byte*>(&value), sizeof(value)});
    return value;
  }

  std::string text() {
    const auto length = number<uint64_t>();
    require(length);
    std::string value(length, '\0');
    read(std::as_writable_bytes(std::span(value)));
    return value;
  }

  /// Throws CheckpointError unless there are so many bytes left.
  void require(uint64_t bytes) const {
    if (bytes <= end_ - position_) return;
    throw CheckpointError(fmt::format("{}: header: found its end at byte {}, expected {} bytes more behind byte {}",
                                      file_.path().string(), end_, bytes, position_));
  }

 private:
  void read(std::span<std::byte> bytes) {
    require(bytes.size());
    while (!bytes.empty()) {
      if (position_ < begin_ || position_ >= begin_ + window_.size()) {
        begin_ = position_;
        window_.resize(std::min<uint64_t>(end_ - begin_, 1 << 16));
        file_.read(begin_, window_);
      }
      const auto part = std::span(window_).subspan(position_ - begin_);
      const auto count = std::min(part.size(), bytes.size());
      std::memcpy(bytes.data(), part.data(), count);
      bytes = bytes.subspan(count);
      position_ += count;
    }
  }

  const InputFile& file_;
  uint64_t end_, position_ = 0, begin_ = 0;
  std::vector<std::byte> window_;  // the bytes from begin_ on
};

class MetadataReader {
 public:
  MetadataReader(HeaderReader& header, const fs::path& file) : header_(header), file_(file) {}

  json read(uint64_t count) {
    auto metadata = json::object();
    for (; count > 0; --count) {
      const auto key = header_.text();
      where_ = fmt::format("{}: metadata {}", file_.string(), excerpt(json(key)));
      const auto type = header_.number<ValueType>();
      auto value = type == ValueType::array ? array() : scalar(type);
      if (!metadata.emplace(key, std::move(value)).second) throw CheckpointError(where_ + " occurs twice");
    }
    return metadata;
  }

 private:
  json array() {
    const auto type = header_.number<ValueType>();
    if (type == ValueType::array) {
      throw UnsupportedError(where_ + ": found an array of arrays, supported: arrays of values");
    }
    const auto count = header_.number<uint64_t>();
    header_.require(count);  // each has a byte at least
    if (count > limits::json_values) {
      throw CheckpointError(
          fmt::format("{}: found {} values, expected at most {}", where_, count, limits::json_values));
    }
    auto values = json::array();
    for (uint64_t i = 0; i < count; ++i) values.push_back(scalar(type));
    return values;
  }

  json scalar(ValueType type) {
    if (++values_ > limits::json_values) {
      throw CheckpointError(fmt::format("{}: found more than {} values of metadata", where_, limits::json_values));
    }
    switch (type) {
      case ValueType::uint8:
        return header_.number<uint8_t>();
      case ValueType::int8:
        return header_.number<int8_t>();
      case ValueType::uint16:
        return header_.number<uint16_t>();
      case ValueType::int16:
        return header_.number<int16_t>();
      case ValueType::uint32:
        return header_.number<uint32_t>();
      case ValueType::int32:
        return header_.number<int32_t>();
      case ValueType::uint64:
        return header_.number<uint64_t>();
      case ValueType::int64:
        return header_.number<int64_t>();
      case ValueType::float32:
        return header_.number<float>();
      case ValueType::float64:
        return header_.number<double>();
      case ValueType::boolean:
        return header_.number<uint8_t>() != 0;
      case ValueType::string:
        return header_.text();
      case ValueType::array:
        break;
    }
    throw CheckpointError(
        fmt::format("{}: found a value of type {}, expected one from 0 to 12", where_, static_cast<uint32_t>(type)));
  }

  HeaderReader& header_;
  const fs::path& file_;
  std::string where_;
  size_t values_ = 0;
};

struct Entry {
  TensorInfo info;
  const Encoding* encoding;
};

/// One row of the table. `where` begins the messages: file and tensor.
Entry read_entry(HeaderReader& header, const std::string& where) {
  constexpr uint32_t highest_rank = 4;  // as in the reference library
  const auto rank = header.number<uint32_t>();
  if (rank > highest_rank) {
    throw CheckpointError(fmt::format("{}: found {} dimensions, expected at most {}", where, rank, highest_rank));
  }
  Entry entry;
  auto& shape = entry.info.shape;
  for (uint32_t i = 0; i < rank; ++i) shape.insert(shape.begin(), static_cast<int64_t>(header.number<uint64_t>()));
  const auto type = header.number<uint32_t>();
  entry.encoding = std::ranges::find(encodings, type, &Encoding::type);
  if (entry.encoding == encodings.end()) {
    throw UnsupportedError(fmt::format("{}: found numbers of type {}, supported: {}", where, type, encoding_names()));
  }
  entry.info.dtype = entry.encoding->dtype;
  const auto row = shape.empty() ? 1 : shape.back();
  if (row % entry.encoding->numbers != 0) {
    throw CheckpointError(fmt::format("{}: found rows of {} numbers, expected a multiple of the {} of a block of {}",
                                      where, row, entry.encoding->numbers, entry.encoding->name));
  }
  int64_t extent = 8;  // bytes of a number at most
  for (const auto size : shape) {
    if (size < 0 || __builtin_mul_overflow(extent, std::max<int64_t>(size, 1), &extent)) {
      throw CheckpointError(fmt::format("{}: shape [{}] is too large", where, fmt::join(shape, ", ")));
    }
  }
  const HostTensor numbers{.dtype = entry.info.dtype, .shape = shape};
  entry.info.begin = header.number<uint64_t>();
  const auto blocks = numbers.count() / entry.encoding->numbers;
  if (__builtin_add_overflow(entry.info.begin, static_cast<uint64_t>(blocks * entry.encoding->bytes),
                             &entry.info.end)) {
    throw CheckpointError(fmt::format("{}: found its data at byte {}, which is too large", where, entry.info.begin));
  }
  return entry;
}

uint64_t aligned(uint64_t position, uint64_t alignment) {
  return (position + alignment - 1) / alignment * alignment;
}

uint64_t read_alignment(const json& metadata, const fs::path& file) {
  constexpr uint64_t usual = 32, largest = 1 << 20;
  const auto found = metadata.find("general.alignment");
  if (found == metadata.end()) return usual;
  if (found->is_number_unsigned()) {
    const auto alignment = found->get<uint64_t>();
    if (std::has_single_bit(alignment) && alignment <= largest) return alignment;
  }
  throw CheckpointError(fmt::format("{}: general.alignment: found {}, expected a power of two up to {}", file.string(),
                                    excerpt(*found), largest));
}

}  // namespace

GgufFile::GgufFile(const fs::path& path) : TensorFile(path) {
  constexpr uint32_t magic = 0x46554747, version = 3;  // "GGUF"
  HeaderReader header(file());
  if (file().size() < sizeof(magic) || header.number<uint32_t>() != magic) {
    throw CheckpointError(path.string() + ": expected a GGUF file, which begins with GGUF");
  }
  if (const auto found = header.number<uint32_t>(); found != version) {
    throw UnsupportedError(fmt::format("{}: found version {} of GGUF, supported: {}", path.string(), found, version));
  }
  const auto tensor_count = header.number<uint64_t>(), value_count = header.number<uint64_t>();
  if (tensor_count > most_tensors) {
    throw CheckpointError(
        fmt::format("{}: found {} tensors, expected at most {}", path.string(), tensor_count, most_tensors));
  }
  metadata_ = MetadataReader(header, path).read(value_count);
  const auto alignment = read_alignment(metadata_, path);
  uint64_t behind = 0;  // the tensor before
  for (uint64_t i = 0; i < tensor_count; ++i) {
    const auto name = header.text();
    const auto where = fmt::format("{}: tensor {}", path.string(), excerpt(json(name)));
    const auto [info, encoding] = read_entry(header, where);
    if (info.begin != behind) {
      throw CheckpointError(fmt::format("{}: found its data at byte {}, expected {}, behind the tensor before it",
                                        where, info.begin, behind));
    }
    behind = aligned(info.end, alignment);
    if (behind < info.end) throw CheckpointError(where + ": found its end behind 2^64 bytes");
    if (!tensors_.emplace(name, info).second) throw CheckpointError(where + " occurs twice");
    encodings_.emplace(name, encoding);
  }
  data_begin_ = aligned(header.position(), alignment);
  const auto data_size = file().size() - std::min(data_begin_, file().size());
  for (const auto& [name, info] : tensors_) {
    if (info.end <= data_size) continue;
    throw CheckpointError(fmt::format("{}: tensor {}: found {} bytes of data in the file, expected {} with this tensor",
                                      path.string(), excerpt(json(name)), data_size, info.end));
  }
}

std::string_view GgufFile::encoding(const std::string& name) const {
  info(name);
  return encodings_.at(name)->name;
}

void GgufFile::fill(const std::string& name, const TensorInfo& info, std::span<std::byte> memory) const {
  const auto& encoding = *encodings_.at(name);
  if (encoding.dequantize == nullptr) return file().read(data_begin_ + info.begin, memory);
  constexpr size_t at_once = 256;  // blocks
  std::vector<std::byte> blocks(at_once * static_cast<size_t>(encoding.bytes));
  auto* out = reinterpret_cast<float*>(memory.data());
  for (auto begin = info.begin; begin < info.end; begin += blocks.size()) {
    blocks.resize(std::min<uint64_t>(blocks.size(), info.end - begin));
    file().read(data_begin_ + begin, blocks);
    const auto* in = reinterpret_cast<const Byte*>(blocks.data());
    for (size_t at = 0; at < blocks.size(); at += static_cast<size_t>(encoding.bytes), out += encoding.numbers) {
      encoding.dequantize(in + at, out);
    }
  }
}

std::optional<fs::path> gguf_file(const fs::path& path) {
  constexpr std::string_view extension = ".gguf";
  std::error_code unreadable;  // then it is not there for us
  if (is_regular_file(path, unreadable)) return path.extension() == extension ? std::optional(path) : std::nullopt;
  std::vector<fs::path> found;
  for (fs::directory_iterator entry(path, unreadable), end; !unreadable && entry != end; entry.increment(unreadable)) {
    if (entry->path().extension() == extension) found.push_back(entry->path());
  }
  if (found.size() > 1) {
    std::ranges::sort(found);
    throw CheckpointError(fmt::format("{}: found {} GGUF files ({}, {}{}), expected one: name it", path.string(),
                                      found.size(), found[0].filename().string(), found[1].filename().string(),
                                      found.size() > 2 ? ", ..." : ""));
  }
  return found.empty() ? std::nullopt : std::optional(found.front());
}

std::vector<int64_t> gguf_rotary_rows(int64_t heads, int64_t head_size) {
  const auto half_size = head_size / 2;
  std::vector<int64_t> rows;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t row = 0; row < head_size; ++row) {
      rows.push_back(head * head_size + row % half_size * 2 + row / half_size);
    }
  }
  return rows;
}

}  // namespace compression
