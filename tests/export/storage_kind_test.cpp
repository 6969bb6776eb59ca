// Kinds of storage that the library does not have: a class each, added with add_storage(), and nothing else.
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "compress/checkpoint/safetensors.h"
#include "compress/engine/engine.h"
#include "compress/ops/host_tensors.h"
#include "compress/storage/storage.h"
#include "export/encoder_state.h"
#include "export/model_script.h"
#include "quantize/convert.h"
#include "tests/support.h"

namespace compression::exporter {
namespace {

using namespace testing;

/// Integers of 4 bits, two in a byte, with a scale for each 8 columns: the least power of two with which all are from
/// -7 to 7. They are multiplied as float32.
class Int4Groups : public Storage {
 public:
  static constexpr int64_t group = 8;

  WeightFormat format() const override { return static_cast<WeightFormat>(1000); }
  std::string_view name() const override { return "int4_groups"; }

  std::vector<StoredPart> parts(int64_t rows, int64_t columns) const override {
    return {{"weight_packed", DType::uint8, {rows, (columns + 1) / 2}, 0.0f},
            {"weight_scale", DType::float32, {rows, (columns + group - 1) / group}, 1.0f}};
  }

  std::optional<MatrixSize> matrix_size(const PartOf& part) const override {
    const auto packed = part("weight_packed");
    if (!packed.defined() || packed.dtype != DType::uint8 || packed.shape.size() != 2) return std::nullopt;
    return MatrixSize{packed.shape[0], 2 * packed.shape[1]};
  }

  StoredMatrix from_floats(const float* values, int64_t rows, int64_t columns) const override {
    StoredMatrix matrix{.format = format(), .size = {rows, columns}};
    std::array<char*, 2> memory{};
    for (size_t i = 0; i < 2; ++i) {
      const auto kind = parts(rows, columns)[i];
      auto [tensor, own] = new_tensor(kind.dtype, kind.shape);
      matrix.parts.push_back(tensor);
      memory[i] = own;
    }
    auto* bytes = reinterpret_cast<uint8_t*>(memory[0]);
    auto* scales = reinterpret_cast<float*>(memory[1]);
    for (int64_t at = 0; at < rows * columns; ++at) {
      const auto row = at / columns, column = at % columns;
      auto& scale = scales[row * groups(columns) + column / group];
      if (column % group == 0) scale = scale_of(values + at, std::min(group, columns - column));
      const auto integer = static_cast<int>(std::nearbyint(values[at] / scale));
      bytes[row * (columns / 2) + column / 2] |= static_cast<uint8_t>((integer & 15) << (column % 2 * 4));
    }
    return matrix;
  }

  void add_row(const StoredMatrix& matrix, int64_t row, float* to) const override {
    const auto* bytes = matrix.parts[0].as<uint8_t>() + row * (matrix.columns() / 2);
    const auto* scales = matrix.parts[1].as<float>() + row * groups(matrix.columns());
    for (int64_t c = 0; c < matrix.columns(); ++c) {
      const int bits = bytes[c / 2] >> (c % 2 * 4) & 15;
      to[c] += scales[c / group] * static_cast<float>(bits < 8 ? bits : bits - 16);
    }
  }

  kernels::LinearWeight pack(const StoredMatrix& matrix, const float* bias) const override {
    kernels::LinearWeight result;
    kernels::pack_linear(kernels::Number::float32, to_floats(matrix).data.get(), nullptr, bias, matrix.rows(),
                         matrix.columns(), result);
    result.stored = format();
    return result;
  }

  StoredMatrix unpack(const kernels::LinearWeight& weight) const override {
    std::vector<float> values(static_cast<size_t>(weight.out * weight.in));
    kernels::unpack_linear(weight, values.data());
    return from_floats(values.data(), weight.out, weight.in);
  }

 private:
  static int64_t groups(int64_t columns) { return (columns + group - 1) / group; }

  static float scale_of(const float* values, int64_t count) {
    float largest = 0.0f, scale = 1.0f;
    for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(values[i]));
    while (largest > 7.0f * scale) scale *= 2.0f;
    while (largest > 0.0f && largest <= 3.5f * scale) scale /= 2.0f;
    return scale;
  }
};

/// float32 of which at most two in four columns are not 0, and which these are: a part beside one that float32 has too.
class TwoOfFour : public Storage {
 public:
  WeightFormat format() const override { return static_cast<WeightFormat>(1001); }
  std::string_view name() const override { return "two_of_four"; }

  std::vector<StoredPart> parts(int64_t rows, int64_t columns) const override {
    return {{"weight", DType::float32, {rows, columns}, 0.0f},
            {"weight_pattern", DType::uint8, {rows, (columns + 3) / 4}, 0.0f}};
  }

