#include "compress/tokenizer/tokenizer.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

namespace compression {

std::vector<Encoding> Tokenizer::encode_batch(std::span<const TextInput> inputs, const EncodeOptions& options) const {
  // Small blocks that the threads fetch one by one: texts differ in length, often from one end of a file to the other.
  constexpr size_t kBlock = 16;
  std::vector<Encoding> encodings(inputs.size());
  const size_t blocks = (inputs.size() + kBlock - 1) / kBlock;
  const auto workers = std::min(static_cast<int64_t>(blocks), static_cast<int64_t>(at::get_num_threads()));
  std::atomic<size_t> next = 0;
  at::parallel_for(0, workers, 1, [&](int64_t, int64_t) {
    for (size_t begin = kBlock * next++; begin < inputs.size(); begin = kBlock * next++) {
      const size_t end = std::min(begin + kBlock, inputs.size());
      for (size_t i = begin; i < end; ++i) encodings[i] = encode(inputs[i], options);
    }
  });
  return encodings;
}

}  // namespace compression
