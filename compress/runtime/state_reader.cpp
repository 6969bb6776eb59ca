#include "compress/runtime/state_reader.h"

#include <fmt/ranges.h>

#include <cmath>

namespace compression::runtime {

std::string_view type_name(DType type) {
  switch (type) {
    case DType::float32:
      return "Float";
    case DType::float64:
      return "Double";
    case DType::float16:
      return "Half";
    case DType::bfloat16:
      return "BFloat16";
    case DType::float8_e4m3:
      return "Float8_e4m3fn";
    case DType::float8_e5m2:
      return "Float8_e5m2";
    case DType::int8:
      return "Char";
    case DType::uint8:
      return "Byte";
    case DType::int16:
      return "Short";
    case DType::uint16:
      return "UInt16";
    case DType::int32:
      return "Int";
    case DType::uint32:
      return "UInt32";
    case DType::int64:
      return "Long";
    case DType::uint64:
      return "UInt64";
    case DType::boolean:
      return "Bool";
  }
  return "";
}

double StateReader::number(const std::string& name) const {
  const auto found = state_.numbers.find(name);
  if (found == state_.numbers.end()) refuse("the number {} is missing", name);
  return found->second;
}

double StateReader::real(const std::string& name, double least, double most) const {
  const double found = number(name);
  if (!(found >= least && found <= most)) {
    refuse("{}: found {}, expected a number from {} to {}", name, found, least, most);
  }
  return found;
}

int64_t StateReader::integer(const std::string& name, int64_t least, int64_t most) const {
  const double found = number(name);
  if (!(found >= static_cast<double>(least) && found <= static_cast<double>(most) && std::floor(found) == found)) {
    refuse("{}: found {}, expected an integer from {} to {}", name, found, least, most);
  }
  return static_cast<int64_t>(found);
}

bool StateReader::flag(const std::string& name) const {
  return has_number(name) && integer(name, 0, 1) == 1;
}

HostTensor StateReader::of_type(const std::string& name, const std::vector<int64_t>& shape, DType type) const {
  const auto found = state_.tensors.find(name);
  if (found == state_.tensors.end()) refuse("the tensor {} is missing", name);
  const auto& tensor = found->second;
  if (tensor.shape != shape) {
    refuse("{}: found [{}], expected [{}]", name, fmt::join(tensor.shape, ", "), fmt::join(shape, ", "));
  }
  if (tensor.dtype != type) refuse("{}: found {}, expected {}", name, type_name(tensor.dtype), type_name(type));
  return tensor.read();
}

HostTensor StateReader::floats(const std::string& name, const std::vector<int64_t>& shape) const {
  return of_type(name, shape, DType::float32);
}

PartOf StateReader::parts(const std::string& module) const {
  return [this, module](std::string_view part) {
    const auto found = state_.tensors.find(fmt::format("{}.{}", module, part));
    return found == state_.tensors.end() ? LazyTensor() : found->second;
  };
}

const Storage& StateReader::kind(const std::string& module) const {
  if (const auto* found = kind_of(parts(module))) return *found;
  const auto weight = parts(module)("weight");
  if (!weight.defined() || weight.shape.size() != 2) refuse("the matrix {} is missing", module);
  std::vector<std::string_view> types;
  for (const auto* storage : storages()) types.push_back(type_name(storage->parts(1, 1).front().dtype));
  refuse("{}.weight: found {}, expected one of {}", module, type_name(weight.dtype), fmt::join(types, ", "));
}

MatrixSize StateReader::matrix_size(const std::string& module) const {
  return kind(module).matrix_size(parts(module)).value();
}

int64_t StateReader::rows(const std::string& module, int64_t least) const {
  const auto found = matrix_size(module).rows;
  if (found < least) refuse("{}: found {} rows, expected {} or more", module, found, least);
  return found;
}

void StateReader::drop(const std::string& module) {
  const auto size = matrix_size(module);
  for (const auto& part : kind(module).parts(size.rows, size.columns)) {
    state_.tensors.erase(fmt::format("{}.{}", module, part.name));
  }
}

}  // namespace compression::runtime
