#!/usr/bin/env python3
"""The table of docs/models.md, family by task by stage, from a run of the tests.

usage: family_table.py build/release/bin/tests_recipes

Runs the tests of every family with every task, and prints a row a family, a column a task, a letter a stage that they went
through. Fails if a test does.
"""
import collections
import os
import subprocess
import sys
import tempfile

TESTS = ["every family is fine-tuned for every task", "every family is distilled for every task",
         "every family is pruned for every task: what is cut computes what the masks did", "every family is quantized for every task"]
LETTERS = {"finetune": "F", "distill": "D", "prune": "P", "quantize": "Q", "export": "X", "fused": "R"}  # of a stage that every form went through


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.split("\n\n")[1])
    with tempfile.TemporaryDirectory() as folder:
        lines = os.path.join(folder, "run")
        for test in TESTS:
            subprocess.run([sys.argv[1], "-w", "NoTests", test], check=True, stdout=subprocess.DEVNULL, env=os.environ | {"COMPRESS_STAGES_RUN": lines})
        with open(lines) as f:
            ran = [line.split() for line in f]
    variants = collections.defaultdict(set)
    for name, task, stage in ran:
        family = name.split("_")[0]
        variants[family].add(name)
        variants[family, task, stage].add(name)
    tasks = list(dict.fromkeys(task for _, task, _ in ran))
    print("| family | " + " | ".join(tasks) + " |\n|---|" + "---|" * len(tasks))
    for family in sorted(k for k in variants if isinstance(k, str)):
        cells = [" ".join(LETTERS[stage] for stage in LETTERS if variants[family, task, stage] == variants[family]) for task in tasks]
        print(f"| {family} | " + " | ".join(cells) + " |")
    print("\n" + ", ".join(f"{letter}: {stage}" for stage, letter in LETTERS.items()) + ".")


if __name__ == "__main__":
    main()
