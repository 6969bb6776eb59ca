"""Holds `compress predict` against sentence-transformers on folders of yours: stages of a recipe for embedding, or models that it reads.

    python compare.py build/release/bin/compress FOLDER... < TEXTS

Prints the largest difference of a number for each folder; exits with 1 if one is above 1e-5. Needs sentence-transformers.
"""
import json
import os
import subprocess
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy
from sentence_transformers import SentenceTransformer


def main():
    program, *folders = sys.argv[1:]
    texts = sys.stdin.read().splitlines()
    failed = False
    for folder in folders:
        lines = subprocess.run([program, "predict", folder, "--json", "--threads", "1"], input="\n".join(texts) + "\n", text=True,
                               check=True, stdout=subprocess.PIPE).stdout.splitlines()
        own = numpy.array([json.loads(line)["embedding"] for line in lines])
        theirs = SentenceTransformer(folder, device="cpu", local_files_only=True).encode(texts)
        difference = numpy.abs(own - theirs).max()
        print(f"{folder}: {len(texts)} texts, {own.shape[1]} numbers, differ by at most {difference:.2g}")
        failed |= not difference <= 1e-5
    sys.exit(failed)


if __name__ == "__main__":
    main()