  std::optional<MatrixSize> matrix_size(const PartOf& part) const override {
    return part("weight_pattern").defined() ? dense().matrix_size(part) : std::nullopt;
  }

  StoredMatrix from_floats(const float* values, int64_t rows, int64_t columns) const override {
    std::vector<float> kept(values, values + rows * columns);
    auto [pattern, memory] = new_tensor(DType::uint8, {rows, (columns + 3) / 4});
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t first = 0; first < columns; first += 4) {
        auto* four = kept.data() + row * columns + first;
        const auto count = std::min<int64_t>(4, columns - first);
        while (count - std::count(four, four + count, 0.0f) > 2) {
          *std::min_element(four, four + count, [](float a, float b) {  // what is 0 already is out of the question
            return std::abs(a == 0.0f ? INFINITY : a) < std::abs(b == 0.0f ? INFINITY : b);
          }) = 0.0f;
        }
        for (int64_t i = 0; i < count; ++i) {
          if (four[i] != 0.0f) memory[row * ((columns + 3) / 4) + first / 4] |= static_cast<char>(1 << i);
        }
      }
    }
    auto matrix = dense().from_floats(kept.data(), rows, columns);
    matrix.format = format();
    matrix.parts.push_back(pattern);
    return matrix;
  }

  void add_row(const StoredMatrix& matrix, int64_t row, float* to) const override { dense().add_row(matrix, row, to); }

  kernels::LinearWeight pack(const StoredMatrix& matrix, const float* bias) const override {
    auto result = dense().pack(matrix, bias);
    result.stored = format();
    return result;
  }

  StoredMatrix unpack(const kernels::LinearWeight& weight) const override {
    const auto matrix = dense().unpack(weight);
    return from_floats(matrix.parts[0].as<float>(), weight.out, weight.in);
  }

 private:
  static const Storage& dense() { return storage_of(WeightFormat::float32); }
};

/// Both, which the library knows from then on.
const std::array<const Storage*, 2>& own_kinds() {
  static const Int4Groups int4;
  static const TwoOfFour sparse;
  static const auto added = [] {
    add_storage(int4);
    add_storage(sparse);
    return std::array<const Storage*, 2>{&int4, &sparse};
  }();
  return added;
}

bool same_bits(const StoredMatrix& a, const StoredMatrix& b) {
  bool same = a.format == b.format && a.size == b.size && a.parts.size() == b.parts.size();
  for (size_t i = 0; same && i < a.parts.size(); ++i) {
    same = a.parts[i].dtype == b.parts[i].dtype && a.parts[i].shape == b.parts[i].shape &&
           std::memcmp(a.parts[i].data.get(), b.parts[i].data.get(), static_cast<size_t>(a.parts[i].bytes())) == 0;
  }
  return same;
}

/// The parts by their names, as a file or a module has them.
PartOf named_parts(const StoredMatrix& matrix) {
  return [matrix](std::string_view name) -> LazyTensor {
    const auto parts = storage_of(matrix.format).parts(matrix.rows(), matrix.columns());
    for (size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].name == name) return matrix.parts[i];
    }
    return {};
  };
}

TEST_CASE("a kind of storage that a program adds is known by its tensors, and its matrices come back bit by bit") {
  const auto& kind = *own_kinds()[GENERATE(0, 1)];
  INFO(kind.name());
  at::manual_seed(5);
  auto weight = torch::randn({10, 16});
  weight[3].zero_();
  const auto matrix = kind.from_floats(weight.data_ptr<float>(), 10, 16);
  const auto floats = ops::torch_tensor(to_floats(matrix));
  CHECK(((floats - weight).norm() / weight.norm()).item<double>() < 0.5);
  CHECK(same_bits(kind.from_floats(floats.contiguous().data_ptr<float>(), 10, 16), matrix));
  CHECK(kind_of(named_parts(matrix)) == &kind);
  CHECK(same_bits(stored_matrix("layer", named_parts(matrix)), matrix));
  const std::vector<float> bias(10, 0.5f);
  const auto packed = kind.pack(matrix, bias.data());
  CHECK(same_bits(storage_of(packed.stored).unpack(packed), matrix));
  const auto all = stacked({matrix.rows(0, 3), matrix.rows(3, 10)}, 4);
  CHECK(all.size == MatrixSize{12, 16});
  CHECK(same_bits(all.rows(4, 11), matrix.rows(3, 10)));
  CHECK(ops::torch_tensor(to_floats(all))[3].eq(0).all().item<bool>());
}

