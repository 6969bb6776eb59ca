#include <algorithm>
#include <memory>
#include <utility>

#include "compress/tokenizer/pipeline.h"
#include "compress/tokenizer/tokenizer_json.h"
#include "compress/tokenizer/tokenizer_settings.h"
#include "compress/tokenizer/vocabulary_files.h"
#include "compress/workflow/error.h"

namespace compression {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSentencepieceNames[] = {"sentencepiece.bpe.model", "spiece.model", "spm.model",
                                               "sentencepiece.model", "tokenizer.model"};

PipelineConfig read_any(const fs::path& folder) {
  const std::string expected =
      "tokenizer.json, vocab.txt, vocab.json with merges.txt, or a sentencepiece model (sentencepiece.bpe.model, "
      "spiece.model, spm.model)";
  if (!fs::is_directory(folder)) {
    throw CheckpointError(folder.string() + ": found no such folder, expected one with " + expected);
  }
  const TokenizerSettings settings(folder);
  if (is_present(folder / "tokenizer.json")) return read_tokenizer_json(folder / "tokenizer.json", settings);
  if (is_present(folder / "vocab.txt")) return read_vocab_txt(folder / "vocab.txt", settings);
  if (is_present(folder / "vocab.json")) return read_vocab_json(folder / "vocab.json", settings);
  for (const char* name : kSentencepieceNames) {
    if (is_present(folder / name)) return read_sentencepiece(folder / name, settings);
  }
  throw CheckpointError(folder.string() + ": found no tokenizer, expected " + expected);
}

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const fs::path& folder) {
  PipelineConfig config = read_any(folder);
  config.folder = folder;
  std::vector<const char*> names = {"tokenizer.json",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "added_tokens.json",
                                    "vocab.txt",
                                    "vocab.json",
                                    "merges.txt"};
  names.insert(names.end(), std::begin(kSentencepieceNames), std::end(kSentencepieceNames));
  for (const char* name : names) {
    if (is_present(folder / name)) config.files.emplace_back(name);
  }
  return std::make_shared<TokenizerPipeline>(std::move(config));
}

}  // namespace compression
