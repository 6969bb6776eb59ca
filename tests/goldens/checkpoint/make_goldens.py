"""Makes the goldens of tests/compress/checkpoint_test.cpp and config_test.cpp, in this folder.

Run with Python 3.11, torch, safetensors 0.8 and transformers 5.23:  python make_goldens.py
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification

HERE = Path(__file__).parent
DTYPES = {
    "I64": torch.int64, "F64": torch.float64, "F32": torch.float32, "I32": torch.int32, "BF16": torch.bfloat16,
    "F16": torch.float16, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def make_dtypes():
    """Every dtype as a matrix, a vector of odd length, a scalar and an empty tensor; with their values."""
    tensors, values = {}, {}
    for name, dtype in DTYPES.items():
        signed = dtype not in (torch.uint8, torch.bool)
        numbers = torch.arange(6).reshape(2, 3) * (-1 if signed else 1)
        if dtype.is_floating_point:
            numbers = numbers * 0.375
        shapes = {"matrix": numbers, "vector": torch.tensor([1, 0, 1]), "scalar": torch.tensor(1), "empty": torch.ones(0, 3)}
        for shape, tensor in shapes.items():
            key = f"{shape}.{name}"
            tensors[key] = tensor.to(dtype)
            values[key] = {"dtype": name, "shape": list(tensor.shape), "values": tensors[key].double().flatten().tolist()}
    save_file(tensors, HERE / "dtypes.safetensors", {"format": "pt"})
    write_json(HERE / "dtypes.json", values)


def make_names():
    """Names that JSON must escape, and no metadata."""
    names = ["", " ", "a.b", 'quote"', "back\\slash", "slash/", "line\n\t", "\x01\x7f", "größe", "漢字", "😀"]
    save_file({name: torch.full((1,), float(i)) for i, name in enumerate(names)}, HERE / "names.safetensors")


def make_bert():
    """One tiny classifier, saved whole and in shards."""
    torch.manual_seed(17)
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=12, id2label={0: "no", 1: "yes", 2: "maybe"}, label2id={"no": 0, "yes": 1, "maybe": 2},
    )
    model = BertForSequenceClassification(config)
    for folder, size in (("single", "1GB"), ("sharded", "10KB")):
        shutil.rmtree(HERE / folder, ignore_errors=True)
        model.save_pretrained(HERE / folder, max_shard_size=size)
    write_json(HERE / "bert.json", {
        name: {"shape": list(tensor.shape), "first": tensor.flatten()[0].item(), "sum": tensor.double().sum().item()}
        for name, tensor in model.state_dict().items()
    })
    two_labels = BertConfig(**{**config.to_dict(), "id2label": None, "label2id": None, "num_labels": 2})
    shutil.rmtree(HERE / "two_labels", ignore_errors=True)
    BertForSequenceClassification(two_labels).config.save_pretrained(HERE / "two_labels")


if __name__ == "__main__":
    make_dtypes()
    make_names()
    save_file({}, HERE / "no_tensors.safetensors", {"format": "pt"})
    make_bert()
