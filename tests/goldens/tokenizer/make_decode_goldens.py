"""Makes decode.jsonl beside this script, which tests/compress/decode_test.cpp reads: what Hugging Face's tokenizers make of ids, with
their own decoder and with others, with special tokens ("all") and without ("plain").

Run with Python 3.11, tokenizers 0.23 and transformers 5.24: python make_decode_goldens.py
"""
import json
import pathlib
import random

from tokenizers import Tokenizer, decoders
from transformers import AutoTokenizer

HERE = pathlib.Path(__file__).parent
TEXTS = ["Hello, world!", " I don't  know 's it ?", "<s>a <mask> b</s>", "caf\u00e9 \u212b \u4f60\u597d\uff0c\u4e16\u754c \U0001f469\u200d\U0001f52c", "\ttab\nline\r\n", "\u2581a \u2581\u2581 b",
         "[CLS] the quick [SEP] brown", "play what is the weather in paris", "<|begin|>Hello<|end|>", ""]
DECODERS = {
    "ByteLevel": decoders.ByteLevel(),
    "WordPiece": decoders.WordPiece("##", True),
    "WordPiece, as it is": decoders.WordPiece("##", False),
    "Metaspace": decoders.Metaspace("\u2581", "always"),
    "Metaspace, never": decoders.Metaspace("\u2581", "never"),
    "Llama": decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
    "Strip": decoders.Strip("e", 1, 0),
    "BPEDecoder": decoders.BPEDecoder("e"),
}


def cases(tokenizer, encode, size, generator):
    all_ids = [encode(text) for text in TEXTS]
    all_ids += [[generator.randrange(size) for _ in range(generator.choice([1, 2, 5, 12]))] for _ in range(12)]
    return [{"ids": ids, "all": tokenizer(ids, False), "plain": tokenizer(ids, True)} for ids in all_ids]


def main():
    lines = []
    for path in sorted([*HERE.glob("*/tokenizer.json"), *(HERE.parent / "gguf").glob("*/tokenizer.json")]):
        tokenizer = Tokenizer.from_file(str(path))
        own = tokenizer.decoder
        for name, decoder in [("", own), *DECODERS.items()]:
            if decoder is not None:
                tokenizer.decoder = decoder
            found = cases(lambda ids, skip: tokenizer.decode(ids, skip_special_tokens=skip), lambda text: tokenizer.encode(text).ids,
                          tokenizer.get_vocab_size() + 2, random.Random(7))
            lines.append({"folder": str(path.parent.relative_to(HERE.parent)), "decoder": json.loads(tokenizer.to_str())["decoder"] if name else None,
                          "name": name, "cases": found})
    for name in ["bpe_files", "bpe_sentencepiece", "unigram_albert", "unigram_xlm_roberta", "unigram_deberta"]:
        tokenizer = AutoTokenizer.from_pretrained(HERE / name)
        found = cases(lambda ids, skip: tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False),
                      lambda text: tokenizer(text)["input_ids"], len(tokenizer), random.Random(7))
        lines.append({"folder": f"tokenizer/{name}", "decoder": None, "name": "", "cases": found})
    with open(HERE / "decode.jsonl", "w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")


main()
