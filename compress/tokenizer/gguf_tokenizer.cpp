#include "compress/tokenizer/gguf_tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "compress/tokenizer/bpe.h"
#include "compress/tokenizer/sentencepiece_model.h"
#include "compress/tokenizer/tokenizer_json.h"
#include "compress/tokenizer/tokenizer_settings.h"
#include "compress/tokenizer/unicode.h"
#include "compress/tokenizer/vocabulary.h"
#include "compress/tokenizer/vocabulary_files.h"

namespace compression {
namespace {

using nlohmann::json;
using Kind = SentencepieceModel::PieceKind;

/// What comes before byte-level BPE, by tokenizer.ggml.pre, as the models' own tokenizers have it.
struct Before {
  std::string_view name;
  bool composes;                // to NFC
  bool single_digits;           // each digit is a word
  size_t digits;                // of a number that is one word, as in GPT-4; 0: words are GPT-2's
  bool begins, ignores_merges;  // by default, a text begins with the first token; a word that is a token stays whole
};
constexpr std::array<Before, 4> befores{{{"gpt-2", false, false, 0, false, false},
                                         {"smollm", false, true, 0, false, false},
                                         {"llama-bpe", false, false, 3, true, true},
                                         {"qwen2", true, false, 1, false, false}}};

class Reader {
 public:
  Reader(const json& metadata, const std::filesystem::path& path) : path_(path), root_(root(metadata, path)) {
    for (const JsonNode& node : at("tokens").elements()) tokens_.push_back(utf8(node));
    if (tokens_.empty()) at("tokens").mismatch("at least one token");
    read_kinds();
  }

  PipelineConfig read() const {
    const auto model = at("model");
    if (model.value() == "gpt2") return byte_level();
    if (model.value() == "llama") return sentencepiece();
    model.unsupported("\"gpt2\", \"llama\"");
  }

 private:
  std::optional<JsonNode> find(const std::string& key) const { return root_.find("tokenizer.ggml." + key); }
  JsonNode at(const std::string& key) const { return root_.at("tokenizer.ggml." + key); }
  bool boolean_or(const std::string& key, bool otherwise) const {
    const auto found = find(key);
    return found ? found->boolean() : otherwise;
  }

  static std::string utf8(const JsonNode& node) {
    auto text = node.string();
    if (!unicode::is_valid(text)) node.mismatch("UTF-8");
    return text;
  }

  void read_kinds() {
    constexpr std::array kinds{Kind::kNormal,      Kind::kUnknown, Kind::kControl,
                               Kind::kUserDefined, Kind::kUnused,  Kind::kByte};
    const auto types = find("token_type");
    if (!types) {
      kinds_.assign(tokens_.size(), Kind::kNormal);
      return;
    }
    for (const JsonNode& type : types->elements()) {
      const auto number = type.value().is_number_integer() ? type.value().get<int64_t>() : 0;
      if (number < 1 || number > static_cast<int64_t>(kinds.size())) type.mismatch("a number from 1 to 6");
      kinds_.push_back(kinds[static_cast<size_t>(number - 1)]);
    }
    if (kinds_.size() != tokens_.size())
      types->mismatch("one for each of the " + std::to_string(tokens_.size()) + " tokens");
  }

  /// The id of a token with a role.
  std::optional<int64_t> role(const std::string& key) const {
    const auto found = find(key + "_token_id");
    if (!found) return std::nullopt;
    const auto id = found->natural();
    if (static_cast<size_t>(id) >= tokens_.size()) found->mismatch("an id below " + std::to_string(tokens_.size()));
    return id;
  }

  bool is_looked_for(size_t id) const { return kinds_[id] == Kind::kControl || kinds_[id] == Kind::kUserDefined; }

