#pragma once
// How far each round of pruning goes.

#include <cstdint>
#include <optional>

namespace compression::prune {

/// Share of what goes that is gone at `position` of the way, 0 to 1: 1 - (1 - position)^3, most of it early. Zhu and
/// Gupta, arXiv 1710.01878.
double cubic_share(double position);

/// Rounds that may be taken back: after one, the steps are half as long. Ends where the way ends, or when a step would
/// be shorter than 1 / (rounds x 2^max_halvings).
class GradualSchedule {
 public:
  GradualSchedule(int64_t rounds, int64_t max_halvings) : rounds_(rounds), max_halvings_(max_halvings) {}

  /// The position of the next round; nothing at the end.
  std::optional<double> next() const;

  /// What came of the round at next().
  void accept() { position_ = next().value(); }
  void undo() { ++halvings_; }

  /// That of the last accepted round.
  double position() const { return position_; }

 private:
  int64_t rounds_, max_halvings_, halvings_ = 0;
  double position_ = 0.0;
};

}  // namespace compression::prune
