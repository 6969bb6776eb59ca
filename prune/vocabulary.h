#pragma once
// Rows of the embedding table that no text needs, as in arXiv 2010.05609 (Abdaoui et al.), where a multilingual model
// is cut to a language's tokens.

#include <memory>
#include <vector>

#include "compress/model/model.h"     // Model
#include "compress/workflow/stage.h"  // Stage

namespace compression::prune {

struct VocabularyConfig {
  static constexpr std::string_view kind = "vocabulary";

  Reference of;
  int64_t min_count = 1;
  int64_t common = 0;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("of", self.of, "The model whose vocabulary is cut", Presence::required);
    visit(
        "min_count", self.min_count,
        "Times a token occurs in the training texts, the unlabelled ones too, to stay; special tokens, characters and "
        "bytes stay in any case");
    visit(
        "common", self.common,
        "So many tokens at the vocabulary's beginning stay too: in most vocabularies the ones that were most frequent "
        "where it was made, which texts to come may have");
  }
};
void validate(const VocabularyConfig& config, Problems& problems);

/// Keeps these rows of the table of words, and of what a head for masked words has for each; ascending ids. Ids in the
/// config become those of the rows that are left. Throws std::invalid_argument if the padding token would go, or get
/// another id where positions count from it.
Model keep_tokens(const Model& model, const std::vector<int64_t>& kept);

std::unique_ptr<Stage> make_stage(const VocabularyConfig& config);

}  // namespace compression::prune
