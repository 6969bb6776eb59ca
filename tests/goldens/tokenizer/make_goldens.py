"""Makes the files in this folder that tests/compress/tokenizer_test.cpp reads.

    python make_goldens.py --model models/all-MiniLM-L6-v2 --clinc150 DIR

Run in a development environment with the Python packages transformers and tokenizers; --model is the folder of the
real tokenizer, DIR holds the CLINC150 data set as JSON lines with a "text" (CC BY 3.0).
"""
import argparse
import importlib.metadata
import json
import pathlib
import random
import sys
import zlib

import tokenizers
import transformers
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors, trainers

import texts

HERE = pathlib.Path(__file__).parent

NEWS = [
    "Shares in the airline fell 4.7% to £2.31 on Tuesday after it warned that \"fuel costs\" would wipe out profits.",
    "The midfielder, 23, who joined from São Paulo for €12.5m, won't play again this season, the club's doctor said.",
    "U.S. regulators said they'd look into the merger - worth $1,340,000,000 - \"as a matter of urgency\".",
    "Ministers met in Zürich; no statement was issued. (A spokesman said: 'We're not there yet.')",
    "Box office: \"The Long Way Down\" took £5.6m in its first week-end, ahead of \"Café Noir\" and \"Señor X\".",
    "The new processor runs at 3.2GHz, draws 45W and costs about ¥38,000, according to the firm's web-site.",
]

# Every flag of an added token at least once; "New York" and "DAY" are found in normalised text.
ADDED = [AddedToken("[MASK]", special=True, normalized=False, lstrip=True),
         AddedToken("<right>", normalized=False, rstrip=True),
         AddedToken("<both>", normalized=False, lstrip=True, rstrip=True),
         AddedToken("solo", normalized=False, single_word=True),
         AddedToken("New York", normalized=True),
         AddedToken("DAY", normalized=True, single_word=True),
         AddedToken("<right><", normalized=False)]
ADDED_LINES = ["a [MASK] b", "a  [MASK]b", "[MASK]", " [MASK] [MASK]", "x <right>  y", "x<both> y", "x  <both>  <both> y",
               "solo", "solos", "a solo b", "(solo)", "solo_", "_solo", "solo\u0301", "\u00e9solo", "solo-solo",
               "soloso solo", "I love new york.", "NEW YORK NEW  YORK", "Newer York", "today", "to day", "day", "Day!", "D\u00c1Y",
               "<right><", "<right><right>< <", "[mask]", "\u3000[MASK]\u2003<right>\u2003\u3000x", "[MASK", "<both",
               "d\u00e4y\u00b2", "[CLS][SEP]", "<right>\u200b x", "\u00a0[MASK]\u0085<right>\u0085\u00a0y"]

SPLITTING_VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5, "##b": 6}

INVALID = [b"\xff", b"a\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82z", b"\xf0\x9f\x98", b"\xf0\x9fx", b"\xf4\x90\x80\x80",
           b"\xed\xa0\x80", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf8\x88\x80\x80\x80", b"\x80\x80", b"ok\xf0\x80\x80\x80ok",
           b"\xe2\x82\xac\xe2\x82", b"\xc3\xa9\xfe\xc3\xa9", b"\xf1\x80\x80\xe1\x80\xc2a"]


def write_jsonl(name, rows):
    with open(HERE / name, "w", encoding="ascii") as file:
        for row in rows:
            file.write(json.dumps(row, separators=(",", ":")) + "\n")


