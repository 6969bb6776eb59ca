"""Makes the folders bpe_* and unigram_* beside this script, which tests/compress/subword_test.cpp reads, and
windows.jsonl.

    python make_subword_goldens.py --clinc150 DIR [--full DIR]

Trains small tokenizers of each kind on the CLINC150 texts (JSON lines with a "text" in DIR, CC BY 3.0), and writes what
Hugging Face's make of other texts. With --full, it also writes larger ones with sentencepiece's own normalisation rules
to that folder, for compare.py. Needs the Python packages tokenizers, transformers, sentencepiece and protobuf.
"""
import argparse
import json
import pathlib
import random
import tempfile

import sentencepiece
import tokenizers
import transformers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors, trainers

import texts
from make_goldens import ADDED_LINES, HERE, NEWS

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
MORE_LINES = ["<mask>", "a <mask> b", "a  <mask>b<s></s>", " leading", "trailing ", "  two  spaces  inside  ", "\t\n tabs\n\n",
              "don't can't we'll I'd they're I've I'm it's", "x's'S 't'T", "3.14159 1,000,000 \u00b2\u00b3 \u0664\u0665",
              "``quoted'' and \"quoted\"", "\u2581already\u2581there \u2581", "\uff26\uff55\uff4c\uff4c\u3000\uff57\uff49\uff44\uff54\uff48 \ufb01ne \u2460",
              "e\u0301 \u00e9 \u1e9b\u0323 \u0344 \u0f73\u0f71 a\u0323\u0307 a\u0307\u0323", "\uac00\u1100\u1161\u11a8 \u1100\u1161", "\u0130stanbul \u03a3\u03a3",
              "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea\U0001f1eb", "\r\n \r \u2028 \u00a0\u0085", "\U000313ff\U0002ebf0a\U00016d40b", "\U000111c9 a\u1cf2b\u1cf3",
              "", " ", "  ", "a", "(a)b)c", "hello\u00a0world", "\ufdfa", "NEW\u00c5\u212b\u2126"]

# Rules for a table that fits a repository: sequences, clusters of fewer than six bytes, deletions, and spaces.
RULES = [("\u00a0", " "), ("\u3000", " "), ("\t", " "), ("\n", " "), ("\u200b", ""), ("\u00ad", ""), ("\ufb01", "fi"), ("\ufb02", "fl"),
         ("\u2460", "1"), ("\u00b2", "2"), ("\u00bd", "1\u20442"), ("\u2026", "..."), ("\u212b", "\u00c5"), ("e\u0301", "\u00e9"),
         ("a\u0308", "\u00e4"), ("o\u0308", "\u00f6"), ("u\u0308", "\u00fc"), ("\u1100\u1161", "\uac00"), ("\u03c2", "\u03c3"), ("\u2019", "'"), ("\u201c", '"'),
         ("\u0130", "i\u0307"), ("\ufdfa", "\u0635\u0644\u0649 \u0627\u0644\u0644\u0647")] + [
             (chr(c), chr(c - 0xFEE0)) for c in range(0xFF01, 0xFF5F)]


def bytes_before(text):
    positions = [0]
    for c in text:
        positions.append(positions[-1] + len(c.encode()))
    return positions


def in_bytes(encoding, of_text):
    """[begin, end, begin, ...]; of_text: the text of the token at a place, by its sequence and word."""
    spans = []
    for i, (begin, end) in enumerate(encoding.offsets):
        sequence = encoding.sequence_ids[i]
        positions = [0] if sequence is None else bytes_before(of_text(sequence, encoding.word_ids[i]))
        spans += [positions[begin], positions[end]] if sequence is not None else [0, 0]
    return spans


def row_of(encoding, of_text):
    ids = [[-1 if v is None else v for v in values] for values in (encoding.sequence_ids, encoding.word_ids)]
    return {"ids": encoding.ids, "types": encoding.type_ids, "offsets": in_bytes(encoding, of_text),
            "sequences": ids[0], "words": ids[1]}


def write_rows(path, rows):
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        for row in rows:
            file.write(json.dumps(row, separators=(",", ":")) + "\n")


