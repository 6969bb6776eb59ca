#pragma once
// What a tokenizer class of transformers is: a row that its family's file fills in (compress/families/family.h).

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace compression {

/// How classes go to work, of which several have the same code.
enum class TokenizerRules {
  word_pieces,        // WordPiece, between [CLS] and [SEP]
  word_pieces_marks,  // WordPiece, between <s> and </s>
  bytes,              // byte-level BPE, framed as tokenizer.json says
  bytes_marks,        // byte-level BPE, between <s> and </s>
  unigram_marks,      // Unigram, between <s> and </s>; the first ids are those of <s>, <pad>, </s>, <unk>
  unigram_unused,     // the same, with ids of <s>NOTUSED and </s>NOTUSED in their places
  unigram_quotes,     // Unigram, between [CLS] and [SEP]: quotation marks of one kind, without accents
  unigram_spaces      // the same: white space of one kind
};

/// The special tokens of a class, where no file says otherwise. Empty: none.
struct SpecialTokens {
  std::string cls = {}, sep = {}, pad = {}, unk = {}, mask = {}, bos = {}, eos = {};
  bool mask_takes_space = false;  // before it

  /// By transformers' names for the roles, in the order in which they are added.
  std::array<std::pair<const char*, std::string*>, 7> roles() {
    return {{{"bos_token", &bos},
             {"eos_token", &eos},
             {"unk_token", &unk},
             {"sep_token", &sep},
             {"pad_token", &pad},
             {"cls_token", &cls},
             {"mask_token", &mask}}};
  }
};

/// Of two kinds that many classes have.
inline SpecialTokens bracket_tokens() {
  return {.cls = "[CLS]", .sep = "[SEP]", .pad = "[PAD]", .unk = "[UNK]", .mask = "[MASK]"};
}
inline SpecialTokens mark_tokens() {
  return {.cls = "<s>", .sep = "</s>", .pad = "<pad>", .unk = "<unk>", .mask = "<mask>", .bos = "<s>", .eos = "</s>"};
}

struct TokenizerClass {
  std::string_view name;  // "Mine" of MineTokenizer and MineTokenizerFast
  TokenizerRules rules;
  SpecialTokens tokens;
  std::string_view model_type = "";  // whose class it is where none is named; without one it reads tokenizer.json alone
  std::string_view file = "";        // the vocabulary that stands for it where neither is named
};

}  // namespace compression