TEST_CASE("a part of a kind that is missing or does not fit is told") {
  const auto& kind = *own_kinds()[0];
  const auto weight = torch::ones({4, 16});
  const auto matrix = kind.from_floats(weight.data_ptr<float>(), 4, 16);
  const auto without = [&](std::string_view name) {
    return name == "weight_scale" ? LazyTensor() : named_parts(matrix)(name);
  };
  CHECK_THROWS_WITH(stored_matrix("layer", without), Catch::Contains("the tensor layer.weight_scale is missing"));
  const auto misshapen = [&](std::string_view name) {
    auto part = named_parts(matrix)(name);
    if (name == "weight_scale") part.shape = {2, 4};
    return part;
  };
  CHECK_THROWS_WITH(stored_matrix("layer", misshapen),
                    Catch::Contains("layer.weight_scale: found F32 [2, 4], expected F32 [4, 2]"));
  CHECK_THROWS_WITH(stored_matrix("layer", [](std::string_view) { return LazyTensor(); }),
                    Catch::Contains("of no kind of storage"));
}

/// What the engine gives for one text.
torch::Tensor engine_logits(const std::filesystem::path& folder, const std::vector<int64_t>& ids) {
  const auto outputs = Engine::load(folder)->run(std::vector{TokenRow{ids}});
  return torch::tensor(outputs.values).view({outputs.rows(), outputs.width});
}

TEST_CASE("a model in a kind that a program adds is saved, opened and computed as it is in ours") {
  const auto& kind = *own_kinds()[GENERATE(0, 1)];
  const auto name = GENERATE(as<std::string>(), "model/tiny", "model/families/modernbert", "model/families/albert");
  INFO(kind.name() << " " << name);
  auto model = load_model(golden(name)).model;
  const std::vector<int64_t> ids{2, 5, 6, 7, 3};
  const auto row = torch::tensor(ids).unsqueeze(0);
  const auto batch = text_batch(row, torch::ones_like(row), torch::zeros_like(row));
  const at::NoGradGuard no_grad;
  const auto exact = model->forward(batch).logits;
  quantize::quantize(model, {kind.format(), kind.format()});
  const auto logits = model->forward(batch).logits;
  CHECK(((logits - exact).norm() / exact.norm()).item<double>() < 0.9);
  CHECK_FALSE(torch::equal(logits, exact));

  const TemporaryFolder folder;
  save_model(model, *load_tokenizer(golden("model/tiny")), folder.path());
  const auto config = load_model_config(folder.path());
  CHECK(config.source.at("compress").at("weight_format") == kind.name());
  CHECK(config.source.at("compress").at("embedding_format") == kind.name());
  CHECK_FALSE(config.source.contains("quantization_config"));
  int parts = 0;
  const auto last = kind.parts(1, 1).back();
  const auto file = SafetensorsFile::open(folder / "model.safetensors");
  for (const auto& [tensor, info] : file.tensors()) {
    if (!tensor.ends_with(fmt::format(".{}", last.name))) continue;
    CHECK(info.dtype == last.dtype);
    ++parts;
  }
  CHECK(parts > 5);

  auto again = load_model(folder.path());
  CHECK(again.warnings.empty());
  const auto own = state_dict(*model), read = state_dict(*again.model);
  REQUIRE(own.size() == read.size());
  for (const auto& [tensor, value] : own) CHECK(torch::equal(value, read.at(tensor)));
  CHECK(torch::equal(again.model->forward(batch).logits, logits));
  CHECK(torch::equal(engine_logits(folder.path(), ids), logits));
  CHECK(Engine::load(folder.path())->warnings().empty());
  model->set_products(Products::libtorch);
  check_close(model->forward(batch).logits, logits, 2e-3);
}

TEST_CASE("a file of the fused runtime keeps the kind, and a portable one has its numbers") {
  const auto& kind = *own_kinds()[GENERATE(0, 1)];
  INFO(kind.name());
  auto model = tiny_model();
  quantize::quantize(model, {kind.format(), kind.format()});
  const auto state = encoder_state(model);
  const auto kept = ops::Encoder(state).state();
  CHECK(kept.tensors.size() == state.tensors.size());
  for (const auto& entry : state.tensors) {
    INFO(entry.key());
    CHECK(torch::equal(kept.tensors.at(entry.key()), entry.value()));
  }
  const c10::InferenceMode inference;
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  const auto logits = model->forward(batch).logits;
  const TemporaryFolder folder;
  save_script(model_script(model, Runtime::fused), folder / "model.pt");
  CHECK(torch::equal(script_logits(load_script(folder / "model.pt"))(batch), logits));
  save_script(model_script(model, Runtime::portable), folder / "portable.pt");
  check_close(script_logits(load_script(folder / "portable.pt"))(batch), logits, 2e-3);
}

}  // namespace
}  // namespace compression::exporter
