#include "compress/runtime/plain_linear.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>

#include "compress/kernels/bfloat16_choice.h"  // bfloat16_choice
#include "compress/kernels/threads.h"          // divide_up

namespace compression::runtime {

using kernels::LinearWeight;
using kernels::Number;
using kernels::Stored;

namespace {

/// A part of a tensor's rows, which keeps all of it alive.
HostTensor some_rows(const HostTensor& tensor, int64_t first, int64_t last) {
  if (!tensor.defined()) return {};
  auto part = tensor;
  part.shape.front() = last - first;
  const auto row_bytes = tensor.size(0) == 0 ? 0 : tensor.bytes() / tensor.size(0);
  part.data = std::shared_ptr<const void>(tensor.data, tensor.as<char>() + first * row_bytes);
  return part;
}

DType type_of(Stored stored) {
  switch (stored) {
    case Stored::int8:
      return DType::int8;
    case Stored::bfloat16:
      return DType::bfloat16;
    case Stored::float16:
      return DType::float16;
    case Stored::float32:
      break;
  }
  return DType::float32;
}

Stored stored_as(DType type) {
  return type == DType::int8       ? Stored::int8
         : type == DType::bfloat16 ? Stored::bfloat16
         : type == DType::float16  ? Stored::float16
                                   : Stored::float32;
}

/// What a weight of so many inputs is multiplied as here: itself, or wider.
Number number_for(Stored stored, int64_t in) {
  switch (stored) {
    case Stored::int8:
      return Number::int8;
    case Stored::bfloat16:
      return kernels::bfloat16_choice(in).number;
    case Stored::float16:
    case Stored::float32:
      break;
  }
  return Number::float32;
}

/// The weight in float32, its scale multiplied in.
HostTensor widened(const PlainLinear& linear) {
  const auto out = linear.weight.size(0), in = linear.weight.size(1);
  auto [wide, memory] = new_tensor(DType::float32, {out, in});
  auto* to = reinterpret_cast<float*>(memory);
  std::fill_n(to, out * in, -0.0f);  // to which every number may be added, and stays what it is
  const auto stored = stored_as(linear.weight.dtype);
  for (int64_t o = 0; o < out; ++o) {
    const auto* row = linear.weight.as<char>() + o * in * size_of(linear.weight.dtype);
    kernels::add_row(stored, row, linear.scale.defined() ? linear.scale.as<float>()[o] : 1.0f, in, to + o * in);
  }
  return wide;
}

/// A number that float16 has.
uint16_t half_of(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = bits >> 16 & 0x8000, fraction = bits >> 13 & 0x3FF, exponent = bits >> 23 & 0xFF;
  if (exponent == 0xFF) return static_cast<uint16_t>(sign | 0x7C00 | fraction);
  if (exponent > 112) return static_cast<uint16_t>(sign | (exponent - 112) << 10 | fraction);
  return static_cast<uint16_t>(sign | static_cast<uint32_t>(std::ldexp(std::abs(value), 24)));  // multiples of 2^-24
}

/// Numbers of 16 bits that were widened.
HostTensor narrowed(const HostTensor& wide, DType type) {
  auto [narrow, memory] = new_tensor(type, wide.shape);
  std::transform(wide.as<float>(), wide.as<float>() + wide.count(), reinterpret_cast<uint16_t*>(memory), [&](float x) {
    return type == DType::float16 ? half_of(x) : static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);
  });
  return narrow;
}

HostTensor float_tensor(const float* from, int64_t count) {
  auto [tensor, memory] = new_tensor(DType::float32, {count});
  std::copy_n(from, count, reinterpret_cast<float*>(memory));
  return tensor;
}

}  // namespace

std::pair<HostTensor, char*> new_tensor(DType type, std::vector<int64_t> shape) {
  HostTensor tensor{type, std::move(shape)};
  const auto words = std::make_shared<uint64_t[]>(static_cast<size_t>(tensor.bytes() / 8 + 1));
  tensor.data = words;
  return {std::move(tensor), reinterpret_cast<char*>(words.get())};
}

Stored stored_as(const std::string& name, DType type) {
  const auto stored = stored_as(type);
  if (type_of(stored) != type) {
    refuse("{}.weight: found {}, expected Char, BFloat16, Half or Float", name, type_name(type));
  }
  return stored;
}

PlainLinear PlainLinear::rows(int64_t first, int64_t last) const {
  return {some_rows(weight, first, last), some_rows(scale, first, last), some_rows(bias, first, last), input_scale};
}

