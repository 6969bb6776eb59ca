#pragma once
// Scores as a picture.

#include <string>
#include <vector>

#include "prune/importance.h"  // Importance

namespace compression::prune {

/// An SVG picture of the scores of heads and of FFN units: a row a layer, units from the best to the worst, darker for
/// a higher score (in a logarithmic scale that all layers share), with a mark at the number that stays. `kept`: as
/// cut_units() takes them.
std::string importance_svg(const Importance& importance, const std::vector<torch::Tensor>& kept);

}  // namespace compression::prune