def line_rows(tokenizer, lines):
    for line in lines:
        encoding = tokenizer.encode(line)
        row = row_of(encoding, lambda sequence, word: line)
        yield {"text": line, "ids": row["ids"], "offsets": row["offsets"], "words": row["words"]}


def window_rows(name, tokenizer, lines, rng, number):
    """Windows of pairs and of single texts, pairs cut on one side, and lists of words."""
    for i in range(number):
        first, second = (" ".join(rng.sample(lines, k)) for k in (1, 4))
        length, stride = rng.randint(24, 60), rng.randint(0, 8)
        row = {"tokenizer": name, "max_length": length, "special": rng.random() < 0.8}
        plain = {"add_special_tokens": row["special"]}
        if i % 4 == 0:
            words = (first + " " + second).split(" ")
            tokenizer.enable_truncation(length)
            encoding = tokenizer.encode(words, is_pretokenized=True, **plain)
            yield row | {"list": words, "windows": [row_of(encoding, lambda sequence, word: words[word])]}
        else:
            strategy, pair = [("only_second", second), ("only_first", first), ("only_first", None)][i % 4 - 1]
            text = first if strategy == "only_second" else second
            tokenizer.enable_truncation(length, stride=stride, strategy=strategy)
            try:
                encoding = tokenizer.encode(text, pair, **plain)
            except BaseException:  # nothing would be left of the text that may be cut
                continue
            windows = [row_of(e, lambda sequence, word: (text, pair)[sequence]) for e in [encoding, *encoding.overflowing]]
            for further in windows[1:]:
                del further["types"]  # in these, tokenizers leaves the second text at 1, whatever the template says
            yield row | {"text": text, "pair": pair, "stride": stride, "strategy": strategy, "windows": windows}
        tokenizer.no_truncation()


def byte_bpe(lines, size, **splitting):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False))
    return tokenizer


def roberta(lines, size):
    tokenizer = byte_bpe(lines, size)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    return tokenizer


def prefixed(lines, size):
    """Digits one by one, a space before each text, offsets trimmed by the first of two post-processors."""
    tokenizer = byte_bpe(lines, size)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True, add_prefix_space=True),
        processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1",
                                      special_tokens=[("<s>", 0), ("</s>", 2)])])
    return tokenizer


def metaspace_bpe(lines, size):
    """As tokenizers converted from sentencepiece: bytes for what is unknown."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "),
                                                 normalizers.Strip(left=True, right=False)])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, limit_alphabet=70,
                                                             show_progress=False))
    trained = json.loads(tokenizer.to_str())["model"]
    vocabulary = trained["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    tokenizer.model = models.BPE(vocabulary, [tuple(m) for m in trained["merges"]], unk_token="<unk>", fuse_unk=True,
                                 byte_fallback=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 0)])
    return tokenizer


def word_bpe(lines, size):
    """As CLIP's: lower case, a suffix at the end of words, unknown characters one by one."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(),
                                                 normalizers.Nmt()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, limit_alphabet=60,
                                                             end_of_word_suffix="</w>", show_progress=False))
    tokenizer.add_tokens([AddedToken("new york", single_word=True)])
    return tokenizer


def sentencepiece_model(path, lines, size, rules, **options):
    with tempfile.TemporaryDirectory() as folder:
        if rules:
            table = pathlib.Path(folder, "rules.tsv")
            table.write_text("".join(
                " ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n" for a, b in rules))
            options["normalization_rule_tsv"] = str(table)
        path.parent.mkdir(exist_ok=True, parents=True)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([line for line in lines if line]), model_prefix=str(path.with_suffix("")), vocab_size=size,
            hard_vocab_limit=False, minloglevel=2, **options)
    path.with_suffix(".vocab").unlink()
    model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    model.trainer_spec.ClearField("model_prefix")  # where it was made is nobody's business
    model.normalizer_spec.ClearField("normalization_rule_tsv")
    path.write_bytes(model.SerializeToString())


