"""Makes classes.json beside this script, which tests/compress/tokenizer_class_test.cpp reads.

    python make_class_goldens.py

Each entry is a folder: a tokenizer.json of the goldens here with some of its parts replaced, and other files beside it that
say something else or the same; and the ids and token types that AutoTokenizer gives with them. Needs the Python packages
tokenizers and transformers.
"""
import json
import os
import pathlib
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import transformers

HERE = pathlib.Path(__file__).resolve().parent
TEXTS = ["Hello World", "Caf\u00e9 na\u00efve \u0130stanbul", "\u4e2d\u6587 text, NEW\u3000words", "<mask> a [MASK] b [SEP]<user>", "  two  spaces\n\t``quoted''",
         "don't stop\u2014now", "\uff26\uff55\uff4c\uff4c \ufb01ne"]
PAIR = ["first text", "Second Text"]
CLS = {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}


def token(content, **flags):
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True} | flags


def special(name, type_id=0):
    return {"SpecialToken": {"id": name, "type_id": type_id}}


def sequence(name, type_id=0):
    return {"Sequence": {"id": name, "type_id": type_id}}


TEMPLATE = {"type": "TemplateProcessing", "single": [special("[CLS]"), sequence("A"), special("[SEP]"), special("[SEP]")],
            "pair": [special("[CLS]"), sequence("A"), special("[SEP]"), sequence("B")], "special_tokens": CLS}
CASED = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": False}
BERT = {"tokenizer_class": "BertTokenizer"}
MPNET_TOKENS = {"cls_token": "[CLS]", "sep_token": "[SEP]", "bos_token": "[CLS]", "eos_token": "[SEP]", "pad_token": "[PAD]",
                "unk_token": "[UNK]", "mask_token": "[MASK]"}
ALL = {"0": token("[PAD]"), "1": token("[UNK]"), "2": token("[CLS]"), "3": token("[SEP]"), "1500": token("[MASK]", lstrip=True)}

