#include "compress/tokenizer/load_tokenizer.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "compress/base/error.h"
#include "compress/checkpoint/gguf.h"
#include "compress/tokenizer/gguf_tokenizer.h"
#include "compress/tokenizer/pipeline.h"
#include "compress/tokenizer/sentence_settings.h"
#include "compress/tokenizer/tokenizer_json.h"
#include "compress/tokenizer/tokenizer_settings.h"
#include "compress/tokenizer/vocabulary_files.h"

namespace compression {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSentencepieceNames[] = {"sentencepiece.bpe.model", "spiece.model", "spm.model",
                                               "sentencepiece.model", "tokenizer.model"};

constexpr const char* kExpected =
    "tokenizer.json, vocab.txt, vocab.json with merges.txt, a sentencepiece model (sentencepiece.bpe.model, "
    "spiece.model, spm.model), or a GGUF file";

PipelineConfig read_any(const fs::path& folder, const TokenizerSettings& settings) {
  if (is_present(folder / "tokenizer.json")) return read_tokenizer_json(folder / "tokenizer.json", settings);
  if (is_present(folder / "vocab.txt")) return read_vocab_txt(folder / "vocab.txt", settings);
  if (is_present(folder / "vocab.json")) return read_vocab_json(folder / "vocab.json", settings);
  for (const char* name : kSentencepieceNames) {
    if (is_present(folder / name)) return read_sentencepiece(folder / name, settings);
  }
  throw CheckpointError(folder.string() + ": found no tokenizer, expected " + kExpected);
}

bool has_vocabulary(const fs::path& folder) {
  const auto is_here = [&](const char* name) { return is_present(folder / name); };
  return is_here("tokenizer.json") || is_here("vocab.txt") || is_here("vocab.json") ||
         std::ranges::any_of(kSentencepieceNames, is_here);
}

std::shared_ptr<const Tokenizer> load_gguf(const fs::path& file, std::optional<int64_t> rows) {
  PipelineConfig config = read_gguf_tokenizer(GgufFile::open(file).metadata(), file);
  config.folder = file.parent_path();
  config.files = {file.filename()};
  config.rows = rows;
  return std::make_shared<TokenizerPipeline>(std::move(config));
}

/// Whether models of the tokenizer are given token types: "model_input_names" may leave them out.
bool gives_types(const TokenizerSettings& settings) {
  const auto names = settings.find("model_input_names");
  if (!names || !names->value().is_array()) return true;
  const auto& list = names->value();
  return std::find(list.begin(), list.end(), "token_type_ids") != list.end();
}

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const fs::path& given, std::optional<int64_t> rows,
                                                const std::vector<TokenizerClass>& classes) {
  if (std::error_code ignored; fs::is_regular_file(given, ignored) && gguf_file(given)) return load_gguf(given, rows);
  if (!fs::is_directory(given)) {
    throw CheckpointError(given.string() + ": found no such folder, expected one with " + kExpected);
  }
  const fs::path folder = transformer_folder(given);
  if (!has_vocabulary(folder)) {
    if (const auto gguf = gguf_file(folder)) return load_gguf(*gguf, rows);
  }
  const TokenizerSettings settings(folder, classes);
  PipelineConfig config = read_any(folder, settings);
  config.folder = folder;
  config.rows = rows ? rows : settings.model_rows();
  config.max_length = settings.max_length();
  config.sentence = read_sentence_settings(given);
  if (!gives_types(settings)) config.post_processor.drop_types();
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
  for (auto& name : sentence_files(given)) config.files.push_back(std::move(name));
  return std::make_shared<TokenizerPipeline>(std::move(config));
}

}  // namespace compression
