#pragma once
// Tags of words, read as entities.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace compression {

/// Whether entities can be read of a tag: O, or what begins, is inside of, ends or is the whole of an entity, as
/// B-TYPE, I-TYPE, E-TYPE, S-TYPE, with or without the type: IOB1, IOB2, IOE1, IOE2, IOBES and BIOES.
bool is_entity_tag(std::string_view tag);

/// Words [begin, end) with the tags of one entity. `type` is a part of a tag, or "_".
struct TagSpan {
  size_t begin, end;
  std::string_view type;
};

/// Those of a text, as seqeval's get_entities() reads them: what is ill-formed as conlleval does.
std::vector<TagSpan> tag_spans(std::span<const std::string> tags);

}  // namespace compression
