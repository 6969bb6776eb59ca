#pragma once
// The table of heads.

#include <stdexcept>

#include "compress/spec/heads/embedding.h"
#include "compress/spec/heads/spans.h"
#include "compress/spec/heads/text.h"
#include "compress/spec/heads/tokens.h"
#include "compress/spec/heads/words.h"

namespace compression {

/// visit(head), of the kind's struct.
template <class Visit>
auto with_head(HeadKind kind, Visit&& visit) {
  switch (kind) {
    case HeadKind::text:
      return visit(TextHead());
    case HeadKind::tokens:
      return visit(TokensHead());
    case HeadKind::spans:
      return visit(SpansHead());
    case HeadKind::words:
      return visit(WordsHead());
    case HeadKind::embedding:
      return visit(EmbeddingHead());
  }
  throw std::logic_error("head");
}

}  // namespace compression
