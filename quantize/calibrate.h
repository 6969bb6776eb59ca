#pragma once
// What the linear layers of a float32 model read when it runs over calibration texts.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "compress/model/model.h"        // Model
#include "compress/task/batch_source.h"  // BatchSource
#include "compress/workflow/context.h"   // Context
#include "quantize/observer.h"           // ObserverOptions

namespace compression::quantize {

/// Of int8 linear layers with static activations, by their names in the checkpoint.
using InputScales = std::map<std::string, float>;

/// Runs the model over the texts, in evaluation mode and with LibTorch's operators, and calls visit(i, rows) for each
/// input of linears[i]: float32 [rows, in], tokens without padding. A layer that is used several times is visited each
/// time. `begin` is told of each batch before. Throws DataError if there are no texts; Interrupted.
void each_input(
    Model& model, std::vector<Linear> linears, const BatchSource& texts, const Context& context,
    const std::function<void(size_t i, const torch::Tensor& rows)>& visit,
    const std::function<void(const Batch& batch)>& begin = [](const Batch&) {});

/// The input scales of all linear layers of a float32 model but `unquantized`; 1 of layers that were cut whole. Throws
/// DataError if there are no texts, or if a layer reads NaN or infinity, which it names; Interrupted.
InputScales calibrate(Model& model, const std::vector<std::string>& unquantized, const ObserverOptions& options,
                      const BatchSource& texts, const Context& context);

}  // namespace compression::quantize
