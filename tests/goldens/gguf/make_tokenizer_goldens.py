"""Makes the goldens of tests/compress/gguf_tokenizer_test.cpp, in this folder: small GGUF files without tensors, and the ids
that Hugging Face's tokenizers give with the same vocabulary.

Run with Python 3.11, tokenizers 0.23, transformers 5.23 and gguf 0.19:
    python make_tokenizer_goldens.py [models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf]
With the file, smollm2.jsonl is made of its vocabulary.
"""

import json
import sys
from pathlib import Path

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers.convert_slow_tokenizer import generate_merges

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tokenizer"))
import texts  # noqa: E402

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
NUMBERS = r"\p{N}"
WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s"
         r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LINES = [
    "", " ", "  ", "a", " a", "a ", "Hello, world!", "Hello  world", "I'm sure we'll they'RE don'T you'Ve SHE'D it'\u017f it's'",
    "''s 's'S 'sure 'lloyd", "1 12 123 1234 12345 3.14159 1,000,000", "x1y22z333 \u00bd\u00b2\u2167 \u0663\u0664\u0665\u0666",
    "line\nline\r\nline\n\n\nline \n line\n  \n\tline", "\n", "\r\n\r\n", "  \n  ", "tab\tand\u00a0nbsp\u3000wide\u2028sep", "trailing   ",
    "(parentheses)... -- #hash @at $5 a_b c-d e/f\\g", "!!!\n???", " !?\r\n ", "caf\u00e9 cafe\u0301 \u212b \u1e9b\u0323 \uac00 \u1100\u1161",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002 \u65e5\u672c\u8a9e\u306e\u6587", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440", "\u0645\u0631\u062d\u0628\u0627", "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f600 \U0001f469\u200d\U0001f52c\U0001f3fd", "a\0b\x7f\ufeff", "<|begin|>Hello<|end|> <|end|>\n<user>text</user> <|beg",
    "def f(x):\n    return x ** 2  # squares\n", "<s>text</s> <unk> <0x41> \u2581 \u2581\u2581a",
]


def lines(seed):
    return LINES + texts.random_lines(150, seed)


def write_lines(name, tokenizer, all_lines):
    with open(HERE / f"{name}.jsonl", "w") as file:
        for text in all_lines:
            file.write(json.dumps({"text": text, "ids": tokenizer.encode(text).ids}) + "\n")


def byte_level(pre):
    """Normalizer and pre-tokenizer, as tokenizer.json of SmolLM2, Llama 3, Qwen2 and GPT-2 has them."""
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)

    def split(numbers):
        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS % numbers), "isolated"), bytes_alone])

    return {"gpt-2": (None, words), "smollm": (None, pre_tokenizers.Sequence([pre_tokenizers.Digits(True), words])),
            "llama-bpe": (None, split(NUMBERS + "{1,3}")), "qwen2": (normalizers.NFC(), split(NUMBERS))}[pre]


def bpe_tokenizer(vocabulary, merges, pre, kinds, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=ignore_merges))
    normalizer, pre_tokenizer = byte_level(pre)
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.add_special_tokens([token for token, id in vocabulary.items() if kinds[id] in (CONTROL, USER_DEFINED)])
    return tokenizer


def writer_of(name, model, tokens, kinds):
    writer = gguf.GGUFWriter(HERE / f"{name}.gguf", "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    return writer


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_byte_level(pre):
    name = pre.replace("-", "_")
    trained = Tokenizer(models.BPE())
    normalizer, pre_tokenizer = byte_level(pre)
    if normalizer:
        trained.normalizer = normalizer
    trained.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<|begin|>", "<|end|>", "<user>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    trained.train_from_iterator(lines(seed=1) * 3 + texts.random_lines(300, seed=2), trainer)
    state = json.loads(trained.to_str())["model"]
    vocabulary, merges = state["vocab"], [tuple(merge) for merge in state["merges"]]
    if pre == "llama-bpe":  # a word that is a token and no merges lead to
        vocabulary["squares"] = len(vocabulary)
    tokens = sorted(vocabulary, key=vocabulary.get)
    kinds = [CONTROL, CONTROL, USER_DEFINED] + [NORMAL] * (len(tokens) - 3)
    tokenizer = bpe_tokenizer(vocabulary, merges, pre, kinds, ignore_merges=pre == "llama-bpe")
    writer = writer_of(name, "gpt2", tokens, kinds)
    writer.add_tokenizer_pre(pre)
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    if pre == "llama-bpe":  # begins by default
        tokenizer.post_processor = processors.TemplateProcessing("<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    if pre == "qwen2":
        writer.add_add_eos_token(True)
        writer.add_pad_token_id(2)
        tokenizer.post_processor = processors.TemplateProcessing("$A <|end|>", special_tokens=[("<|end|>", 1)])
    finish(writer)
    write_lines(name, tokenizer, lines(seed=3))
    if pre in ("llama-bpe", "qwen2"):  # the same as Hugging Face has it
        folder = HERE / f"{name}_json"
        folder.mkdir(exist_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        (folder / "tokenizer_config.json").write_text('{"pad_token": "<user>"}\n')


def make_sentencepiece():
    """As Llama 2's tokenizer.model, which sentencepiece has trained with byte_fallback, and its tokenizer.json."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    trained.train_from_iterator(lines(seed=1) * 3, trainers.BpeTrainer(vocab_size=900, limit_alphabet=300, show_progress=False))
    learned = [token for token in trained.get_vocab() if not (len(token) == 6 and token.startswith("<0x"))]
    learned.sort(key=lambda token: (len(token) == 1, trained.token_to_id(token)))  # characters last, as sentencepiece has them
    special = ["<unk>", "<s>", "</s>"]
    tokens = special + [f"<0x{byte:02X}>" for byte in range(256)] + learned
    kinds = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(learned)
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(learned))]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    merges = generate_merges(vocabulary, {token: scores[vocabulary[token]] for token in learned})
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = trained.normalizer
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    writer = writer_of("llama", "llama", tokens, kinds)
    writer.add_token_scores(scores)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    finish(writer)
    write_lines("llama", tokenizer, lines(seed=3))


def make_smollm2(path):
    fields = gguf.GGUFReader(path).fields
    tokens, kinds, merges = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges"))
    vocabulary = {token: id for id, token in enumerate(tokens)}
    tokenizer = bpe_tokenizer(vocabulary, [tuple(merge.split(" ")) for merge in merges], "smollm", kinds)
    chat = "<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n<|im_start|>user\nWhat's 17 * 24?<|im_end|>\n"
    write_lines("smollm2", tokenizer, [chat] + lines(seed=3))


if __name__ == "__main__":
    for pre in ("gpt-2", "smollm", "llama-bpe", "qwen2"):
        make_byte_level(pre)
    make_sentencepiece()
    if len(sys.argv) > 1:
        make_smollm2(sys.argv[1])
