#include "compress/tokenizer/tokenizer.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

namespace compression {

std::vector<WordStart> word_starts(const Encoding& encoding) {
  std::vector<WordStart> starts;
  int64_t before = -1;
  for (size_t i = 0; i < encoding.word_ids.size(); ++i) {
    const auto word = encoding.word_ids[i];
    if (word >= 0 && word != before) starts.push_back({i, static_cast<size_t>(word)});
    before = word;
  }
  return starts;
}

std::vector<Encoding> Tokenizer::encode_batch(std::span<const TextInput> inputs, const EncodeOptions& options) const {
  // Small blocks that the threads fetch one by one: texts differ in length, often from one end of a file to the other.
  constexpr size_t kBlock = 16;
  std::vector<Encoding> encodings(inputs.size());
  const size_t blocks = (inputs.size() + kBlock - 1) / kBlock;
  [[maybe_unused]] const auto most = static_cast<size_t>(omp_in_parallel() ? 1 : omp_get_max_threads());
  std::atomic<size_t> next = 0;
  std::exception_ptr failure;  // the first: none may leave a thread of OpenMP's
  std::mutex failing;
#pragma omp parallel num_threads(static_cast<int>(std::clamp<size_t>(blocks, 1, most)))
  try {
    for (size_t begin = kBlock * next++; begin < inputs.size(); begin = kBlock * next++) {
      const size_t end = std::min(begin + kBlock, inputs.size());
      for (size_t i = begin; i < end; ++i) encodings[i] = encode(inputs[i], options);
    }
  } catch (...) {
    next = blocks;
    const std::lock_guard<std::mutex> lock(failing);
    if (!failure) failure = std::current_exception();
  }
  if (failure) std::rethrow_exception(failure);
  return encodings;
}

}  // namespace compression
