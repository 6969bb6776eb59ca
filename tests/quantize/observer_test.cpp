#include "quantize/observer.h"

#include "compress/base/error.h"
#include "tests/support.h"

namespace compression::quantize {
namespace {

using namespace testing;

double scale_of(const ObserverOptions& options, const std::vector<torch::Tensor>& batches) {
  const auto observer = make_observer(options);
  for (const auto& batch : batches) observer->add(batch);
  return static_cast<double>(observer->scale());
}

TEST_CASE("observers choose the golden scales") {
  const auto goldens = golden_tensors("quantize/observers.safetensors");
  const auto data = GENERATE(as<std::string>(), "norm", "gelu", "relu");
  INFO(data);
  const auto x = goldens.at(data + ".x");
  const auto value = [&](const char* name) { return goldens.at(data + "." + name).item<double>(); };
  const auto found = [&](ObserverKind kind) { return scale_of({kind, 99.0}, x.unbind()); };
  CHECK(found(ObserverKind::min_max) == Approx(value("min_max")).epsilon(1e-6));
  CHECK(found(ObserverKind::moving_average) == Approx(value("moving_average")).epsilon(1e-5));
  CHECK(found(ObserverKind::percentile) == Approx(value("percentile")).epsilon(0.004));  // a bin of 128 / 4,096
  CHECK(found(ObserverKind::entropy) == Approx(value("entropy")).epsilon(1e-6));
  // Near its minimum the error is flat: it is compared, of all values, and not the scale.
  const auto scale = found(ObserverKind::mse);
  const auto values = x.to(torch::kDouble);
  const auto rounded = torch::round(values / scale).clamp(-127, 127) * scale;
  CHECK((rounded - values).square().mean().item<double>() < 1.005 * value("mse_least"));
  CHECK(scale == Approx(value("mse")).epsilon(0.02));
}

TEST_CASE("a histogram's range grows with what comes, in whatever order and batches") {
  at::manual_seed(1);
  auto x = torch::randn({500, 200});
  x[499][199] = 8.0;  // a power of two: the range goes beyond it
  const double largest = x.abs().max().item<double>() / 127;
  for (const auto& [kind, name] : enum_names(ObserverKind{})) {
    if (kind == ObserverKind::moving_average) continue;  // of which the order is the point
    INFO(name);
    const auto small = x.slice(0, 0, 1) / 1000, none = torch::zeros({3});
    const double once = scale_of({kind, 99.9}, {torch::cat({small.flatten(), none, x.flatten()})});
    CHECK(scale_of({kind, 99.9}, {small, none, x.slice(0, 0, 250), x.slice(0, 250)}) == once);
    CHECK(scale_of({kind, 99.9}, {x.slice(0, 250), none, x.slice(0, 0, 250), small}) == once);
    CHECK(once <= largest * 1.000001);
  }
  CHECK(scale_of({ObserverKind::percentile, 100.0}, {x / 3, x}) == Approx(largest));
}

TEST_CASE("every observer has a scale for zeros, and refuses what is no number or nothing") {
  for (const auto& [kind, name] : enum_names(ObserverKind{})) {
    INFO(name);
    CHECK(scale_of({kind}, {torch::zeros({4, 3})}) == 1.0);
    CHECK(scale_of({kind}, {torch::zeros({4, 3}), torch::full({4}, 1.27f)}) > 0.0);
    CHECK_THROWS_AS(scale_of({kind}, {}), DataError);
    CHECK_THROWS_AS(scale_of({kind}, {torch::empty({0, 3})}), DataError);
    for (const double bad : {std::nan(""), HUGE_VAL}) {
      const auto x = torch::ones({4});
      x[2] = bad;
      CHECK_THAT(message_of<DataError>([&] { scale_of({kind}, {x}); }), Catch::Contains("NaN or infinity"));
    }
  }
}

}  // namespace
}  // namespace compression::quantize
