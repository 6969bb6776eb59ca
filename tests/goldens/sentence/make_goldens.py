"""Makes the folder model and cases.json beside this script, which tests/compress/sentence_test.cpp reads.

    python make_goldens.py

model is a small random BERT with a cased tokenizer. Each case is what else a folder of sentence-transformers may hold, its
files, and the vectors that sentence-transformers gives with them. Needs the Python packages sentence-transformers, tokenizers,
torch and safetensors.
"""
import json
import os
import pathlib
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

HERE = pathlib.Path(__file__).resolve().parent
TEXTS = ["good film", "A Good Film, but far too LONG for some of us who have to sleep", "bad", "the end of It all is good"]
WORDS = "a good film bad the end of it all is but far too long for some us who have to sleep query".split()
HIDDEN = 12


def make_model(folder):
    torch.manual_seed(5)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ":"] + WORDS + ["A", "Good", "Film", "LONG", "It"]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    transformers.BertTokenizer(tokenizer_object=tokenizer, do_lower_case=False, vocab=tokenizer.get_vocab(),
                               strip_accents=False, model_max_length=32).save_pretrained(folder)
    config = transformers.BertConfig(vocab_size=len(vocabulary), hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2,
                                     intermediate_size=20, max_position_embeddings=32, initializer_range=0.3)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def module(kind, path, prefix="sentence_transformers.models"):
    return {"type": f"{prefix}.{kind}", "path": path}


def modules(*kinds, prefix="sentence_transformers.models", first=""):
    entries = [module("Transformer", first, prefix)] + [module(k, f"{i + 1}_{k}", prefix) for i, k in enumerate(kinds)]
    return [{"idx": i, "name": str(i)} | e for i, e in enumerate(entries)]


def pooling(*modes):
    keys = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens", "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
            "weightedmean": "weightedmean_tokens", "lasttoken": "lasttoken"}
    return {"word_embedding_dimension": HIDDEN} | {"pooling_mode_" + key: mode in modes for mode, key in keys.items()}


def dense(inputs, outputs, activation="activation.Tanh", bias=True):
    return {"in_features": inputs, "out_features": outputs, "bias": bias, "activation_function": "torch.nn.modules." + activation}


TEXT = {"max_seq_length": 32, "do_lower_case": False}


def case(name, pooling_config, *rest, text=TEXT, files=None, **how):
    """rest: the kinds of modules behind the pooling, each with its config."""
    own = {"modules.json": modules("Pooling", *[kind for kind, _ in rest], **how), "1_Pooling/config.json": pooling_config}
    for i, (kind, config) in enumerate(rest):
        if config is not None:
            own[f"{i + 2}_{kind}/config.json"] = config
    if text is not None:
        own["sentence_bert_config.json"] = text
    return name, own | (files or {})


NORMALIZE = ("Normalize", None)
CASES = [case(mode, pooling(mode), NORMALIZE) for mode in ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")] + [
    case("mean without norm", pooling("mean")),
    case("lasttoken without norm", pooling("lasttoken")),
    case("all poolings", pooling("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"), NORMALIZE),
    case("no pooling is set", {"word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": False}, NORMALIZE),
    case("new keys", {"embedding_dimension": HIDDEN, "pooling_mode": "cls", "include_prompt": True}, NORMALIZE),
    case("new keys in another order", {"embedding_dimension": HIDDEN, "pooling_mode": ["mean", "cls"], "include_prompt": True}),
    case("dense", pooling("mean"), ("Dense", dense(HIDDEN, 5)), NORMALIZE),
    case("dense without bias, identity", pooling("cls"), ("Dense", dense(HIDDEN, 7, "linear.Identity", False))),
    case("norm, then dense of two poolings", pooling("mean", "max"), NORMALIZE, ("Dense", dense(2 * HIDDEN, 6, "activation.GELU"))),
    case("two dense", pooling("mean"), ("Dense", dense(HIDDEN, 8, "activation.ReLU")), ("Dense", dense(8, 4, "activation.Sigmoid")), NORMALIZE),
    case("dense, silu", pooling("mean"), ("Dense", dense(HIDDEN, 8, "activation.SiLU"))),
    case("dense, its default", pooling("mean"), ("Dense", {"in_features": HIDDEN, "out_features": 3})),
    case("short", pooling("mean"), NORMALIZE, text={"max_seq_length": 6, "do_lower_case": False}),
    case("no length of its own", pooling("mean"), NORMALIZE, text=None),
    case("length of the tokenizer", pooling("mean"), NORMALIZE, text={"do_lower_case": False}),
    case("lower case", pooling("mean"), NORMALIZE, text={"max_seq_length": 32, "do_lower_case": True}),
    case("prompts without a default", pooling("mean"), NORMALIZE,
         files={"config_sentence_transformers.json": {"prompts": {"query": "query: "}, "default_prompt_name": None}}),
    case("a default prompt", pooling("mean"), NORMALIZE, text={"max_seq_length": 10, "do_lower_case": True},
         files={"config_sentence_transformers.json": {"prompts": {"query": "Query: ", "document": ""}, "default_prompt_name": "query",
                                                      "similarity_fn_name": "cosine"}}),
    case("layout of version 5.4", {"embedding_dimension": HIDDEN, "pooling_mode": "lasttoken", "include_prompt": True},
         ("Normalize", {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}),
         prefix="sentence_transformers.base.modules",
         text={"transformer_task": "feature-extraction",
               "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
               "module_output_name": "token_embeddings"}),
    case("layout of 2019", pooling("mean"), NORMALIZE, first="0_Transformer", text=None,
         files={"0_Transformer/sentence_bert_config.json": {"max_seq_length": 6, "do_lower_case": False}}),
]
# Each class has a module of its own.
TYPES = {"Transformer": "sentence_transformers.base.modules.transformer.Transformer",
         "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
         "Normalize": "sentence_transformers.base.modules.normalize.Normalize"}


def main():
    model = HERE / "model"
    shutil.rmtree(model, ignore_errors=True)
    make_model(model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    entries = []
    for seed, (name, files) in enumerate(CASES):
        for entry in files["modules.json"]:
            if entry["type"].startswith("sentence_transformers.base."):
                entry["type"] = TYPES[entry["type"].rsplit(".", 1)[1]]
        dense_weights = {}
        with tempfile.TemporaryDirectory() as folder:
            below = pathlib.Path(folder, files["modules.json"][0]["path"])
            shutil.copytree(model, below, dirs_exist_ok=True)
            for entry in files["modules.json"]:
                pathlib.Path(folder, entry["path"]).mkdir(exist_ok=True)
            for path, content in files.items():
                pathlib.Path(folder, path).write_text(json.dumps(content))
                if "in_features" in content:
                    torch.manual_seed(seed)
                    weights = {"linear.weight": (torch.randn(content["out_features"], content["in_features"]) * 0.4).round(decimals=3)}
                    if content.get("bias", True):
                        weights["linear.bias"] = torch.randn(content["out_features"]).round(decimals=3)
                    save_file(weights, pathlib.Path(folder, path).parent / "model.safetensors")
                    dense_weights[str(pathlib.Path(path).parent)] = {k: v.tolist() for k, v in weights.items()}
            vectors = SentenceTransformer(folder, device="cpu", local_files_only=True).encode(TEXTS)
        entries.append({"name": name, "files": files, "dense": dense_weights,
                        "vectors": [[round(float(x), 6) for x in row] for row in vectors]})
        print(f"{name}: {vectors.shape}")
    with open(HERE / "cases.json", "w", encoding="ascii") as file:
        json.dump({"texts": TEXTS, "cases": entries}, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
