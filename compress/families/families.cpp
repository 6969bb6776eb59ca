#include "compress/families/families.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>

#include "compress/base/error.h"                // UnsupportedError
#include "compress/checkpoint/gguf.h"           // gguf_file
#include "compress/tokenizer/load_tokenizer.h"  // load_tokenizer

namespace compression {

std::vector<BlockSpec> blocks_of(size_t count, int64_t heads, int64_t units, Activation activation) {
  return std::vector<BlockSpec>(count,
                                {.attention = {.heads = heads}, .mlp = {.units = units, .activation = activation}});
}

const std::vector<OtherName>& Family::head(HeadKind kind) const {
  static const std::vector<OtherName> none;
  switch (kind) {
    case HeadKind::text:
      return sequence_head;
    case HeadKind::tokens:
      return tokens_head;
    case HeadKind::spans:
      return spans_head;
    case HeadKind::words:
      return mlm_head;
    case HeadKind::embedding:
      return none;
  }
  throw std::logic_error("head");
}

std::string_view Family::key(std::string_view own) const {
  const auto found = std::ranges::find(keys, own, &OtherName::own);
  return found == keys.end() ? own : found->theirs;
}

bool Family::names(std::string_view own) const {
  return std::ranges::find(keys, own, &OtherName::own) != keys.end();
}

const std::vector<Family>& families() {
  static const std::vector<Family> all{bert(),   roberta(), xlm_roberta(), distilbert(), electra(),
                                       albert(), mpnet(),   modernbert(),  deberta_v2(), gpt2(),
                                       llama(),  qwen2(),   qwen3(),       mpt(),        bart(),
                                       gemma2(), gemma3(),  mistral(),     opt()};
  return all;
}

const std::vector<TokenizerClass>& tokenizer_classes() {
  static const std::vector<TokenizerClass> classes = [] {
    std::vector<TokenizerClass> all;
    for (const auto& family : families()) all.insert(all.end(), family.tokenizers.begin(), family.tokenizers.end());
    std::ranges::sort(all, {}, &TokenizerClass::name);
    return all;
  }();
  return classes;
}

std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& folder, std::optional<int64_t> rows) {
  return load_tokenizer(folder, rows, tokenizer_classes());
}

const Family& find_family(const std::string& model_type, const std::string& where) {
  const auto found = std::ranges::find(families(), model_type, &Family::model_type);
  if (found != families().end()) return *found;
  std::vector<std::string_view> supported;
  for (const auto& each : families()) supported.push_back(each.model_type);
  throw UnsupportedError(fmt::format("{}: found \"{}\", supported: {}", where, model_type, fmt::join(supported, ", ")));
}

namespace {

constexpr const char* encoders_alone = "supported here: encoders; `compress inspect`, `generate` and `eval` take it";

}  // namespace

void require_encoder(const std::string& model_type, const std::string& place) {
  if (!find_family(model_type).is_decoder()) return;
  throw UnsupportedError(fmt::format("{}: found a decoder, {}, {}", place, model_type, encoders_alone));
}

void refuse_gguf(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::exists(path / "config.json", ignored) || !gguf_file(path)) return;
  throw UnsupportedError(fmt::format("{}: found a GGUF file, {}", path.string(), encoders_alone));
}

}  // namespace compression
