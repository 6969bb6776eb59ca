#pragma once
// What a model's outputs say of a text: for a person, and as JSON.

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

namespace compression {

struct Answer {
  std::string text;
  nlohmann::json object;
};

/// The class with the largest share of the softmax: "sports\t0.9731".
/// {"label": "sports", "score": 0.9731, "scores": {"sports": 0.9731, ...}}
Answer class_answer(const std::vector<std::string>& classes, std::span<const float> shares);

/// The classes whose logits are above 0, with the sigmoids of their logits: "news:0.9012\tlocal:0.5120".
/// {"labels": ["news", "local"], "scores": {"news": 0.9012, ...}}
Answer classes_answer(const std::vector<std::string>& classes, std::span<const float> logits,
                      std::span<const float> shares);

/// "0.4512"; {"score": 0.4512}
Answer number_answer(double number);

/// "0.1 0.2 ..."; {"embedding": [0.1, 0.2, ...]}
Answer vector_answer(std::span<const float> vector);

/// A tag a word: "Anna/B-PER lives/O"; {"words": ["Anna", "lives"], "tags": ["B-PER", "O"]}
Answer tags_answer(const std::vector<std::string>& words, const std::vector<std::string>& tags);

}  // namespace compression
