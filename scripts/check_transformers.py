#!/usr/bin/env python3
"""Checks what we write against transformers.

    python scripts/check_transformers.py MODEL DATA.jsonl [--compress build/release/bin/compress] [--max-length N]
    python scripts/check_transformers.py --families build/release/bin/tests_recipes
    python scripts/check_transformers.py --int8 MODEL DATA.jsonl [--export FOLDER] [--compress build/release/bin/compress]

The first checks a classifier folder both ways, to the sample. The second lets the tests save a small model of every family,
fine-tuned and distilled into fewer layers, and compares its logits with those that transformers computes from the folder.
The third compares the probabilities of an int8 classifier (int8_dynamic or int8_static, with `embeddings: fp32`, since
compressed-tensors has linear layers only), or of what was exported of it, on the first 500 texts with those of transformers and
compressed-tensors. Roundings differ (of int8_dynamic, theirs is to 1/127.5 of a token's largest value, ours to 1/127, and with
LibTorch's kernels to seven bits): one class in a hundred may.

In a development venv with torch, transformers and safetensors, for --int8 also compressed-tensors. MODEL is a folder that no stage
pruned, and none quantized but for --int8.
1. transformers loads MODEL, and its correct answers on DATA are counted; `compress eval MODEL` must count the same.
2. transformers saves the model as its own folder; `compress eval` on that must count the same.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def families(tests):
    with tempfile.TemporaryDirectory() as root:
        subprocess.run([tests, "every family is fine-tuned,every family is distilled*"], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "COMPRESS_FAMILIES": root})
        worst = 0.0
        for name in sorted(os.listdir(root)):
            golden = load_file(f"{root}/{name}/golden.safetensors")
            expected = golden.pop("logits")
            model, report = AutoModelForSequenceClassification.from_pretrained(f"{root}/{name}", output_loading_info=True)
            off = {k: v for k, v in report.items() if v}
            with torch.inference_mode():
                difference = (model.eval()(**golden).logits - expected).abs().max().item()
            print(f"{name}: {type(model).__name__}, {model.config.num_hidden_layers} layers, {difference:.2g} {off or ''}")
            worst = max(worst, difference if not off else float("inf"))
        if not worst < 1e-5:
            sys.exit("not equal")


def int8(folder, data, compress, export):
    texts = [json.loads(line)["text"] for line in open(data, encoding="utf-8")][:500]
    out = subprocess.run([compress, "predict", export or folder, "--json"], input="\n".join(texts), capture_output=True, text=True)
    if out.returncode != 0:
        sys.exit(out.stderr)
    ours = [json.loads(line) for line in out.stdout.splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    off = {k: v for k, v in report.items() if v}
    same, worst = 0, 0.0
    with torch.inference_mode():
        for text, found in zip(texts, ours, strict=True):
            expected = model.eval()(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
            scores = torch.tensor([found["scores"][model.config.id2label[i]] for i in range(len(expected))])
            same += model.config.id2label[expected.argmax().item()] == found["label"]
            worst = max(worst, (scores - expected).abs().max().item())
    print(f"{export or folder}: {same} of {len(texts)} classes equal, probabilities differ by at most {worst:.2g} {off or ''}")
    if same < 0.99 * len(texts) or off:
        sys.exit("not equal")


def main():
    if sys.argv[1:2] == ["--families"]:
        return families(sys.argv[2])
    p = argparse.ArgumentParser()
    p.add_argument("model"), p.add_argument("data"), p.add_argument("--compress", default="build/release/bin/compress")
    p.add_argument("--max-length", type=int, default=128)
    p.add_argument("--int8", action="store_true"), p.add_argument("--export")
    a = p.parse_args()
    if a.int8:
        return int8(a.model, a.data, a.compress, a.export)
    rows = [json.loads(line) for line in open(a.data, encoding="utf-8")]
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    model = AutoModelForSequenceClassification.from_pretrained(a.model).eval()
    correct = 0
    with torch.inference_mode():
        for k in range(0, len(rows), 32):
            part = rows[k: k + 32]
            x = tokenizer([r["text"] for r in part], truncation=True, max_length=a.max_length, padding=True, return_tensors="pt")
            guess = model(**x).logits.argmax(-1).tolist()
            correct += sum(model.config.id2label[g] == str(r["label"]) for g, r in zip(guess, part))
    print(f"transformers: {correct} of {len(rows)}")

    def ours(folder):
        out = subprocess.run([a.compress, "eval", folder, "--data", a.data, "--max-length", str(a.max_length), "--json"],
                             capture_output=True, text=True)
        if out.returncode != 0:
            sys.exit(out.stderr)
        found = json.loads(out.stdout)["correct"]
        print(f"compress eval {folder}: {found}")
        return found

    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved), tokenizer.save_pretrained(saved)
        if not ours(a.model) == ours(saved) == correct:
            sys.exit("not equal")


if __name__ == "__main__":
    main()
