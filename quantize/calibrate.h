#pragma once
// What the linear layers of a float32 model read when it runs over calibration texts.

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

/// The input scales of all linear layers of a float32 model but `unquantized`; 1 of layers that were cut whole. Throws
/// DataError if there are no texts, or if a layer reads NaN or infinity, which it names; Interrupted;
/// as require_layers().
InputScales calibrate(Model& model, const std::vector<std::string>& unquantized, const ObserverOptions& options,
                      const BatchSource& texts, const Context& context);

}  // namespace compression::quantize
