#!/usr/bin/env python3
"""Holds that the runtime needs no LibTorch: neither it nor a program that is linked to it alone names one of its libraries, and
the program gives the ids that the command gives, the logits that are computed here, and of the folder's model what `predict` says.
usage: plain_test.py PLAIN_CLASSIFY RUNTIME COMPRESS FOLDER"""
import itertools
import json
import math
import subprocess
import sys


def out_of(command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


class Weights:
    """Those of classify.cpp, in the order in which they are asked for."""

    def __init__(self):
        self.numbers = itertools.count()

    def vector(self, size, base=0.0):
        return [base + 0.4 * math.sin(next(self.numbers)) for _ in range(size)]

    def matrix(self, rows, columns):
        return [self.vector(columns) for _ in range(rows)]

    def linear(self, out, width):
        weight, bias = self.matrix(out, width), self.vector(out)
        return lambda rows: [[b + sum(w * x for w, x in zip(line, row)) for line, b in zip(weight, bias)] for row in rows]

    def norm(self, width):
        gamma, beta = self.vector(width, 1.0), self.vector(width)

        def apply(row):
            mean = sum(row) / width
            deviation = math.sqrt(sum((x - mean) ** 2 for x in row) / width + 1e-12)
            return [(x - mean) / deviation * g + b for x, g, b in zip(row, gamma, beta)]

        return lambda rows: [apply(row) for row in rows]


def add(a, b):
    return [[x + y for x, y in zip(*rows)] for rows in zip(a, b)]


def attention(query, key, value, heads, scale):
    size = len(query[0]) // heads
    result = [[] for _ in query]
    for columns in (slice(h * size, (h + 1) * size) for h in range(heads)):
        for context, q in zip(result, query):
            scores = [math.exp(scale * sum(x * y for x, y in zip(q[columns], k[columns]))) for k in key]
            context += [sum(p * v[c] for p, v in zip(scores, value)) / sum(scores) for c in range(*columns.indices(len(q)))]
    return result


def expected_logits(ids, hidden=8, units=12):
    weights = Weights()
    words, positions = weights.matrix(64, hidden), weights.matrix(32, hidden)
    x = weights.norm(hidden)(add([words[i] for i in ids], positions))
    query, key, value, output = (weights.linear(hidden, hidden) for _ in range(4))
    x = weights.norm(hidden)(add(x, output(attention(query(x), key(x), value(x), 2, 0.5))))
    inner, outer = weights.linear(units, hidden), weights.linear(hidden, units)
    gelu = [[u * 0.5 * (1 + math.erf(u / math.sqrt(2))) for u in row] for row in inner(x)]
    x = weights.norm(hidden)(add(x, outer(gelu)))
    dense, classifier = weights.linear(hidden, hidden), weights.linear(3, hidden)
    return classifier([[math.tanh(u) for u in row] for row in dense(x[:1])])[0]


def main():
    plain, runtime, compress, folder = sys.argv[1:]
    for file in (plain, runtime):
        linked = [line.split()[0] for line in out_of(["ldd", file]).splitlines()]
        found = [name for name in linked if "torch" in name or "c10" in name]
        if found:
            sys.exit(f"plain_test: {file} links {', '.join(found)}, expected nothing of LibTorch's")
    text = "the quick brown fox of the CAFÉ"
    lines = out_of([plain, folder, text]).splitlines()
    ids, logits, own = ([float(x) for x in line.split()] for line in lines[:3])
    ids = [int(i) for i in ids]
    said = json.loads(out_of([compress, "tokenize", folder, "--json"], input=text + "\n"))["input_ids"]
    if ids != said or len(ids) < 3:
        sys.exit(f"plain_test: found {ids}, expected {said}")
    expected = expected_logits(ids)
    if len(logits) != 3 or any(not abs(found - wanted) < 1e-5 for found, wanted in zip(logits, expected)):
        sys.exit(f"plain_test: found the logits {logits}, expected {expected}")
    shares = [math.exp(x) / sum(math.exp(y) for y in own) for x in own]
    scores = json.loads(out_of([compress, "predict", folder, "--json", text]))["scores"]
    if lines[3:] != list(scores) or any(not abs(found - scores[label]) < 1e-5 for label, found in zip(scores, shares)):
        sys.exit(f"plain_test: found {dict(zip(lines[3:], shares))} for the folder's model, expected {scores}")


main()
