"""Writes the seeds of the fuzz targets beside itself: python make_corpus.py. Needs torch (2.13) for data.pkl. What fuzzing has found
since lies among them, with names that say what it did; it stays."""
import io
import json
import math
import pathlib
import struct
import zipfile

here = pathlib.Path(__file__).parent / "corpus"
separator = b"\n-----\n"


def seed(target, name, data):
    folder = here / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def dump(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# safetensors
def safetensors(tensors, metadata=None):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = dump(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


seed("safetensors", "numbers", safetensors({"a": ("F32", [2, 3], bytes(24)), "b": ("I8", [4], b"\1\2\3\4"), "c": ("BF16", [], b"\0\1"),
                                            "d": ("I64", [1], bytes(8)), "e": ("F32", [0, 7], b"")}, {"format": "pt"}))
seed("safetensors", "unaligned", safetensors({"b": ("BOOL", [3], b"\0\1\2"), "a": ("F16", [1], b"ab"), "h": ("F64", [1], bytes(8))}))
seed("safetensors", "nothing", safetensors({}))

# GGUF
def gguf_text(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value):
    """Type and bytes."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, gguf_text(value)
    kind = gguf_value(value[0])[0]
    return 9, struct.pack("<IQ", kind, len(value)) + b"".join(gguf_value(each)[1] for each in value)


def gguf(metadata, tensors=()):
    out, table, data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)), b"", b""
    for key, value in metadata.items():
        kind, content = gguf_value(value)
        out += gguf_text(key) + struct.pack("<I", kind) + content
    for name, kind, sizes, content in tensors:
        out += gguf_text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, len(data))
        data += content + bytes(-len(content) % 32)
    return out + bytes(-len(out) % 32) + data


blocks = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 12: (256, 144), 13: (256, 176), 14: (256, 210),
          24: (1, 1), 28: (1, 8), 30: (1, 2)}
seed("gguf", "types", gguf({"general.architecture": "llama", "a": True, "b": 1.5, "c": [1, 2], "d": ["x", ""], "general.alignment": 32},
                           [(f"t{kind}", kind, [numbers, 2], bytes(range(size)) * 2) for kind, (numbers, size) in blocks.items()]))
others = iter(range(256, 512))
byte_characters = [chr(b if 32 < b < 127 or 160 < b < 256 and b != 173 else next(others)) for b in range(256)]
ggml = "tokenizer.ggml."
for name in ("gpt-2", "smollm", "llama-bpe", "qwen2"):
    tokens = ["<s>", "</s>", "<x>"] + byte_characters + ["he", "re"]
    seed("gguf", name, gguf({ggml + "model": "gpt2", ggml + "pre": name, ggml + "tokens": tokens, ggml + "merges": ["h e", "r e"],
                             ggml + "token_type": [3, 3, 4] + [1] * 258, ggml + "bos_token_id": 0, ggml + "eos_token_id": 1, ggml + "add_eos_token": True}))
pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + ["\u2581h", "h", "e", "he"]
seed("gguf", "llama", gguf({ggml + "model": "llama", ggml + "tokens": pieces, ggml + "scores": [0.0] * 259 + [-1.0, -2.0, -3.0, -0.5],
                            ggml + "token_type": [2, 3, 3] + [6] * 256 + [1] * 4, ggml + "bos_token_id": 1}))

# config.json
configs = {
    "bert": {"model_type": "bert", "vocab_size": 64, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 16, "max_position_embeddings": 40, "type_vocab_size": 2, "hidden_act": "gelu",
             "architectures": ["BertForSequenceClassification"], "id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}},
    "pruned": {"model_type": "bert", "vocab_size": 64, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
               "intermediate_size": 16, "problem_type": "regression", "num_labels": 1,
               "compress": {"format": 1, "attention_head_size": 2, "weight_format": "fp16", "embedding_format": "int8",
                            "layers": [{"num_attention_heads": 3, "intermediate_size": 7}, {"num_attention_heads": 0, "intermediate_size": 0}]}},
    "int8": {"model_type": "distilbert", "dim": 8, "n_heads": 2, "n_layers": 1, "hidden_dim": 16, "vocab_size": 64,
             "quantization_config": {"quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
                                     "config_groups": {"group_0": {"targets": ["Linear"],
                                                                   "weights": {"num_bits": 8, "type": "int", "symmetric": True,
                                                                               "strategy": "channel", "dynamic": False},
                                                                   "input_activations": {"num_bits": 8, "type": "int", "symmetric": True,
                                                                                         "strategy": "token", "dynamic": True}}},
                                     "ignore": ["classifier"]}},
    "mpnet": {"model_type": "mpnet", "vocab_size": 64, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 4,
              "intermediate_size": 16, "pad_token_id": 1, "relative_attention_num_buckets": 32, "architectures": ["MPNetForMaskedLM"],
              "compress": {"format": 1, "attention_head_size": 2,
                           "layers": [{"num_attention_heads": 2, "intermediate_size": 4, "position_heads": [0, 3]}]}},
    "deberta": {"model_type": "deberta-v2", "vocab_size": 64, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
                "intermediate_size": 16, "relative_attention": True, "pos_att_type": "c2p|p2c", "position_buckets": 4,
                "max_relative_positions": -1, "max_position_embeddings": 32, "norm_rel_ebd": "layer_norm", "share_att_key": True,
                "position_biased_input": False, "type_vocab_size": 0, "pooler_dropout": 0, "pooler_hidden_act": "gelu",
                "architectures": ["DebertaV2ForTokenClassification"]},
    "albert": {"model_type": "albert", "vocab_size": 64, "embedding_size": 4, "hidden_size": 8, "num_hidden_layers": 4,
               "num_hidden_groups": 2, "inner_group_num": 1, "num_attention_heads": 2, "intermediate_size": 16},
    "electra": {"model_type": "electra", "embedding_size": 4, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
                "intermediate_size": 16, "vocab_size": 64, "architectures": ["ElectraForQuestionAnswering"], "classifier_dropout": None},
}
for name, config in configs.items():
    seed("config_json", name, dump(config))


# tokenizer.json
def added(token, id, **more):
    return {"id": id, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} | more


def tokenizer(model, tokens, normalizer=None, pre_tokenizer=None, post_processor=None):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": None, "model": model}


special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
words = special + ["the", "quick", "##s", "a", "b", "##c", "\u3042"]
template = {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}}
wordpiece = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
             "vocab": {word: i for i, word in enumerate(words)}}
bert_normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
seed("tokenizer_json", "wordpiece", dump(tokenizer(wordpiece, [added(t, i) for i, t in enumerate(special)] + [added("new  york", 12, normalized=True, single_word=True)],
                                                   bert_normalizer, {"type": "BertPreTokenizer"}, template)).encode()
     + separator + b'{"pad_token":"[PAD]","mask_token":{"content":"[MASK]","lstrip":true}}' + separator + b"The Quicks a[MASK] new  york")
names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
letters = [chr(c) for c in range(97, 123)]
byte_level = names + letters + ["\u0120", "th", "the", "\u0120the", "ab"]
bpe = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
       "byte_fallback": False, "ignore_merges": False, "vocab": {word: i for i, word in enumerate(byte_level)},
       "merges": [["t", "h"], ["th", "e"], ["\u0120", "the"], "a b"]}
seed("tokenizer_json", "bpe_bytes", dump(tokenizer(bpe, [added(t, i, lstrip=t == "<mask>", rstrip=t == "<s>") for i, t in enumerate(names)], None,
                                                   {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
                                                   {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": True})).encode()
     + separator + b"{}" + separator + b"the ab  <mask> don't 12")
spaced = names + letters + ["\u2581", "th", "\u2581th", "<0x41>"] + [f"<0x{i:02X}>" for i in range(256) if i != 0x41]
seed("tokenizer_json", "bpe_metaspace", dump(tokenizer(
    bpe | {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True, "end_of_word_suffix": "", "vocab": {word: i for i, word in enumerate(spaced[:40])},
           "merges": [["t", "h"], ["\u2581", "th"]]}, [added(t, i) for i, t in enumerate(names)],
    {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": "\\A +| {2,}"}, "content": " "}, {"type": "Prepend", "prepend": " "},
                                         {"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Nmt"}]},
    {"type": "Sequence", "pretokenizers": [{"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True},
                                           {"type": "Split", "pattern": {"String": "b"}, "behavior": "MergedWithNext", "invert": True}, {"type": "Digits", "individual_digits": True},
                                           {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Whitespace"}, {"type": "WhitespaceSplit"}]},
    {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]})))
charsmap = "CAAAAAAAAAABAAAAYgA="
seed("tokenizer_json", "unigram", dump(tokenizer(
    {"type": "Unigram", "unk_id": 1, "byte_fallback": False, "vocab": [["<pad>", 0], ["<unk>", 0], ["[CLS]", 0], ["[SEP]", 0], ["\u2581", -2.5], ["a", -3], ["ab", -3.5], ["\u2581the", -4]]},
    [added("<pad>", 0), added("<unk>", 1), added("[CLS]", 2), added("[SEP]", 3)],
    {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": charsmap}, {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"},
                                         {"type": "Replace", "pattern": {"String": "``"}, "content": "\""}]},
    {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}]}, template
    | {"type": "Sequence", "processors": [{"type": "ByteLevel", "trim_offsets": True}]})))

# vocabularies
seed("vocabulary", "lines", b"\0" + "\n".join(words).encode() + separator
     + b'{"do_lower_case":true,"tokenizer_class":"BertTokenizer","added_tokens_decoder":{"12":{"content":"<x>","special":true,"lstrip":true}}}' + separator + b"{}" + separator + b"The quicks <x>")
seed("vocabulary", "mpnet", b"\0" + "\n".join(["<s>", "<pad>", "</s>", "[UNK]", "<mask>", "the", "##s"]).encode() + separator + b'{"tokenizer_class":"MPNetTokenizer"}')
seed("vocabulary", "merges", b"\1" + dump({word: i for i, word in enumerate(byte_level)}).encode() + separator + "#version: 0.2\nt h\nth e\n\u0120 the\n".encode() + separator
     + b'{"add_prefix_space":true}' + separator + b'{"mask_token":{"content":"<mask>","lstrip":true}}' + separator + b"the ab <mask>")


# sentencepiece
def varint(value):
    out = b""
    while True:
        out += bytes([value & 127 | (128 if value > 127 else 0)])
        value >>= 7
        if not value:
            return out


def field(number, content):
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    if isinstance(content, float):
        return varint(number << 3 | 5) + struct.pack("<f", content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def piece(text, score, kind):
    return field(1, field(1, text.encode()) + field(2, score) + field(3, kind))


pieces = [piece("<unk>", 0.0, 2), piece("<s>", 0.0, 3), piece("</s>", 0.0, 3), piece("\u2581", -1.0, 1), piece("t", -2.0, 1), piece("h", -2.5, 1),
          piece("th", -1.5, 1), piece("\u2581th", -1.25, 1), piece("<x>", 0.0, 4), piece("q", -9.0, 5)]
normalizer = field(3, field(1, b"nmt") + field(2, bytes.fromhex("080000000000000000010000") + b"b\0") + field(3, 1) + field(4, 1) + field(5, 1))
unigram = b"".join(pieces) + field(2, field(3, 1) + field(4, 10) + field(40, 0)) + normalizer
for number, name in enumerate(["own", "xlm_roberta", "camembert", "albert", "deberta"]):
    more = b"" if number < 3 else b"".join(piece(t, 0.0, 3) for t in ["<pad>", "[CLS]", "[SEP]", "[MASK]"])
    seed("sentencepiece", name, bytes([number]) + more + unigram)
bytes_ = b"".join(piece(f"<0x{i:02X}>", 0.0, 6) for i in range(256))
seed("sentencepiece", "bpe", b"\0" + b"".join(pieces) + bytes_ + field(2, field(3, 2) + field(35, 1) + field(46, b"<s>")) + field(3, field(3, 0)))

# requests: the path, and behind the separator the body
requests = {
    "/": {"inputs": {"source_sentence": "good", "sentences": ["bad"]}},
    "/embed": {"inputs": ["good film", "bad"], "normalize": False, "truncate": True, "truncation_direction": "Left", "dimensions": 3, "model": "sentence"},
    "/embed_all": {"inputs": [[5, 6, 7], [8]], "prompt_name": None},
    "/predict": {"inputs": [["the quick"], ["the", "fox"]], "raw_scores": True},
    "/rerank": {"query": "the", "texts": ["fox"], "return_text": True},
    "/similarity": {"inputs": {"source_sentence": "good", "sentences": ["bad", "film"]}, "parameters": {"truncate": True}},
    "/tokenize": {"inputs": ["the \u00e9\u3042"], "add_special_tokens": False},
    "/v1/embeddings": {"input": "good", "encoding_format": "base64", "dimensions": 4, "user": "u"},
    "/v2/models/tiny/infer": {"id": "7", "inputs": [{"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": ["the", "fox"]}], "outputs": [{"name": "logits"}]},
    "/v2/models/sentence/infer": {"inputs": [{"name": "input_ids", "shape": [1, 3], "datatype": "INT64", "data": [[2, 7, 3]]},
                                             {"name": "attention_mask", "shape": [1, 3], "datatype": "INT64", "data": [1, 1, 0]}]},
    "/token_classification": {"inputs": ["a b c", "d"]},
    "/question_answering": {"inputs": [{"question": "a b", "context": "c d a b c"}]},
    "/fill_mask": {"inputs": "a [MASK] b"},
}
for path, body in requests.items():
    seed("request_body", path.strip("/").replace("/", "_") or "main", path.encode() + separator + dump(body).encode())
for path in ("/info", "/metrics", "/openapi.json", "/v1/models/tiny", "/v2/models/t%69ny"):
    seed("request_body", path.strip("/").replace("/", "_"), path)


# folders with a model of one layer
def network(names, hidden, rows, labels):
    shapes = {names + "embeddings.word_embeddings.weight": [rows, hidden], names + "embeddings.position_embeddings.weight": [8, hidden],
              names + "embeddings.token_type_embeddings.weight": [2, hidden], names + "pooler.dense.weight": [hidden, hidden],
              names + "pooler.dense.bias": [hidden], "classifier.weight": [labels, hidden], "classifier.bias": [labels]}
    for part in ("query", "key", "value"):
        shapes[f"{names}encoder.layer.0.attention.self.{part}.weight"], shapes[f"{names}encoder.layer.0.attention.self.{part}.bias"] = [hidden, hidden], [hidden]
    for part, (out, into) in {"attention.output": (hidden, hidden), "intermediate": (2 * hidden, hidden), "output": (hidden, 2 * hidden)}.items():
        shapes[f"{names}encoder.layer.0.{part}.dense.weight"], shapes[f"{names}encoder.layer.0.{part}.dense.bias"] = [out, into], [out]
    for place in (names + "embeddings.", names + "encoder.layer.0.attention.output.", names + "encoder.layer.0.output."):
        shapes[place + "LayerNorm.weight"], shapes[place + "LayerNorm.bias"] = [hidden], [hidden]
    numbers = lambda shape: [0.25 * ((7 * i) % 11 - 5) for i in range(math.prod(shape))]
    return safetensors({name: ("F32", shape, struct.pack(f"<{math.prod(shape)}f", *numbers(shape))) for name, shape in shapes.items()})


tiny = {"model_type": "bert", "vocab_size": len(words), "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
        "max_position_embeddings": 8, "type_vocab_size": 2, "hidden_act": "gelu", "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}}
texts = ("\n".join(words).encode(), dump(tokenizer({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                                                    "vocab": {word: i for i, word in enumerate(words)}}, [added(t, i) for i, t in enumerate(special)],
                                                   None, {"type": "BertPreTokenizer"}, template)).encode())
for name, vocabulary in zip(("vocabulary", "tokenizer"), texts):
    seed("model_folder", name, dump(tiny).encode() + separator + vocabulary + separator + b"the quicks a" + separator + network("bert.", 4, len(words), 2))
tags = tiny | {"architectures": ["BertForTokenClassification"]}
seed("model_folder", "tags", dump(tags).encode() + separator + texts[0] + separator + b"a b" + separator + network("bert.", 4, len(words), 2))

# data files: format, task, flags (1 labelled, 2 header, 4 text_pair)
answer = {"text": ["in"], "answer_start": [6]}
seed("data_file", "jsonl", b"\0\0\3" + b'{"text": "caf\\u00e9", "label": 1}\n\n{"label": "b", "text": ""}\r\n')
seed("data_file", "jsonl_lists", b"\0\1\1" + b'{"text": "a", "label": ["x", 3]}\n{"text": "b", "label": []}')
seed("data_file", "jsonl_scores", b"\0\2\1" + b'{"text": "a", "label": 0.5}\n{"text": "b", "label": "1e-3"}')
seed("data_file", "jsonl_words", b"\0\4\1" + b'{"tokens": ["a", "b"], "tags": ["O", "B-X"]}')
seed("data_file", "jsonl_answers", b"\0\5\1" + ('{"question": "q", "context": "\u00e9bcd  in", "answers": %s}\n' % dump(answer)).encode())
seed("data_file", "csv", b"\1\0\7" + b'text,text_pair,label\n"a ""quoted"",\nline",b,0\r\nc,"d",1\n')
seed("data_file", "csv_bare", b"\1\0\1" + b"a,0\nb,1\n")
seed("data_file", "tsv_labels", b"\2\1\3" + b'text\tlabel\n"a\tx|y\nb\t\n')
seed("data_file", "cola", b"\3\0\1" + b"gj04\t1\t\tA sentence.\ngj04\t0\t*\tOther one.\n")
seed("data_file", "mrpc", b"\3\0\1" + b"\xef\xbb\xbfQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t2\t3\ta\tb\n")
seed("data_file", "stsb", b"\3\3\1" + b"index\tgenre\told_index\tsentence1\tsentence2\tscore\n0\tg\t1\ta\tb\t5.0\n")
seed("data_file", "conll", b"\4\4\1" + b"-DOCSTART- -X- O O\n\nAnna NNP B-PER\nlives VBZ O\n\n\nin O\n")
seed("data_file", "squad", b"\5\5\1" + dump({"version": "1.1", "data": [{"title": "t", "paragraphs": [
    {"context": "\u00e9bcd  in", "qas": [{"id": "1", "question": "q", "answers": [{"text": "in", "answer_start": 6}]}]}]}]}).encode())

# recipes
seed("recipe", "chain", """version: 1
name: news
seed: 17
output: runs/${name}
variables: {epochs: 2, where: data}
model: {path: models/x}
task: {type: classification, metric: accuracy}
data:
  max_length: 64
  train: &file {path: "${where}/train.jsonl", text: text, label: label}
  validation: {<<: *file, path: data/dev.jsonl}
stages:
  - id: teacher
    finetune: {epochs: "${epochs}", learning_rate: 1.0e-4, batch_size: 32, precision: auto}
  - id: student
    distill: {teacher: teacher, student: {from: teacher, layers: [1, 3]}, losses: [{type: logits, temperature: 2.0}]}
  - id: pruned
    prune: {of: student, importance: first_order, heads: 6, intermediate_size: 512}
  - id: int8
    quantize: {of: pruned, scheme: int8_dynamic}
  - id: shipped
    export: {of: int8, format: torchscript}
goals:
  accuracy: {relative_to: teacher, max_drop: 0.01}
  size: {max: 30MB}
""".encode() + separator + b"stages[0].finetune.epochs=3" + separator + b"goals={size: {max: 1GB}}")
seed("recipe", "small", "version: 1\nname: a\noutput: b\nmodel: {path: c}\ntask: {type: embedding}\ndata: {train: {path: a.csv}, validation: {path: b.csv}}\n"
                        "stages: [{id: s, vocabulary: {of: c}}]\n")

# the pickles of TorchScript files: eighths of the bytes of a record, then data.pkl
import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.zeros(2, 3))
        self.numbers, self.names = {"x": 1.5}, ["a", "b"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.a + self.numbers["x"] + len(self.names)


buffer = io.BytesIO()
torch.jit.save(torch.jit.script(Model()), buffer)
archive = zipfile.ZipFile(buffer)
seed("pickle", "module", b"\3" + archive.read(next(n for n in archive.namelist() if n.endswith("/data.pkl"))))


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


storage = b"((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\6tQ"
tensor = b"ctorch._utils\n_rebuild_tensor_v2\n" + storage + b"K\0(K\2K\3t(K\3K\1t\x89N" + b"tR"
seed("pickle", "tensor", b"\3\x80\2" + tensor + b".")
seed("pickle", "tensors", b"\3\x80\2(]" + tensor + b"q\1a" + b"h\1ah\1K\7\x86aG" + bytes(8) + b"\x85\x87" + b"}(" + text("k") + b"h\1utt.")

# the fused state: kinds of the model that it is made of, and commands
for kind in (0, 1, 2, 3, 4, 8, 16, 32, 64, 0x3D, 0x80, 0x81, 0x90, 0xC0, 0xD1):
    seed("fused_state", f"kind_{kind}", bytes([kind]))
seed("fused_state", "numbers", bytes([1]) + bytes([1 | 3 << 3, 0, 2, 0]) + bytes([0 | 9 << 3, 0]) + struct.pack("<d", 0.5) + bytes([5, 3, 1, 0, 255, 2, 0, 7]))
