#!/usr/bin/env python3
"""The table of docs/models.md, family by task by stage, from a run of the tests.

usage: family_table.py build/release/bin/tests_recipes

Runs the tests of every family with every task, and prints a row for each combination that they went through. Fails if a test does.
"""
import collections
import os
import subprocess
import sys
import tempfile

TESTS = ["every family is fine-tuned for every task", "every family is distilled for every task",
         "every family is pruned for every task: what is cut computes what the masks did", "every family is quantized for every task"]
STAGES = ["finetune", "distill", "prune", "quantize", "export"]
TITLES = ["fine-tune", "distil", "prune", "quantize", "export"]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.split("\n\n")[1])
    with tempfile.TemporaryDirectory() as folder:
        lines = os.path.join(folder, "run")
        for test in TESTS:
            subprocess.run([sys.argv[1], "-w", "NoTests", test], check=True, stdout=subprocess.DEVNULL, env=os.environ | {"COMPRESS_STAGES_RUN": lines})
        with open(lines) as f:
            ran = [line.split() for line in f]
    stages, variants = collections.defaultdict(set), collections.defaultdict(set)
    for name, task, stage in ran:
        family = name.split("_")[0]
        stages[family, task].add(stage)
        variants[family].add(name)
        variants[family, task, stage].add(name)
    tasks = list(dict.fromkeys(task for _, task, _ in ran))
    print("| family | task | " + " | ".join(TITLES) + " |\n|---|---|" + ":---:|" * len(STAGES))
    for family in sorted(k for k in variants if isinstance(k, str)):
        for task in tasks:
            cells = ["yes" if variants[family, task, stage] == variants[family] else "" for stage in STAGES]
            print(f"| {family} | {task} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