PlainLinear read_linear(const StateReader& reader, const std::string& name, int64_t out, int64_t in) {
  PlainLinear linear{.weight = reader.tensor(name + ".weight", {out, in}), .scale = {}, .bias = {}};
  if (reader.has(name + ".bias")) linear.bias = reader.floats(name + ".bias", {out});
  if (stored_as(name, linear.weight.dtype) != Stored::int8) return linear;
  linear.scale = reader.floats(name + ".weight_scale", {out});
  if (reader.has(name + ".input_scale")) {
    linear.input_scale = reader.floats(name + ".input_scale", {1}).as<float>()[0];
    if (!std::isfinite(linear.input_scale) || linear.input_scale <= 0.0f) {
      refuse("{}.input_scale: found {}, expected a finite number above 0", name, linear.input_scale);
    }
  }
  return linear;
}

void write_linear(std::map<std::string, HostTensor>& tensors, const std::string& name, const PlainLinear& linear) {
  tensors[name + ".weight"] = linear.weight;
  if (linear.bias.defined()) tensors[name + ".bias"] = linear.bias;
  if (linear.scale.defined()) tensors[name + ".weight_scale"] = linear.scale;
  if (linear.input_scale > 0.0f) tensors[name + ".input_scale"] = float_tensor(&linear.input_scale, 1);
}

PlainLinear joined(const std::string& names, std::vector<PlainLinear> parts, int64_t panel) {
  const auto of_another_type = [&](const PlainLinear& each) { return each.weight.dtype != parts[0].weight.dtype; };
  if (std::ranges::any_of(parts, of_another_type)) {
    for (auto& each : parts) each = {widened(each), {}, each.bias};
  }
  const auto& first = parts[0];
  int64_t rows = 0;
  for (const auto& each : parts) {
    rows += kernels::divide_up(each.weight.size(0), panel) * panel;
    if (each.input_scale == first.input_scale) continue;
    refuse("{} read one input, but have the input scales {} and {}; expected the same", names, first.input_scale,
           each.input_scale);
  }
  auto [weight, weights] = new_tensor(first.weight.dtype, {rows, first.weight.size(1)});
  PlainLinear all{weight, {}, {}, first.input_scale};
  char *biases = nullptr, *scales = nullptr;
  if (std::ranges::any_of(parts, [](const PlainLinear& each) { return each.bias.defined(); })) {
    std::tie(all.bias, biases) = new_tensor(DType::float32, {rows});
  }
  if (first.scale.defined()) {
    std::tie(all.scale, scales) = new_tensor(DType::float32, {rows});
    std::fill_n(reinterpret_cast<float*>(scales), rows, 1.0f);
  }
  int64_t row = 0;
  for (const auto& part : parts) {
    const auto count = part.weight.size(0);
    const auto copy = [&](const HostTensor& from, char* to) {
      if (from.defined())
        std::copy_n(from.as<char>(), from.bytes(), to + row * (from.bytes() / std::max<int64_t>(count, 1)));
    };
    copy(part.weight, weights);
    copy(part.bias, biases);
    copy(part.scale, scales);
    row += kernels::divide_up(count, panel) * panel;
  }
  return all;
}

LinearWeight packed(const PlainLinear& linear) {
  const auto stored = stored_as(linear.weight.dtype);
  const auto out = linear.weight.size(0), in = linear.weight.size(1);
  const auto number = number_for(stored, in);
  const auto weight = number == Number::float32 && stored != Stored::float32 ? widened(linear) : linear.weight;
  LinearWeight result;
  kernels::pack_linear(number, weight.data.get(), linear.scale.defined() ? linear.scale.as<float>() : nullptr,
                       linear.bias.as<float>(), out, in, result);
  result.has_bias = linear.bias.defined();
  result.stored = stored;
  result.input_scale = linear.input_scale;
  return result;
}

PlainLinear unpacked(const LinearWeight& weight) {
  const auto type = type_of(weight.stored);
  const auto own = weight.number == Number::float32 ? DType::float32 : type;
  auto [values, memory] = new_tensor(own, {weight.out, weight.in});
  kernels::unpack_linear(weight, memory);
  PlainLinear linear{own == type ? values : narrowed(values, type), {}, {}, weight.input_scale};
  if (weight.has_bias) linear.bias = float_tensor(weight.bias.data(), weight.out);
  if (weight.number == Number::int8) linear.scale = float_tensor(weight.scale.data(), weight.out);
  return linear;
}

}  // namespace compression::runtime
