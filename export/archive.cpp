#include "export/archive.h"

#include <caffe2/serialize/inline_container.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "compress/base/error.h"  // CheckpointError
#include "compress/base/file.h"   // InputFile
#include "compress/base/limits.h"

namespace compression::exporter {
namespace {

namespace fs = std::filesystem;
using caffe2::serialize::PyTorchStreamReader;

constexpr size_t highest_rank = 64;  // as in LibTorch
constexpr size_t most_values = 1 << 20;
constexpr size_t most_containers = 1 << 14;  // LibTorch frees what is in each other by recursion

/// Bytes of an element of torch.NAMEStorage.
std::optional<int64_t> item_size(std::string_view storage) {
  constexpr std::array<std::pair<std::string_view, int64_t>, 13> sizes{{{"Float", 4},
                                                                        {"Half", 2},
                                                                        {"BFloat16", 2},
                                                                        {"Double", 8},
                                                                        {"Long", 8},
                                                                        {"Int", 4},
                                                                        {"Short", 2},
                                                                        {"Char", 1},
                                                                        {"Byte", 1},
                                                                        {"Bool", 1},
                                                                        {"QInt8", 1},
                                                                        {"QUInt8", 1},
                                                                        {"QInt32", 4}}};
  constexpr std::string_view module = "torch\n", suffix = "Storage";
  if (!storage.starts_with(module) || !storage.ends_with(suffix)) return std::nullopt;
  const auto name = storage.substr(module.size(), storage.size() - module.size() - suffix.size());
  const auto found = std::ranges::find(sizes, name, &std::pair<std::string_view, int64_t>::first);
  return found == sizes.end() ? std::nullopt : std::optional(found->second);
}

/// What of a value of a pickle matters.
struct Value {
  enum class Kind { other, integer, text, global, tuple, storage, tensor };
  Kind kind = Kind::other;
  int64_t number = 0;                               // of an integer; of a storage or tensor, its elements
  std::string_view text;                            // of a text; "module\nname" of a global
  std::shared_ptr<const std::vector<Value>> items;  // of a tuple; the sizes of a tensor
  size_t depth = 0;                                 // of tuples in a tuple

  size_t count() const { return items ? items->size() : 0; }
};
using Kind = Value::Kind;

/// Runs the instructions of a pickle of protocol 2, those that torch.jit.save writes, as LibTorch's Unpickler does, for
/// what they say of storages and tensors.
class PickleReader {
 public:
  PickleReader(std::string_view pickle, const Records& records, const std::string& where)
      : bytes_(pickle.size()), rest_(pickle), records_(records), where_(where) {}

