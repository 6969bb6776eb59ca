#include "compress/spec/answer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "compress/base/message.h"  // printable

namespace compression {

using nlohmann::json;

Answer class_answer(const std::vector<std::string>& classes, std::span<const float> shares) {
  const auto best = static_cast<size_t>(std::ranges::max_element(shares) - shares.begin());
  const auto& name = classes.at(best);
  const double share = shares[best];
  Answer answer{fmt::format("{}\t{:.4f}", printable(name), share), {{"label", name}, {"score", share}}};
  for (size_t c = 0; c < classes.size(); ++c) answer.object["scores"][classes[c]] = static_cast<double>(shares[c]);
  return answer;
}

Answer classes_answer(const std::vector<std::string>& classes, std::span<const float> logits,
                      std::span<const float> shares) {
  Answer answer{"", {{"labels", json::array()}}};
  for (size_t c = 0; c < classes.size(); ++c) {
    const double share = shares[c];
    answer.object["scores"][classes[c]] = share;
    if (logits[c] <= 0) continue;
    answer.object["labels"].push_back(classes[c]);
    answer.text += fmt::format("{}{}:{:.4f}", answer.text.empty() ? "" : "\t", printable(classes[c]), share);
  }
  return answer;
}

Answer number_answer(double number) {
  return {fmt::format("{:.4f}", number), {{"score", number}}};
}

Answer vector_answer(std::span<const float> vector) {
  const std::vector<float> values(vector.begin(), vector.end());
  return {fmt::format("{}", fmt::join(values, " ")), {{"embedding", values}}};
}

Answer tags_answer(const std::vector<std::string>& words, const std::vector<std::string>& tags) {
  Answer answer{"", {{"words", words}, {"tags", tags}}};
  for (size_t i = 0; i < words.size(); ++i) {
    answer.text += fmt::format("{}{}/{}", answer.text.empty() ? "" : " ", printable(words[i]), printable(tags.at(i)));
  }
  return answer;
}

}  // namespace compression