SENTENCEPIECE = {  # file, class, options of the trainer
    "unigram_xlm_roberta": ("sentencepiece.bpe.model", "XLMRobertaTokenizer", {}),
    "unigram_camembert": ("sentencepiece.bpe.model", "CamembertTokenizer", {}),
    "unigram_albert": ("spiece.model", "AlbertTokenizer",
                       dict(pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=["[CLS]", "[SEP]", "[MASK]"])),
    "unigram_deberta": ("spm.model", "DebertaV2Tokenizer",
                        dict(pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]",
                             eos_piece="[SEP]", unk_piece="[UNK]", user_defined_symbols=["(", ")"])),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clinc150", required=True)
    parser.add_argument("--full")
    arguments = parser.parse_args()
    rng = random.Random(23)
    clinc150 = []
    for path in sorted(pathlib.Path(arguments.clinc150).glob("*.jsonl")):
        clinc150 += [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    sentences = rng.sample(clinc150, 40) + NEWS
    unicode_lines = texts.random_lines(60, seed=23)
    lines = sentences + unicode_lines + MORE_LINES + ADDED_LINES[:8]
    training = clinc150[:6000] + NEWS + texts.random_lines(200, seed=5)

    windows = []
    tiny = tokenizers.Tokenizer.from_file(str(HERE / "tiny" / "tokenizer.json"))
    tiny.no_truncation()
    tiny.no_padding()
    write_rows(HERE / "tiny" / "offsets.jsonl", line_rows(tiny, lines))
    windows += window_rows("tiny", tiny, sentences + unicode_lines[:20], rng, 10)
    for name, make in (("bpe_roberta", roberta), ("bpe_prefixed", prefixed), ("bpe_metaspace", metaspace_bpe),
                       ("bpe_words", word_bpe)):
        tokenizer = make(training, 700)
        (HERE / name).mkdir(exist_ok=True)
        tokenizer.save(str(HERE / name / "tokenizer.json"), pretty=False)
        write_rows(HERE / name / "lines.jsonl", line_rows(tokenizer, lines))
        if name != "bpe_words":
            windows += window_rows(name, tokenizer, sentences + unicode_lines[:20], rng, 10)
        if arguments.full:
            folder = pathlib.Path(arguments.full, name)
            folder.mkdir(exist_ok=True, parents=True)
            make(clinc150 + texts.random_lines(2000, seed=6), 8000).save(str(folder / "tokenizer.json"))

    folder = HERE / "bpe_files"
    folder.mkdir(exist_ok=True)
    tokenizers.Tokenizer.from_file(str(HERE / "bpe_roberta" / "tokenizer.json")).model.save(str(folder))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizer", "add_prefix_space": true}\n')
    from_files = transformers.AutoTokenizer.from_pretrained(folder).backend_tokenizer
    write_rows(folder / "lines.jsonl", line_rows(from_files, lines))

    for name, (file, cls, options) in SENTENCEPIECE.items():
        for root, size, rules in ((HERE, 500, RULES), (arguments.full, 8000, None)):
            if root is None:
                continue
            folder = pathlib.Path(root, name)
            source = training if rules else clinc150 + texts.random_lines(2000, seed=6)
            sentencepiece_model(folder / file, source, size, rules, character_coverage=0.98, **options)
            (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": cls}) + "\n")
            backend = transformers.AutoTokenizer.from_pretrained(folder).backend_tokenizer
            if cls != "CamembertTokenizer":  # of the others, tokenizer.json too
                converted = pathlib.Path(f"{folder}_json")
                converted.mkdir(exist_ok=True)
                backend.save(str(converted / "tokenizer.json"), pretty=False)
            if rules:
                write_rows(folder / "lines.jsonl", line_rows(backend, lines))
                if name in ("unigram_xlm_roberta", "unigram_deberta"):
                    windows += window_rows(name, backend, sentences + unicode_lines[:20], rng, 10)

    for root, size, rules in ((HERE, 500, RULES), (arguments.full, 8000, None)):
        if root is None:
            continue
        folder = pathlib.Path(root, "bpe_sentencepiece")
        source = training if rules else clinc150 + texts.random_lines(2000, seed=6)
        sentencepiece_model(folder / "tokenizer.model", source, size, rules, model_type="bpe", byte_fallback=True,
                            character_coverage=0.98, user_defined_symbols=["(", "<sep>"])
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}\n')
        backend = transformers.AutoTokenizer.from_pretrained(folder).backend_tokenizer
        if rules:
            write_rows(folder / "lines.jsonl", line_rows(backend, lines))
    write_rows(HERE / "windows.jsonl", windows)


if __name__ == "__main__":
    main()