def tiny_tokenizer(lines, size, lowercase, special):
    """A WordPiece vocabulary trained on the lines; special: classification, separator, padding and unknown token."""
    cls, sep, pad, unk = special
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token=unk, max_input_chars_per_word=20))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(lines, trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=[pad, unk, cls, sep], limit_alphabet=size // 2, show_progress=False))
    return tokenizer


def code_point_rows():
    """CRC-32 over runs of code points: of "a?b" normalised in three ways, and of how "a?b" is split."""
    ways = [dict(), dict(lowercase=False), dict(strip_accents=False)]
    ways = [normalizers.BertNormalizer(**way) for way in ways]
    splitter = tokenizers.Tokenizer(models.WordPiece(SPLITTING_VOCABULARY, unk_token="[UNK]"))
    splitter.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first = 0
    while first <= sys.maxunicode:
        plane = first >> 16
        last = first + (0xFF if plane in (0, 1, 2, 3, 14) else 0xFFFF)
        lines = [f"a{chr(c)}b" for c in range(first, last + 1) if not 0xD800 <= c < 0xE000]
        row = [zlib.crc32("".join(way.normalize_str(line) + "\n" for line in lines).encode()) for way in ways]
        ids = "".join(" ".join(map(str, e.ids)) + "\n" for e in splitter.encode_batch(lines)) if lines else ""
        yield [first, last, *row, zlib.crc32(ids.encode())]
        first = last + 1


def pair_rows(tokenizer, lines, rng, number):
    for _ in range(number):
        first, second = rng.choice(lines), rng.choice(lines)
        if rng.random() < 0.1:
            second = ""
        row = {"text": first, "max_length": rng.randint(4, 40), "special": rng.random() < 0.7}
        if rng.random() < 0.8:
            row["pair"] = second
        tokenizer.enable_truncation(row["max_length"])
        encoding = tokenizer.encode(first, row.get("pair"), add_special_tokens=row["special"])
        tokenizer.no_truncation()
        yield row | {"ids": encoding.ids, "types": encoding.type_ids}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clinc150", required=True)
    arguments = parser.parse_args()
    rng = random.Random(17)

    clinc150 = []
    for path in sorted(pathlib.Path(arguments.clinc150).glob("*.jsonl")):
        clinc150 += [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    sentences = rng.sample(clinc150, 300) + NEWS + ["\n\n".join(NEWS), ""]
    unicode_lines = texts.random_lines(600, seed=17)

    tiny = tiny_tokenizer(sentences + unicode_lines, 1500, True, ("[CLS]", "[SEP]", "[PAD]", "[UNK]"))
    tiny.add_tokens(ADDED)
    tiny.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tiny.enable_truncation(5)  # a tokenizer.json may hold such settings; they are not to count
    tiny.enable_padding(length=9)
    cased = tiny_tokenizer(sentences, 800, False, ("<s>", "</s>", "<pad>", "<unk>"))
    cased.post_processor = processors.RobertaProcessing(("</s>", 3), ("<s>", 2))
    cased.enable_padding(pad_id=0, pad_token="<pad>")
    for name, tokenizer in (("tiny", tiny), ("cased", cased)):
        (HERE / name).mkdir(exist_ok=True)
        tokenizer.save(str(HERE / name / "tokenizer.json"), pretty=False)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        write_jsonl(f"{name}_pairs.jsonl", pair_rows(tokenizer, sentences, rng, 250))

    # The same vocabulary as text, which transformers reads with tokenizer_config.json.
    folder = HERE / "vocab_txt"
    folder.mkdir(exist_ok=True)
    vocabulary = sorted(cased.get_vocab(), key=cased.get_vocab().get)
    (folder / "vocab.txt").write_text("".join(token + "\n" for token in vocabulary), encoding="utf-8")
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": False, "unk_token": "<unk>",
              "cls_token": {"content": "<s>", "lstrip": False, "normalized": False, "rstrip": False,
                            "single_word": False},
              "sep_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    special = dict(unk_token="<unk>", cls_token="<s>", sep_token="</s>", pad_token="<pad>")
    from_vocab = transformers.BertTokenizer(vocab=str(folder / "vocab.txt"), strip_accents=False, mask_token=None,
                                            **special).backend_tokenizer

    real = tokenizers.Tokenizer.from_file(str(pathlib.Path(arguments.model) / "tokenizer.json"))
    real.no_truncation()
    real.no_padding()

    lines = sentences + unicode_lines + ADDED_LINES
    uncased = normalizers.BertNormalizer()
    kept_case = normalizers.BertNormalizer(lowercase=False, clean_text=False, strip_accents=True)
    encoders = {"tiny": tiny, "cased": cased, "vocab_txt": from_vocab, "real": real}
    write_jsonl("lines.jsonl", ({"text": line, "normalized": uncased.normalize_str(line),
                                 "kept_case": kept_case.normalize_str(line)}
                                | {name: encoder.encode(line).ids for name, encoder in encoders.items()}
                                for line in lines))
    with open(HERE / "code_points.txt", "w", encoding="ascii") as file:
        for first, last, *sums in code_point_rows():
            file.write(f"{first:X} {last:X} " + " ".join(f"{s:08x}" for s in sums) + "\n")
    write_jsonl("invalid_utf8.jsonl", ({"bytes": b.hex(), "text": b.decode(errors="replace")} for b in INVALID))
    versions = {name: importlib.metadata.version(name) for name in ("tokenizers", "transformers")}
    (HERE / "made_with.json").write_text(json.dumps(versions | {"python": sys.version.split()[0]}) + "\n")


if __name__ == "__main__":
    main()
