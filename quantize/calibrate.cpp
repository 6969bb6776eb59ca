#include "quantize/calibrate.h"

#include <torch/types.h>

#include <algorithm>

#include "compress/base/error.h"       // DataError
#include "compress/evaluate/inputs.h"  // each_input
#include "quantize/convert.h"          // require_layers

namespace compression::quantize {
InputScales calibrate(Model& model, const std::vector<std::string>& unquantized, const ObserverOptions& options,
                      const BatchSource& texts, const Context& context) {
  require_layers(model, unquantized);
  InputScales scales;
  std::vector<std::string> names;
  std::vector<Linear> linears;
  std::vector<std::unique_ptr<Observer>> observers;
  for (const auto& [name, linear] : model->named_linears()) {
    if (std::ranges::find(unquantized, name) != unquantized.end()) continue;
    if (linear->weight.numel() == 0) {
      scales[name] = 1.0f;
      continue;
    }
    names.push_back(name);
    linears.push_back(linear);
    observers.push_back(make_observer(options));
  }
  const auto named = [&](size_t i, auto&& work) {
    try {
      work(*observers[i]);
    } catch (const DataError& error) {
      throw DataError(names[i] + ": " + error.what());
    }
  };
  each_input(model, linears, texts, context,
             [&](size_t i, const torch::Tensor& rows) { named(i, [&](Observer& observer) { observer.add(rows); }); });
  for (size_t i = 0; i < names.size(); ++i) {
    named(i, [&](const Observer& observer) { scales[names[i]] = observer.scale(); });
  }
  return scales;
}

}  // namespace compression::quantize
