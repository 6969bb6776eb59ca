#pragma once
// The most that readers take. A file that is damaged or hostile has to end in an error of one line: whatever is read
// has a bound of size and depth, and what is allocated for it follows from the bytes that are there.
// docs/reliability.md lists the bounds beside the largest that is known to be in use.

#include <cstddef>
#include <cstdint>

namespace compression::limits {

inline constexpr uint64_t KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB;

// Bytes of whole files.
inline constexpr uint64_t settings_bytes = 64 * MiB;    // config.json and the other JSON beside a model; reports
inline constexpr uint64_t tokenizer_bytes = 256 * MiB;  // tokenizer.json, vocab.txt, vocab.json, merges.txt
inline constexpr uint64_t sentencepiece_bytes = 64 * MiB;
inline constexpr uint64_t recipe_bytes = 256 * KiB;
inline constexpr uint64_t header_bytes = 100'000'000;  // of a safetensors file, as in the reference library
inline constexpr uint64_t pickle_bytes = 16 * MiB;     // of a record of a model.pt that is no tensor's
inline constexpr uint64_t pickles_bytes = 64 * MiB;    // of all of them
inline constexpr uint64_t piped_bytes = 1 * GiB;       // of data that comes through a pipe

// The text of a model.pt, which LibTorch's parser goes through by recursion.
inline constexpr size_t script_depth = 200;       // of brackets, and of blocks
inline constexpr size_t script_operators = 2000;  // of a line
inline constexpr size_t script_comments = 1000;   // and branches of one if

// JSON.
inline constexpr size_t json_depth = 100;
inline constexpr size_t json_values = 1 << 24;  // of a document

// Tokenizers.
inline constexpr size_t token_bytes = 1024;         // of a token, and of a text that a normalizer looks for or puts in
inline constexpr int64_t token_ids = 1 << 22;       // ids are below it
inline constexpr size_t template_tokens = 1024;     // that a template puts around texts
inline constexpr size_t repeats = 1024;             // {n,} of a pattern
inline constexpr size_t normalized_growth = 32;     // of a normalized text, in lengths of the text, and
inline constexpr size_t normalized_extra = 65'536;  // so many bytes
inline constexpr size_t windows_growth = 16;        // of the windows of a text together, in tokens of the text, and
inline constexpr size_t windows_extra = 1 << 20;    // so many tokens

// Data.
inline constexpr size_t text_bytes = 16 * MiB;
inline constexpr size_t line_bytes = 64 * MiB;    // of JSONL: the texts with all that is beside them
inline constexpr size_t context_bytes = 1 * MiB;  // that a question is about: it is kept with the place of every token
inline constexpr uint64_t contexts_growth = 8;    // of a SQuAD file: a question has a copy of its context
inline constexpr uint64_t contexts_extra = 16 * MiB;
inline constexpr size_t columns = 65'536;
inline constexpr int64_t label_cells = int64_t{1} << 30;  // texts times labels of multi_label

// Models. No encoder comes near these.
inline constexpr int64_t layers = 1024;
inline constexpr int64_t width = 65'536;           // hidden size, heads times their size
inline constexpr int64_t rows = int64_t{1} << 31;  // of a table
inline constexpr int64_t positions = 1 << 24;
inline constexpr int64_t labels = 1 << 20;
inline constexpr int64_t parameters = int64_t{1} << 34;

}  // namespace compression::limits
