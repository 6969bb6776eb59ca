// Texts of which tokens are masked.

#include <fmt/format.h>

#include <set>

#include "compress/base/error.h"  // ConfigError
#include "datasets/kinds.h"

namespace compression::datasets {
namespace {

Masking masking_for(const Tokenizer& tokenizer) {
  const auto& special = tokenizer.special_ids();
  if (!special.mask) {
    throw ConfigError(
        fmt::format("{}: the tokenizer has no mask token, which masked_lm needs", tokenizer.folder().string()));
  }
  std::set<int64_t> ids{special.pad, *special.mask};
  for (const auto& id : {special.cls, special.sep, special.unk}) {
    if (id) ids.insert(*id);
  }
  return {.mask_id = *special.mask, .vocabulary_size = tokenizer.usable_ids(), .special_ids = {ids.begin(), ids.end()}};
}

class Masked : public ExampleKind {
 public:
  void read(const Json& object, const FileConfig& file, bool, const Place& place, Dataset& data) const override {
    add_text(object, file, place, data);
  }

  EncodedExamples encode(const Dataset& data, const std::optional<Labels>& labels, Metric metric,
                         const Tokenizer& tokenizer, const TaskEncoding& encoding) const override {
    auto encoded = ExampleKind::encode(data, std::nullopt, metric, tokenizer, encoding);
    if (labels) encoded.examples.masking = masking_for(tokenizer);
    return encoded;
  }
};

}  // namespace

const ExampleKind& masked_examples() {
  static const Masked kind;
  return kind;
}

}  // namespace compression::datasets
