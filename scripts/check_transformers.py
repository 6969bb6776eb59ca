#!/usr/bin/env python3
"""Checks a classifier folder against transformers: both ways, to the sample.

    python scripts/check_transformers.py MODEL DATA.jsonl [--compress build/release/bin/compress] [--max-length N]

In a development venv with torch, transformers and safetensors. MODEL is a folder that no stage pruned or quantized.
1. transformers loads MODEL, and its correct answers on DATA are counted; `compress eval MODEL` must count the same.
2. transformers saves the model as its own folder; `compress eval` on that must count the same.
"""
import argparse
import json
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model"), p.add_argument("data"), p.add_argument("--compress", default="build/release/bin/compress")
    p.add_argument("--max-length", type=int, default=128)
    a = p.parse_args()
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
