#include "compress/runtime/plain_linear.h"

#include <algorithm>
#include <cmath>

#include "compress/kernels/threads.h"  // divide_up

namespace compression::runtime {

using kernels::LinearWeight;

namespace {

HostTensor float_tensor(const float* from, int64_t count) {
  auto [tensor, memory] = new_tensor(DType::float32, {count});
  std::copy_n(from, count, reinterpret_cast<float*>(memory));
  return tensor;
}

}  // namespace

std::vector<StoredPart> parts_in_state(const Storage& kind, const MatrixSize& size, MatrixOf what) {
  auto parts = kind.parts(size.rows, size.columns);
  for (size_t i = 1; i < parts.size() && what == MatrixOf::linear; ++i) {
    if (auto& shape = parts[i].shape; shape.size() == 2 && shape[1] == 1) shape.pop_back();
  }
  return parts;
}

StoredMatrix read_matrix(const StateReader& reader, const std::string& name, int64_t rows, int64_t columns,
                         MatrixOf what) {
  const auto& kind = reader.kind(name);
  StoredMatrix matrix{.format = kind.format(), .size = {rows, columns}};
  for (const auto& part : parts_in_state(kind, matrix.size, what)) {
    matrix.parts.push_back(reader.of_type(fmt::format("{}.{}", name, part.name), part.shape, part.dtype));
  }
  size_t i = 0;
  for (auto& part : kind.parts(rows, columns)) matrix.parts[i++].shape = std::move(part.shape);
  return matrix;
}

void write_matrix(EncoderState& state, const std::string& name, const StoredMatrix& matrix, MatrixOf what) {
  size_t i = 0;
  for (const auto& part : parts_in_state(storage_of(matrix.format), matrix.size, what)) {
    auto tensor = matrix.parts[i++];
    tensor.shape = part.shape;
    state.tensors[fmt::format("{}.{}", name, part.name)] = std::move(tensor);
  }
}

PlainLinear PlainLinear::rows(int64_t first, int64_t last) const {
  auto some = *this;
  some.weight = weight.rows(first, last);
  if (bias.defined()) some.bias = float_tensor(bias.as<float>() + first, last - first);
  return some;
}

PlainLinear read_linear(const StateReader& reader, const std::string& name, int64_t out, int64_t in) {
  PlainLinear linear{.weight = read_matrix(reader, name, out, in, MatrixOf::linear), .bias = {}};
  if (reader.has(name + ".bias")) linear.bias = reader.floats(name + ".bias", {out});
  if (storage_of(linear.weight.format).quantizes_inputs() && reader.has(name + ".input_scale")) {
    linear.input_scale = reader.floats(name + ".input_scale", {1}).as<float>()[0];
    if (!std::isfinite(linear.input_scale) || linear.input_scale <= 0.0f) {
      refuse("{}.input_scale: found {}, expected a finite number above 0", name, linear.input_scale);
    }
  }
  return linear;
}

void write_linear(EncoderState& state, const std::string& name, const PlainLinear& linear) {
  write_matrix(state, name, linear.weight, MatrixOf::linear);
  if (linear.bias.defined()) state.tensors[name + ".bias"] = linear.bias;
  if (linear.input_scale > 0.0f) state.tensors[name + ".input_scale"] = float_tensor(&linear.input_scale, 1);
}

PlainLinear joined(const std::string& names, std::vector<PlainLinear> parts, int64_t panel) {
  const auto& first = parts[0];
  const auto format = first.weight.format;
  const bool alike = std::ranges::all_of(parts, [&](const PlainLinear& each) { return each.weight.format == format; });
  std::vector<StoredMatrix> weights;
  std::vector<int64_t> rows;
  for (auto& each : parts) {
    rows.push_back(kernels::divide_up(each.weight.rows(), panel) * panel);
    weights.push_back(std::move(each.weight));
    if (!alike || each.input_scale == first.input_scale) continue;
    refuse("{} read one input, but have the input scales {} and {}; expected the same", names, first.input_scale,
           each.input_scale);
  }
  PlainLinear all{
      .weight = stacked(std::move(weights), panel), .bias = {}, .input_scale = alike ? first.input_scale : 0.0f};
  if (std::ranges::none_of(parts, [](const PlainLinear& each) { return each.bias.defined(); })) return all;
  char* biases = nullptr;
  std::tie(all.bias, biases) = new_tensor(DType::float32, {all.weight.rows()});
  int64_t row = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& bias = parts[i].bias;
    if (bias.defined()) std::copy_n(bias.as<float>(), bias.count(), reinterpret_cast<float*>(biases) + row);
    row += rows[i];
  }
  return all;
}

LinearWeight packed(const PlainLinear& linear) {
  auto result = storage_of(linear.weight.format).pack(linear.weight, linear.bias.as<float>());
  result.has_bias = linear.bias.defined();
  result.input_scale = linear.input_scale;
  return result;
}

PlainLinear unpacked(const LinearWeight& weight) {
  PlainLinear linear{.weight = storage_of(weight.stored).unpack(weight), .bias = {}, .input_scale = weight.input_scale};
  if (weight.has_bias) linear.bias = float_tensor(weight.bias.data(), weight.out);
  return linear;
}

}  // namespace compression::runtime
