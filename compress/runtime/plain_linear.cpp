#include "compress/runtime/plain_linear.h"

#include <algorithm>
#include <cmath>

namespace compression::runtime {

using kernels::LinearWeight;

namespace {

/// A part's shape in a file of the runtime.
std::vector<int64_t> shape_in_file(const StoredPart& part, MatrixOf what) {
  if (what == MatrixOf::table || part.name == "weight") return part.shape;
  return {part.shape.front()};
}

HostTensor float_tensor(const float* from, int64_t count) {
  auto [tensor, memory] = new_tensor(DType::float32, {count});
  std::copy_n(from, count, reinterpret_cast<float*>(memory));
  return tensor;
}

}  // namespace

StoredMatrix read_matrix(const StateReader& reader, const std::string& name, int64_t rows, int64_t columns,
                         MatrixOf what) {
  const auto type = reader.tensor(name + ".weight", {rows, columns}).dtype;
  const auto format = format_of(type);
  if (!format) refuse("{}.weight: found {}, expected Char, BFloat16, Half or Float", name, type_name(type));
  StoredMatrix matrix{.format = *format, .parts = {}};
  for (const auto& part : storage_of(*format).parts(rows, columns)) {
    matrix.parts.push_back(
        reader.of_type(fmt::format("{}.{}", name, part.name), shape_in_file(part, what), part.dtype));
    matrix.parts.back().shape = part.shape;
  }
  return matrix;
}

void write_matrix(std::map<std::string, HostTensor>& tensors, const std::string& name, const StoredMatrix& matrix,
                  MatrixOf what) {
  size_t i = 0;
  for (const auto& part : storage_of(matrix.format).parts(matrix.rows(), matrix.columns())) {
    auto& tensor = tensors[fmt::format("{}.{}", name, part.name)] = matrix.parts[i++];
    tensor.shape = shape_in_file(part, what);
  }
}

PlainLinear PlainLinear::rows(int64_t first, int64_t last) const {
  return {weight.rows(first, last), StoredMatrix{.parts = {bias}}.rows(first, last).parts.front(), input_scale};
}

PlainLinear read_linear(const StateReader& reader, const std::string& name, int64_t out, int64_t in) {
  PlainLinear linear{read_matrix(reader, name, out, in, MatrixOf::linear), reader.floats(name + ".bias", {out})};
  if (linear.weight.format == WeightFormat::int8 && reader.has(name + ".input_scale")) {
    linear.input_scale = reader.floats(name + ".input_scale", {1}).as<float>()[0];
    if (!std::isfinite(linear.input_scale) || linear.input_scale <= 0.0f) {
      refuse("{}.input_scale: found {}, expected a finite number above 0", name, linear.input_scale);
    }
  }
  return linear;
}

void write_linear(std::map<std::string, HostTensor>& tensors, const std::string& name, const PlainLinear& linear) {
  write_matrix(tensors, name, linear.weight, MatrixOf::linear);
  tensors[name + ".bias"] = linear.bias;
  if (linear.input_scale > 0.0f) tensors[name + ".input_scale"] = float_tensor(&linear.input_scale, 1);
}

PlainLinear joined(const std::string& name, std::array<PlainLinear, 3> parts, int64_t part) {
  const auto& first = parts[0];
  const bool alike =
      std::ranges::all_of(parts, [&](const PlainLinear& each) { return each.weight.format == first.weight.format; });
  for (const auto& each : parts) {
    if (alike && each.input_scale != first.input_scale) {
      refuse("{}: query, key and value read one input, but have the input scales {}, {} and {}; expected the same",
             name, parts[0].input_scale, parts[1].input_scale, parts[2].input_scale);
    }
  }
  auto [bias, biases] = new_tensor(DType::float32, {static_cast<int64_t>(parts.size()) * part});
  std::vector<StoredMatrix> weights;
  for (size_t p = 0; p < parts.size(); ++p) {
    weights.push_back(parts[p].weight);
    const auto row = static_cast<int64_t>(p) * part;
    std::copy_n(parts[p].bias.as<float>(), parts[p].bias.count(), reinterpret_cast<float*>(biases) + row);
  }
  return {stacked(std::move(weights), part), bias, alike ? first.input_scale : 0.0f};
}

LinearWeight packed(const PlainLinear& linear) {
  auto result = storage_of(linear.weight.format).pack(linear.weight, linear.bias.as<float>());
  result.input_scale = linear.input_scale;
  return result;
}

PlainLinear unpacked(const LinearWeight& weight) {
  return {storage_of(weight.stored).unpack(weight), float_tensor(weight.bias.data(), weight.out), weight.input_scale};
}

}  // namespace compression::runtime
