#pragma once
// What a model's outputs say of a text.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compress/pipeline/answer_finder.h"  // FoundAnswer, AnswerConfig
#include "compress/spec/task.h"               // TaskHead
#include "compress/tokenizer/tokenizer.h"     // ByteSpan, Encoding, TextInput

namespace compression {

/// Of one text; which members are filled follows from the kind of labels that its task has (spec/task.h).
struct Prediction {
  /// A class or several: of each class the share of the softmax, or the sigmoid of its logit; and the ids of those that
  /// the text is of: the one with the largest share, or all whose logits are above 0.
  std::vector<float> shares;
  std::vector<size_t> classes;

  float number = 0.0f;        // of regression
  std::vector<float> vector;  // of embedding

  /// A tag a word, for the words that were not cut off; and, where the tags are of entities (is_entity_tag), these.
  std::vector<std::string> words, tags;
  struct Entity {
    std::string type, text;
    double share = 0.0;  // the mean of its words', each of the softmax
    ByteSpan place;      // in the text
  };
  std::vector<Entity> entities;

  FoundAnswer answer;  // of a question; FoundAnswer::chosen() has its text

  /// For each mask in the text the words that fit best, best first.
  struct Mask {
    ByteSpan place;
    struct Word {
      std::string token;  // as the vocabulary has it
      double share = 0.0;
    };
    std::vector<Word> words;
  };
  std::vector<Mask> masks;
};

/// Of the logits of one text: [classes], [1] or [width].
Prediction text_prediction(const TaskHead& head, std::span<const float> logits);

/// A word of a text.
struct PlacedWord {
  std::string text;
  ByteSpan place;
};

/// Parts of a text between white space.
std::vector<PlacedWord> words_of(std::string_view text);

/// logits: [tokens, tags] of a text that Tokenizer::encode_words() made of its words, with offsets.
Prediction tags_prediction(const TaskHead& head, std::span<const float> logits, const std::string& text,
                           const std::vector<PlacedWord>& words, const Encoding& encoding);

/// Characters (code points) of UTF-8 before a byte of it: what Python counts.
int64_t characters_before(std::string_view text, int64_t byte);

/// For a person, and as JSON.
struct Answer {
  std::string text;
  nlohmann::json object;
};

/// What `compress predict` prints. Places are in characters. By the kind of labels:
///   a class        "sports\t0.9731"; {"label": "sports", "score": 0.9731, "scores": {"sports": 0.9731, ...}}
///   any number     "news:0.9012\tlocal:0.5120"; {"labels": ["news", "local"], "scores": {"news": 0.9012, ...}}
///   a number       "0.4512"; {"score": 0.4512}
///   a vector       "0.1 0.2 ..."; {"embedding": [0.1, 0.2, ...]}
///   tags           "Anna/B-PER lives/O"; {"words": ["Anna", "lives"], "tags": ["B-PER", "O"], "entities": [{"entity":
///                  "PER", "text": "Anna", "score": 0.9971, "start": 0, "end": 4}]}
///   an answer      "in Paris\t0.8012"; {"answer": "in Paris", "score": 0.8012, "start": 10, "end": 18}, "no_answer" as
///                  FoundAnswer has it, and the best `candidates`
///   masked words   "paris\t0.9812"; {"masks": [{"start": 25, "end": 31, "words": [{"token": "paris", "score":
///                  0.9812}, ...]}]}
Answer shown(const Prediction& prediction, const TaskHead& head, const TextInput& input, const AnswerConfig& answers,
             int64_t candidates = 0);

}  // namespace compression