# name, tokenizer.json that it begins with, parts in place of its own, files beside it, whether the files disagree
CASES = [
    ("lower by file, cased by settings", "tiny", {}, {"tokenizer_config.json": BERT | {"do_lower_case": False}}, True),
    ("cased by file, lower by settings", "tiny", {"normalizer": CASED}, {"tokenizer_config.json": BERT | {"do_lower_case": True}}, True),
    ("cased by file, settings silent", "tiny", {"normalizer": CASED}, {"tokenizer_config.json": BERT}, True),
    ("both lower", "tiny", {}, {"tokenizer_config.json": BERT | {"do_lower_case": True}}, False),
    ("accents stay", "tiny", {}, {"tokenizer_config.json": BERT | {"strip_accents": False}}, True),
    ("cased, accents go", "tiny", {"normalizer": CASED}, {"tokenizer_config.json": BERT | {"do_lower_case": False, "strip_accents": True}}, True),
    ("Chinese characters stay together", "tiny", {}, {"tokenizer_config.json": BERT | {"tokenize_chinese_chars": False}}, True),
    ("another normalizer, splitter and template", "tiny",
     {"normalizer": {"type": "NFKC"}, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": TEMPLATE}, {"tokenizer_config.json": BERT}, True),
    ("no rules of a class", "tiny", {"normalizer": CASED, "post_processor": TEMPLATE},
     {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}}, True),
    ("no class and no model", "tiny", {"normalizer": CASED}, {"tokenizer_config.json": {"do_lower_case": True}}, True),
    ("class of the model", "tiny", {"normalizer": CASED}, {"config.json": {"model_type": "bert"}}, True),
    ("class of the electra model", "tiny", {"normalizer": CASED}, {"config.json": {"model_type": "electra"}}, True),
    ("class in config.json", "tiny", {"normalizer": CASED}, {"config.json": {"model_type": "roberta", "tokenizer_class": "BertTokenizer"}}, True),
    ("DistilBert", "tiny", {"normalizer": CASED}, {"tokenizer_config.json": {"tokenizer_class": "DistilBertTokenizerFast"},
                                                  "config.json": {"model_type": "distilbert"}}, True),
    ("Electra", "tiny", {"normalizer": CASED}, {"tokenizer_config.json": {"tokenizer_class": "ElectraTokenizer", "do_lower_case": False},
                                               "config.json": {"model_type": "electra"}}, False),
    ("MobileBert", "tiny", {"normalizer": CASED}, {"tokenizer_config.json": {"tokenizer_class": "MobileBertTokenizer"}}, True),
    ("ConvBert, whose class makes nothing anew", "tiny", {"normalizer": CASED}, {"tokenizer_config.json": {
        "tokenizer_class": "ConvBertTokenizerFast"}}, False),
    ("SqueezeBert", "tiny", {"normalizer": CASED}, {"tokenizer_config.json": {"tokenizer_class": "SqueezeBertTokenizerFast"}}, True),
    ("a Bert tokenizer of a RoBERTa", "tiny", {"normalizer": CASED}, {"tokenizer_config.json": BERT, "config.json": {"model_type": "roberta"}}, True),
    ("MPNet", "tiny", {}, {"tokenizer_config.json": {"tokenizer_class": "MPNetTokenizer"} | MPNET_TOKENS}, True),
    ("MPNet, cased", "tiny", {}, {"tokenizer_config.json": {"tokenizer_class": "MPNetTokenizer", "do_lower_case": False} | MPNET_TOKENS,
                                 "config.json": {"model_type": "mpnet"}}, True),
    ("other special tokens", "tiny", {}, {"tokenizer_config.json": BERT | {"cls_token": "[SEP]", "sep_token": "[CLS]"}}, True),
    ("special tokens of special_tokens_map.json", "tiny", {}, {"tokenizer_config.json": BERT | {"cls_token": "[CLS]"},
                                                              "special_tokens_map.json": {"cls_token": "[SEP]"}}, True),
    ("special_tokens_map.json is not read", "tiny", {}, {"tokenizer_config.json": BERT | {"cls_token": "[CLS]", "added_tokens_decoder": ALL},
                                                       "special_tokens_map.json": {"cls_token": "[SEP]"}}, True),
    ("added tokens of the settings", "tiny", {}, {"tokenizer_config.json": BERT | {"added_tokens_decoder": ALL | {
        "1500": token("[MASK]"), "1501": token("<user>")}}}, True),
    ("added tokens of the settings, no class", "tiny", {}, {"tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": ALL | {"1500": token("[MASK]"), "1507": token("<user>")}}}, True),
    ("added_tokens.json", "tiny", {}, {"tokenizer_config.json": BERT, "added_tokens.json": {"<user>": 1507}}, True),
    ("an additional token", "tiny", {}, {"tokenizer_config.json": BERT | {"additional_special_tokens": ["<user>", "[SEP]"]}}, True),
    ("an extra token, no class", "tiny", {}, {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast",
                                                                       "extra_special_tokens": ["<user>"]}}, True),
    ("a mask that is new", "tiny", {}, {"tokenizer_config.json": BERT | {"mask_token": "<mask>"}}, True),
    ("a mask with flags", "tiny", {}, {"tokenizer_config.json": BERT | {"mask_token": token("<mask>", lstrip=True, __type="AddedToken")}}, True),
    ("no token types", "tiny", {}, {"tokenizer_config.json": BERT | {"model_input_names": ["input_ids", "attention_mask"]}}, False),
    ("RoBERTa, a space before", "bpe_roberta", {}, {"tokenizer_config.json": {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}}, True),
    ("RoBERTa, no space before", "bpe_roberta", {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                                                                  "use_regex": True}},
     {"tokenizer_config.json": {"tokenizer_class": "RobertaTokenizerFast"}}, True),
    ("RoBERTa, another normalizer and template", "bpe_roberta", {"normalizer": {"type": "Lowercase"}, "post_processor": None},
     {"config.json": {"model_type": "roberta"}}, True),
    ("RoBERTa as it is", "bpe_roberta", {}, {"tokenizer_config.json": {"tokenizer_class": "RobertaTokenizer"}}, False),
    ("Bart", "bpe_roberta", {}, {"tokenizer_config.json": {"tokenizer_class": "BartTokenizer", "add_prefix_space": True}}, True),
    ("GPT2", "bpe_roberta", {"normalizer": {"type": "Lowercase"}},
     {"tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True, "unk_token": "<unk>", "bos_token": "<s>",
                                "eos_token": "</s>"}}, True),
    ("GPT2 as it is", "bpe_roberta", {}, {"tokenizer_config.json": {"tokenizer_class": "GPT2TokenizerFast", "unk_token": "<unk>", "bos_token": "<s>",
                                                                   "eos_token": "</s>"}}, False),
    ("XLM-R", "unigram_xlm_roberta_json", {}, {"tokenizer_config.json": {"tokenizer_class": "XLMRobertaTokenizer"}}, False),
    ("XLM-R, no space before", "unigram_xlm_roberta_json", {}, {"tokenizer_config.json": {"tokenizer_class": "XLMRobertaTokenizer",
                                                                                         "add_prefix_space": False}}, True),
    ("XLM-R, another splitter", "unigram_xlm_roberta_json", {"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581",
                                                                              "prepend_scheme": "always", "split": True}},
     {"config.json": {"model_type": "xlm-roberta"}}, True),
    ("Camembert", "unigram_xlm_roberta_json", {}, {"tokenizer_config.json": {"tokenizer_class": "CamembertTokenizer"}}, True),
    ("Albert, cased", "unigram_albert_json", {}, {"tokenizer_config.json": {"tokenizer_class": "AlbertTokenizer", "do_lower_case": False}}, True),
    ("Albert, accents", "unigram_albert_json", {}, {"tokenizer_config.json": {"tokenizer_class": "AlbertTokenizerFast", "keep_accents": True}}, True),
    ("Albert as it is", "unigram_albert_json", {}, {"config.json": {"model_type": "albert"}}, False),
    ("DeBERTa, lower", "unigram_deberta_json", {}, {"tokenizer_config.json": {"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": True}}, True),
    ("DeBERTa, punctuation", "unigram_deberta_json", {}, {"tokenizer_config.json": {"tokenizer_class": "DebertaV2TokenizerFast",
                                                                                   "split_by_punct": True}}, True),
    ("DeBERTa as it is", "unigram_deberta_json", {}, {"config.json": {"model_type": "deberta-v2"}}, False),
]