  void run() {
    while (step()) {
    }
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const { throw CheckpointError(where_ + ": " + problem); }
  [[noreturn]] void refuse() const { fail("found bytes that are no pickle of a TorchScript file"); }

  std::string_view take(size_t size) {
    if (size > rest_.size()) refuse();
    const auto taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  template <class Number>
  Number read() {
    Number number;
    std::memcpy(&number, take(sizeof(number)).data(), sizeof(number));
    return number;
  }
  std::string_view line() {
    const auto end = rest_.find('\n');
    if (end == std::string_view::npos) refuse();
    const auto text = take(end);
    take(1);
    return text;
  }

  void push(Value value) {
    if (stack_.size() >= most_values) refuse();
    stack_.push_back(std::move(value));
  }
  /// A list, dict or object, which may get members later.
  void push_container() {
    if (++containers_ > most_containers)
      fail(fmt::format("found more than {} lists, dicts and objects", most_containers));
    push({});
  }
  void push_number(int64_t number) { push({.kind = Kind::integer, .number = number}); }
  Value pop() {
    if (stack_.empty() || (!marks_.empty() && stack_.size() <= marks_.back())) refuse();
    auto value = std::move(stack_.back());
    stack_.pop_back();
    return value;
  }
  std::vector<Value> pop_to_mark() {
    if (marks_.empty()) refuse();
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    marks_.pop_back();
    std::vector<Value> values(std::make_move_iterator(begin), std::make_move_iterator(stack_.end()));
    stack_.erase(begin, stack_.end());
    return values;
  }
  void push_tuple(std::vector<Value> items) {
    size_t depth = 1;
    for (const auto& item : items) depth = std::max(depth, item.depth + 1);
    if (depth > limits::json_depth) fail(fmt::format("found tuples in tuples, more than {} deep", limits::json_depth));
    push({.kind = Kind::tuple, .items = std::make_shared<const std::vector<Value>>(std::move(items)), .depth = depth});
  }
  void pop_tuple(size_t count) {
    std::vector<Value> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push_tuple(std::move(items));
  }
  void keep(uint32_t place) {
    if (place >= bytes_ || memo_.size() >= most_values) refuse();  // LibTorch has room for all places below
    auto top = pop();
    memo_[place] = top;
    push(std::move(top));
  }
  void push_kept(uint32_t place) {
    const auto found = memo_.find(place);
    if (found == memo_.end()) refuse();
    push(found->second);
  }

  bool step() {
    switch (static_cast<unsigned char>(take(1).front())) {
      case 0x80:  // PROTO
        take(1);
        return true;
      case '.':
        return false;
      case '(':
        marks_.push_back(stack_.size());
        return true;
      case ']':
      case '}':
        push_container();
        return true;
      case 'N':
      case 0x88:  // NEWTRUE
      case 0x89:
        push({});
        return true;
      case 'G':  // BINFLOAT
        take(8);
        push({});
        return true;
      case 'K':
        push_number(read<uint8_t>());
        return true;
      case 'M':
        push_number(read<uint16_t>());
        return true;
      case 'J':
        push_number(read<int32_t>());
        return true;
      case 0x8a:  // LONG1
        if (read<uint8_t>() != sizeof(int64_t)) refuse();
        push_number(read<int64_t>());
        return true;
      case 'X': {
        const auto size = read<uint32_t>();
        push({.kind = Kind::text, .text = take(size)});
        return true;
      }
      case 'c': {
        const auto* begin = rest_.data();
        line();
        line();
        push({.kind = Kind::global, .text = {begin, static_cast<size_t>(rest_.data() - begin) - 1}});
        return true;
      }
      case ')':
        push_tuple({});
        return true;
      case 't':
        push_tuple(pop_to_mark());
        return true;
      case 0x85:  // TUPLE1
      case 0x86:
      case 0x87:
        pop_tuple(static_cast<unsigned char>(rest_.data()[-1]) - 0x84u);
        return true;
      case 'q':
        keep(read<uint8_t>());
        return true;
      case 'r':
        keep(read<uint32_t>());
        return true;
      case 'h':
        push_kept(read<uint8_t>());
        return true;
      case 'j':
        push_kept(read<uint32_t>());
        return true;
      case 'e':  // APPENDS, SETITEMS: the list or dict stays
      case 'u':
        pop_to_mark();
        push(pop());
        return true;
      case 's':
        pop();
        [[fallthrough]];
      case 'a':
      case 'b':  // BUILD
        pop();
        push(pop());
        return true;
      case 'l':  // LIST, DICT
      case 'd':
        pop_to_mark();
        push_container();
        return true;
      case 0x81:  // NEWOBJ
        pop();
        pop();
        push_container();
        return true;
      case 'Q':
        push(storage(pop()));
        return true;
      case 'R': {
        const auto arguments = pop(), function = pop();
        push(result(function, arguments));
        return true;
      }
      default:
        refuse();
    }
  }

  /// ("storage", torch.FloatStorage, key, device, elements)
  Value storage(const Value& id) const {
    if (id.kind != Kind::tuple || id.count() != 5) refuse();
    const auto& items = *id.items;
    if (items[0].text != "storage" || items[1].kind != Kind::global || items[2].kind != Kind::text ||
        items[4].kind != Kind::integer) {
      refuse();
    }
    const auto size = item_size(items[1].text);
    if (!size) fail("found a storage of another type than numbers");
    const auto elements = items[4].number, bytes = records_.size(items[2].text);
    int64_t needed = 0;
    if (elements < 0 || __builtin_mul_overflow(elements, *size, &needed) || (needed > 0 && bytes < needed)) {
      fail(fmt::format("storage {}: found {} bytes, expected {} for its {} elements", items[2].text, bytes,
                       elements < 0 ? "some" : std::to_string(needed), elements));
    }
    return {.kind = Kind::storage, .number = elements};
  }

  Value result(const Value& function, const Value& arguments) const {
    if (function.kind != Kind::global || arguments.kind != Kind::tuple) refuse();
    if (function.text == "torch._utils\n_rebuild_tensor_v2") return tensor(*arguments.items);
    if (function.text == "torch._utils\n_rebuild_qtensor") {
      auto value = tensor(*arguments.items);
      check_quantizer(*arguments.items, value);
      return value;
    }
    if (function.text.starts_with("torch._utils\n") && function.text.ends_with("_tensor")) {
      fail("found a tensor that is sparse, or of a kind that is not known");
    }
    return {};
  }

  /// (storage, offset, sizes, strides, ...)
  Value tensor(const std::vector<Value>& arguments) const {
    const auto is_list = [](const Value& value) {
      return value.kind == Kind::tuple && std::ranges::all_of(*value.items, [](const Value& item) {
               return item.kind == Kind::integer && item.number >= 0;
             });
    };
    if (arguments.size() < 4 || arguments[0].kind != Kind::storage || arguments[1].kind != Kind::integer ||
        !is_list(arguments[2]) || !is_list(arguments[3]) || arguments[2].count() != arguments[3].count() ||
        arguments[2].count() > highest_rank) {
      refuse();
    }
    const auto &sizes = *arguments[2].items, &strides = *arguments[3].items;
    int64_t elements = 1, last = arguments[1].number;
    bool too_large = last < 0, is_empty = false;
    for (size_t i = 0; i < sizes.size(); ++i) {
      int64_t step = 0;
      is_empty = is_empty || sizes[i].number == 0;
      too_large = too_large || __builtin_mul_overflow(elements, std::max<int64_t>(sizes[i].number, 1), &elements) ||
                  __builtin_mul_overflow(std::max<int64_t>(sizes[i].number, 1) - 1, strides[i].number, &step) ||
                  __builtin_add_overflow(last, step, &last);
    }
    if (too_large || elements > limits::parameters || (!is_empty && last >= arguments[0].number)) {
      fail(fmt::format("found a tensor that does not lie in its storage of {} elements", arguments[0].number));
    }
    return {.kind = Kind::tensor, .number = is_empty ? 0 : elements, .items = arguments[2].items};
  }

  /// Of a scale and zero point a channel there are as many as channels.
  void check_quantizer(const std::vector<Value>& arguments, const Value& tensor) const {
    if (arguments.size() < 5 || arguments[4].kind != Kind::tuple || arguments[4].count() < 3) refuse();
    const auto& quantizer = *arguments[4].items;
    if (quantizer[0].kind != Kind::global) refuse();
    if (quantizer[0].text == "torch\nper_tensor_affine") return;
    const bool fits = quantizer.size() >= 4 && quantizer[1].kind == Kind::tensor && quantizer[2].kind == Kind::tensor &&
                      quantizer[3].kind == Kind::integer && quantizer[3].number >= 0 &&
                      static_cast<size_t>(quantizer[3].number) < tensor.count();
    const auto channels = fits ? (*tensor.items)[static_cast<size_t>(quantizer[3].number)].number : 0;
    if (!fits || quantizer[1].number != channels || quantizer[2].number != channels) {
      fail("found a quantized tensor without a scale and a zero point for each of its channels");
    }
  }

  size_t bytes_;
  std::string_view rest_;
  const Records& records_;
  const std::string& where_;
  std::vector<Value> stack_;
  std::vector<size_t> marks_;  // sizes of the stack
  size_t containers_ = 0;
  std::unordered_map<uint32_t, Value> memo_;
};

/// Those of one archive of the file: data/0, data/1, ...
class ArchiveRecords : public Records {
 public:
  ArchiveRecords(PyTorchStreamReader& reader, std::string folder) : reader_(reader), folder_(std::move(folder)) {}

  int64_t size(std::string_view key) const override {
    const auto name = folder_ + std::string(key);
    return reader_.hasRecord(name) ? static_cast<int64_t>(reader_.getRecordSize(name)) : -1;
  }

 private:
  PyTorchStreamReader& reader_;
  std::string folder_;
};

std::string record_text(PyTorchStreamReader& reader, const std::string& name) {
  const auto [data, size] = reader.getRecord(name);
  return {static_cast<const char*>(data.get()), size};
}

/// What LibTorch's parser does by recursion, for each comment, bracket, block, operator and branch, has bounds: it ends
/// the process where its stack does.
void check_source(std::string_view source, const std::string& where) {
  size_t comments = 0, branches = 0, depth = 0, operators = 0, indentation = 0;
  char quote = 0;
  bool line_begins = true;
  const auto require = [&](size_t found, size_t most, const char* what) {
    if (found > most)
      throw CheckpointError(fmt::format("{}: found more than {} {}, expected at most that", where, most, what));
  };
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  for (size_t i = 0; i < source.size(); ++i) {
    const char c = source[i];
    if (c == '\n' && depth == 0) {
      line_begins = true, operators = 0, indentation = 0, quote = 0;
      continue;
    }
    if (quote != 0) {
      if (c == '\\') ++i;
      if (c == quote) quote = 0;
      continue;
    }
    if (line_begins && c == ' ') {
      require(++indentation, 2 * limits::script_depth, "spaces before a line");
      continue;
    }
    line_begins = false;
    if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '#') {
      require(++comments, limits::script_comments, "comments");
      while (i + 1 < source.size() && source[i + 1] != '\n') ++i;
    } else if (c == '(' || c == '[' || c == '{') {
      require(++depth, limits::script_depth, "brackets in each other");
    } else if (c == ')' || c == ']' || c == '}') {
      depth -= depth > 0 ? 1 : 0;
    } else if (is_word(c)) {
      const auto begin = i;
      while (i + 1 < source.size() && is_word(source[i + 1])) ++i;
      const auto word = source.substr(begin, i + 1 - begin);
      if (word == "elif") require(++branches, limits::script_comments, "branches");
      if (word == "if" || word == "not" || word == "and" || word == "or" || word == "lambda") ++operators;
    } else if (c != ' ' && c != ',' && c != '\n' && c != ':' && c != '=') {
      ++operators;
    }
    require(operators, limits::script_operators, "operators of a line");
  }
}

/// No record may need more memory than the file has bytes, but for source text, which is compressed.
void check_sizes(PyTorchStreamReader& reader, uint64_t file_bytes, const std::string& where) {
  uint64_t stored = 0, others = 0;
  for (const auto& name : reader.getAllRecords()) {
    const uint64_t size = reader.getRecordSize(name);
    const auto require = [&](bool fits, uint64_t found, uint64_t most, const char* of = "") {
      if (fits) return;
      throw CheckpointError(
          fmt::format("{}: record {}: found {} bytes, expected at most {}{}", where, name, found, most, of));
    };
    if (name.starts_with("data/") || name.starts_with("constants/")) {
      require(size <= file_bytes - stored, size, file_bytes);
      stored += size;
    } else {
      require(size <= limits::pickle_bytes, size, limits::pickle_bytes);
      others += size;
      require(others <= limits::pickles_bytes, others, limits::pickles_bytes, " in all that are no tensor's");
    }
  }
}

}  // namespace

void check_pickle(std::string_view pickle, const Records& records, const std::string& where) {
  PickleReader(pickle, records, where).run();
}

void check_archive(const fs::path& file) {
  uint64_t bytes = 0;
  {
    const InputFile input(file);
    bytes = input.size();
    std::array<std::byte, 4> magic{};
    if (bytes >= magic.size()) input.read(0, magic);
    if (std::memcmp(magic.data(), "PK\3\4", magic.size()) != 0) {
      throw CheckpointError(file.string() + ": not a TorchScript file that can be read: found no ZIP archive");
    }
  }
  PyTorchStreamReader reader(file.string());
  check_sizes(reader, bytes, file.string());
  for (const auto& name : reader.getAllRecords()) {
    if (name.starts_with("code/") && name.ends_with(".py")) {
      check_source(record_text(reader, name), file.string() + ": " + name);
    }
  }
  if (!reader.hasRecord("constants.pkl")) {
    throw CheckpointError(file.string() +
                          ": not a TorchScript file: found no constants.pkl, as in what torch.save writes");
  }
  for (const std::string archive : {"constants", "data"}) {
    const auto name = archive + ".pkl";
    if (!reader.hasRecord(name)) continue;
    check_pickle(record_text(reader, name), ArchiveRecords(reader, archive + "/"), file.string() + ": " + name);
  }
}

}  // namespace compression::exporter