  PipelineConfig byte_level() const {
    const auto pre = at("pre");
    const auto* before = std::ranges::find(befores, pre.string(), &Before::name);
    if (before == befores.end()) pre.unsupported("\"gpt-2\", \"smollm\", \"llama-bpe\", \"qwen2\"");
    PipelineConfig config;
    if (before->composes) config.normalizer = std::make_shared<UnicodeForm>(false, true);
    config.pre_tokenizer = splitter(*before);
    config.decoder = std::make_shared<ByteLevelDecoder>();

    Vocabulary vocabulary(path_.string() + ": tokenizer.ggml.tokens");
    for (size_t id = 0; id < tokens_.size(); ++id) vocabulary.add(tokens_[id], static_cast<int32_t>(id));
    BpeConfig bpe{.vocabulary = vocabulary.ids(), .ignore_merges = before->ignores_merges, .byte_level = true};
    for (const JsonNode& merge : at("merges").elements()) {
      if (merge.value().is_string() && !unicode::is_valid(merge.long_string())) merge.mismatch("UTF-8");
      bpe.merges.push_back(read_merge(merge));
    }
    config.model = std::make_shared<Bpe>(std::move(bpe), path_.string() + ": tokenizer.ggml.merges");
    for (size_t id = 0; id < tokens_.size(); ++id) {
      if (is_looked_for(id) && !tokens_[id].empty()) {
        config.added_tokens.push_back(
            {.content = tokens_[id], .id = static_cast<int64_t>(id), .special = kinds_[id] == Kind::kControl});
      }
    }
    const auto first = role("bos"), last = role("eos");
    config.post_processor = frame(boolean_or("add_bos_token", before->begins) ? first : std::nullopt,
                                  boolean_or("add_eos_token", false) ? last : std::nullopt);
    config.special_ids = {.pad = role("padding").value_or(last.value_or(0)),
                          .cls = role("cls"),
                          .sep = role("seperator"),  // as the format spells it
                          .mask = role("mask"),
                          .unk = role("unknown")};
    take_ids(vocabulary, config);
    return config;
  }

  static std::shared_ptr<const PreTokenizer> splitter(const Before& before) {
    std::vector<std::shared_ptr<const PreTokenizer>> steps;
    if (before.single_digits) {
      steps.push_back(std::make_shared<CharacterSplit>(unicode::is_numeric, SplitBehavior::kIsolated));
    }
    if (before.digits > 0) steps.push_back(std::make_shared<Gpt4Words>(before.digits));
    steps.push_back(std::make_shared<ByteLevel>(false, before.digits == 0));
    return std::make_shared<PreTokenizerSequence>(std::move(steps));
  }

  static EncodingTemplate frame(std::optional<int64_t> first, std::optional<int64_t> last) {
    const auto framed = [&](TemplatePiece text, int64_t type, SequenceTemplate& pieces) {
      if (first) pieces.push_back(special_piece({*first}, type));
      pieces.push_back(std::move(text));
      if (last) pieces.push_back(special_piece({*last}, type));
    };
    SequenceTemplate single, pair;
    framed(first_piece(0), 0, single);
    framed(first_piece(0), 0, pair);
    framed(second_piece(1), 1, pair);
    return {single, pair};
  }

  PipelineConfig sentencepiece() const {
    const auto scores = at("scores").elements();
    if (scores.size() != tokens_.size()) {
      at("scores").mismatch("one for each of the " + std::to_string(tokens_.size()) + " tokens");
    }
    SentencepieceModel model{.is_bpe = true,
                             .byte_fallback = std::ranges::find(kinds_, Kind::kByte) != kinds_.end(),
                             .add_dummy_prefix = boolean_or("add_space_prefix", true),
                             .remove_extra_whitespaces = boolean_or("remove_extra_whitespaces", false)};
    for (size_t id = 0; id < tokens_.size(); ++id) {
      if (!scores[id].value().is_number()) scores[id].mismatch("a number");
      model.pieces.push_back({tokens_[id], scores[id].value().get<float>(), kinds_[id]});
    }
    check_pieces(model, path_.string() + ": tokenizer.ggml.tokens");
    model.begin_id = static_cast<int32_t>(role("bos").value_or(-1));
    model.end_id = static_cast<int32_t>(role("eos").value_or(-1));
    json settings{{"add_bos_token", boolean_or("add_bos_token", true) && model.begin_id >= 0},
                  {"add_eos_token", boolean_or("add_eos_token", false) && model.end_id >= 0}};
    if (const auto pad = role("padding")) settings["pad_token"] = tokens_[static_cast<size_t>(*pad)];
    return read_sentencepiece(std::move(model), path_, TokenizerSettings(path_, std::move(settings)));
  }

  const std::filesystem::path& path_;
  JsonNode root_;
  std::vector<std::string> tokens_;
  std::vector<Kind> kinds_;
};

}  // namespace

PipelineConfig read_gguf_tokenizer(const json& metadata, const std::filesystem::path& path) {
  return Reader(metadata, path).read();
}

}  // namespace compression
