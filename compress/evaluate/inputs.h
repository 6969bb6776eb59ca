#pragma once
// What the linear layers of a model read when it runs over texts.

#include <functional>
#include <vector>

#include "compress/model/model.h"        // Model
#include "compress/task/batch_source.h"  // BatchSource
#include "compress/workflow/context.h"   // Context

namespace compression {

/// Runs the model over the texts, in evaluation mode and with LibTorch's operators, and calls visit(i, rows) for each
/// input of linears[i]: float32 [rows, in], tokens without padding. A layer that is used several times is visited each
/// time. `begin` is told of each batch before. Throws DataError if there are no texts; Interrupted.
void each_input(
    Model& model, std::vector<Linear> linears, const BatchSource& texts, const Context& context,
    const std::function<void(size_t i, const torch::Tensor& rows)>& visit,
    const std::function<void(const Batch& batch)>& begin = [](const Batch&) {});

}  // namespace compression
