#!/usr/bin/env python3
"""Kills `compress run` at random instants until it has finished, and compares what it wrote with an undisturbed run's.

usage: kill_test.py COMPRESS [--kills 50] [--seed N]

A tiny recipe goes through all stages. Two thirds of the kills fall anywhere in the time that the stages take; a third wait
until a saved state or a stage's folder is at work on, so that they fall into the writing. Three runs of four find the
timings of the undisturbed one, and so don't spend most of their time, and of the kills, on measuring. Ends with 1 if a file
differs.
"""
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORDS = {"article": "the", "conjunction": "and", "preposition": "of"}

RECIPE = """version: 1
name: kill
seed: 5
output: out
model: {path: model}
data:
  max_length: 20
  train: {path: train.jsonl}
  validation: {path: test.jsonl}
  test: {path: test.jsonl}
stages:
  - id: teacher
    finetune: {epochs: 8, learning_rate: 3.0e-3, batch_size: 16, snapshot_every: 2, log_every: 3, precision: int16, hidden_dropout: 0.1, attention_dropout: 0.1}
  - id: student
    distill:
      teacher: teacher
      student: {from: teacher, layers: [0, 2]}
      losses: [{type: logits}, {type: hidden_states, weight: 0.1}, {type: attentions, weight: 0.1}]
      epochs: 8
      gradient_accumulation: 2
      evaluate_every: 5
      learning_rate: 2.0e-3
      snapshot_every: 3
      precision: int16
      hidden_dropout: 0.1
  - id: pruned
    prune: {of: student, heads: 2, intermediate_size: 24}
  - id: recovered
    distill: {teacher: teacher, student: {from: pruned}, epochs: 6, learning_rate: 2.0e-3, snapshot_every: 2, precision: int16, hidden_dropout: 0.1}
  - id: int8
    quantize: {of: recovered}
  - id: shipped
    export: {of: int8}
"""

CLOCK = {"tokens_per_second"}  # of metrics.jsonl
MEASURED = {"skipped", "latency_ms", "latency_spread_ms", "latency_runs", "throughput", "throughput_spread", "throughput_runs",
            "peak_memory_bytes"}  # of report.json
SLOW = "is no faster here than"  # a warning with timings


def write_texts(path, count):
    with open(path, "w") as f:
        for i in range(count):
            label = sorted(WORDS)[i % 3]
            words = [WORDS[label]] * 5 + [WORDS[sorted(WORDS)[(i + i // 3) % 3]]] * 3
            f.write(json.dumps({"text": " ".join(words), "label": label}) + "\n")


def without(values, keys):
    return {key: value for key, value in values.items() if key not in keys}


def contents(folder):
    """What must be the same, by path."""
    result = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            key = os.path.relpath(path, folder)
            if key == "report.svg":  # latencies, drawn
                continue
            with open(path, "rb") as f:
                data = f.read()
            if name == "metrics.jsonl":
                data = [without(json.loads(line), CLOCK) for line in data.splitlines()]
            elif key == "report.json":
                data = json.loads(data)
                data["stages"] = [without(stage, MEASURED) for stage in data["stages"]]
                data["warnings"] = [line for line in data["warnings"] if SLOW not in line]
            elif key == "report.md":
                data = [line.split("|")[:8] for line in data.decode().splitlines() if SLOW not in line]
            result[key] = data
    return result


def at_work(folder):
    """Whether a state or a stage is just being written, or put in place; not what an earlier kill left."""
    for root, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".partial") or name == "compress.json" and root.endswith(".tmp"):
                try:
                    if time.time() - os.path.getmtime(os.path.join(root, name)) < 0.1:
                        return True
                except OSError:
                    return True  # it was put in place meanwhile
    return False


def wait_for_end(child, patience):
    try:
        child.wait(patience)
    except subprocess.TimeoutExpired:
        pass


def wait_for_writing(child, folder, patience):
    """Whether there was any, within so many seconds."""
    end = time.monotonic() + patience
    while time.monotonic() < end and child.poll() is None:
        if at_work(folder):
            return True
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("compress")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    work = tempfile.mkdtemp(prefix="compress-kill-")
    command = [os.path.abspath(options.compress), "run", "recipe.yaml", "--checkpoint-every", "0", "--threads", "1", "--log-level", "warning"]
    shutil.copytree(f"{SOURCE}/tests/goldens/model/tiny", f"{work}/model")
    write_texts(f"{work}/train.jsonl", 96)
    write_texts(f"{work}/test.jsonl", 30)
    with open(f"{work}/recipe.yaml", "w") as f:
        f.write(RECIPE)
    out = f"{work}/out"

    started = time.monotonic()
    child = subprocess.Popen(command, cwd=work, stdout=subprocess.DEVNULL)
    while child.poll() is None and not os.path.exists(f"{out}/shipped"):
        time.sleep(0.01)
    stages = time.monotonic() - started
    if child.wait() != 0:
        sys.exit("the undisturbed run failed")
    expected = contents(out)
    with open(f"{out}/report.json") as f:
        timings = f.read()
    shutil.rmtree(out)
    kills, finished, while_writing = 0, 0, 0
    while kills < options.kills or finished == 0 or os.path.exists(out):
        if not os.path.exists(out) and finished % 4 != 3:
            os.makedirs(out)
            with open(f"{out}/report.json", "w") as f:
                f.write(timings)
        measuring = os.path.exists(f"{out}/shipped")
        child = subprocess.Popen(command, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if kills < options.kills and not (measuring and chance.random() < 3 / 4):
            wait_for_end(child, chance.uniform(0, stages))
            if chance.random() < 1 / 3:
                writing = wait_for_writing(child, out, stages)
                time.sleep(chance.choice([0, chance.uniform(0, 0.003)]))
            else:
                writing = at_work(out)
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
        _, errors = child.communicate()
        if child.returncode == -signal.SIGKILL:
            kills += 1
            while_writing += writing
            continue
        if child.returncode != 0:
            sys.exit(f"after {kills} kills the run ended with {child.returncode}: {errors.decode().strip()}")
        found = contents(out)
        for key in sorted(expected.keys() | found.keys()):
            if expected.get(key) != found.get(key):
                sys.exit(f"after {kills} kills: {key} is not what an undisturbed run writes; see {work}")
        finished += 1
        shutil.rmtree(out)
    shutil.rmtree(work)
    print(f"{kills} of {options.kills} kills: same bits ({finished} runs to the end; {while_writing} kills while a file was written)")


if __name__ == "__main__":
    main()
