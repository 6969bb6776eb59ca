#include "compress/runtime/plain_linear.h"

#include <algorithm>
#include <cmath>

#include "compress/kernels/threads.h"  // divide_up

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
  auto some = *this;
  some.weight = weight.rows(first, last);
  if (bias.defined()) some.bias = float_tensor(bias.as<float>() + first, last - first);
  return some;
}

PlainLinear read_linear(const StateReader& reader, const std::string& name, int64_t out, int64_t in) {
  PlainLinear linear{.weight = read_matrix(reader, name, out, in, MatrixOf::linear), .bias = {}};
  if (reader.has(name + ".bias")) linear.bias = reader.floats(name + ".bias", {out});
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
  if (linear.bias.defined()) tensors[name + ".bias"] = linear.bias;
  if (linear.input_scale > 0.0f) tensors[name + ".input_scale"] = float_tensor(&linear.input_scale, 1);
}

PlainLinear joined(const std::string& names, const std::vector<PlainLinear>& parts, int64_t panel) {
  const auto& first = parts[0];
  const bool alike =
      std::ranges::all_of(parts, [&](const PlainLinear& each) { return each.weight.format == first.weight.format; });
  std::vector<StoredMatrix> weights;
  for (const auto& each : parts) {
    weights.push_back(each.weight);
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
  for (const auto& each : parts) {
    if (each.bias.defined()) {
      std::copy_n(each.bias.as<float>(), each.bias.count(), reinterpret_cast<float*>(biases) + row);
    }
    row += kernels::divide_up(each.weight.rows(), panel) * panel;
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