def main():
    entries = []
    for name, base, parts, files, disagree in CASES:
        document = json.loads((HERE / base / "tokenizer.json").read_text(encoding="utf-8")) | parts
        if document["model"]["type"] == "WordPiece":
            document["model"]["max_input_chars_per_word"] = 100  # as the classes have it
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
            for file, content in files.items():
                pathlib.Path(folder, file).write_text(json.dumps(content), encoding="utf-8")
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            rows = []
            for text in TEXTS + [PAIR]:
                text, pair = (text, None) if isinstance(text, str) else text
                # Classes of models without token types leave them out; the settings may say so of any.
                encoded = tokenizer(text, pair, return_token_type_ids=True)
                row = {"text": text, "ids": encoded["input_ids"]}
                if pair is not None:
                    none = "model_input_names" in files.get("tokenizer_config.json", {})
                    row |= {"pair": pair, "types": [0] * len(row["ids"]) if none else encoded["token_type_ids"]}
                rows.append(row)
            roles = {role: getattr(tokenizer, role + "_token_id") for role in ("pad", "cls", "sep", "mask", "unk")}
            print(f"{name}: {type(tokenizer).__name__} {roles}")
        entries.append({"name": name, "base": base, "parts": parts, "files": files, "disagree": disagree, "roles": roles, "rows": rows})
    with open(HERE / "classes.json", "w", encoding="ascii") as file:
        file.write("[\n" + ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries) + "\n]\n")


if __name__ == "__main__":
    main()
