#pragma once
// What an Encoder is made of, by name: what a model.pt of the fused runtime holds (docs/artifact.md).

#include <map>
#include <string>

#include "compress/base/host_tensor.h"  // LazyTensor

namespace compression::runtime {

/// `numbers`:
///   format           1
///   layers           how many; layer.N.weights is the layer whose weights N has: itself, or an earlier one
///   head_size        columns of a head
///   score_scale      what attention scores are multiplied by
///   eps              of norms
///   rms_norm         may be absent; 1: norms are RMSNorm, else LayerNorm. NAME.eps and NAME.rms_norm, which may be
///                    absent, are those of one norm
///   max_length       tokens of the longest text
///   padding_position -1, or the id of padding, which positions count from
///   masks_queries    may be absent; 1: a text whose first token has the mask 0 is refused, since that token would not
///                    attend as the others do
///   content_to_position, position_to_content  may be absent; 1: scores have that term of relative.table (DeBERTa)
///   function         an Activation: after the intermediate layer; head.function: after the head's dense layer
///   head.mean        may be absent; 1: what the head of a text reads is its tokens' mean, else the first
/// and of a layer, each of which may be absent:
///   layer.N.pre_norm     1: attention_norm stands before attention, where it may be absent, and output_norm before the
///                        FFN; else both behind the sums
///   layer.N.causal       1: a token attends to itself and those before it
///   layer.N.window       a token attends to those at most so far away; 0: to all
///   layer.N.rotary_base  queries and keys have rotary positions of this base
/// `tensors`, those of linear layers being the parts of their kind of storage (compress/storage: NAME.weight in int8,
/// bfloat16, float16 or float32 [out, in], of int8 with NAME.weight_scale, float32 [out]), NAME.bias (may be absent)
/// and, where activations have a scale that is known before, NAME.input_scale (float32 [1], the same for those that
/// read one input); of norms NAME.weight and NAME.bias (may be absent), float32; of tables the parts too, where of int8
/// NAME.weight_scale is [rows, 1]:
///   embeddings.word, .position, .token_type, .norm (the last three may be absent); embeddings.projection, if the
///   layers are wider; layer.N.query, .key, .value, .attention_output, .attention_norm, .intermediate, .output,
///   .output_norm; layer.N.gate (may be absent), whose product the intermediate layer's, behind its function, is
///   multiplied by; layer.N.query_norm, .key_norm (may be absent), of each head's columns; final_norm (may be absent),
///   behind the last layer; layer.N.position_bias (float32 [heads, 2 max_length - 1], may be absent): what is added to
///   the score of a query and a key at max_length - 1 + key - query; relative.table (float32 [rows, hidden]),
///   relative.rows (int32 [2 max_length - 1], never ascending): the table's row of a query and a key, at that place,
///   and relative.norm, if rows are normalised; layer.N.position_key, .position_query, where rows have projections of
///   their own and not those of keys and queries; head.dense, head.norm (behind its function, may be absent) and
///   head.classifier, of a head of texts; head.dense alone ([the embeddings' width, hidden]), of one of tokens.
/// Keys and values may have fewer heads than queries: as many queries' heads each, which follow each other, share one.
struct EncoderState {
  std::map<std::string, LazyTensor> tensors;
  std::map<std::string, double> numbers;
};

}  // namespace compression::runtime
