#!/usr/bin/env python3
"""Golden values of the metrics, from scikit-learn, scipy, seqeval and the SQuAD 1.1 script.

Run in a development venv with scikit-learn, scipy and seqeval; SQuAD's functions are copied as they were published
(squad/evaluate-v1.1.py). Writes metrics.json beside itself.
"""
import json
import os
import random
import warnings
from collections import Counter

from scipy import stats
from seqeval.metrics import f1_score as entity_f1
from sklearn import metrics

from squad import normalize_answer

HERE = os.path.dirname(os.path.abspath(__file__))


def squad_f1(prediction, ground_truth):
    prediction_tokens, ground_truth_tokens = normalize_answer(prediction).split(), normalize_answer(ground_truth).split()
    common = Counter(prediction_tokens) & Counter(ground_truth_tokens)
    num_same = sum(common.values())
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(ground_truth_tokens)
    return (2 * precision * recall) / (precision + recall)


def squad_exact_match(prediction, ground_truth):
    return normalize_answer(prediction) == normalize_answer(ground_truth)


def classes(rng, count, n, noise):
    expected = [rng.randrange(count) for _ in range(n)]
    predicted = [rng.randrange(count) if rng.random() < noise else e for e in expected]
    return predicted, expected


def class_case(predicted, expected):
    binary = set(predicted) | set(expected) <= {0, 1}
    return {"predicted": predicted, "expected": expected,
            "accuracy": metrics.accuracy_score(expected, predicted),
            **({"f1": metrics.f1_score(expected, predicted, zero_division=0)} if binary else {}),
            "micro_f1": metrics.f1_score(expected, predicted, average="micro", zero_division=0),
            "macro_f1": metrics.f1_score(expected, predicted, average="macro", zero_division=0),
            "matthews": metrics.matthews_corrcoef(expected, predicted)}


def multi_label_case(predicted, expected):
    return {"predicted": predicted, "expected": expected, "accuracy": metrics.accuracy_score(expected, predicted),
            "micro_f1": metrics.f1_score(expected, predicted, average="micro", zero_division=0),
            "macro_f1": metrics.f1_score(expected, predicted, average="macro", zero_division=0)}


def score_case(predicted, expected):
    return {"predicted": predicted, "expected": expected, "pearson": stats.pearsonr(predicted, expected).statistic,
            "spearman": stats.spearmanr(predicted, expected).statistic,
            "mse": metrics.mean_squared_error(expected, predicted)}


def main():
    warnings.simplefilter("ignore")
    rng = random.Random(1)
    out = {"classes": [], "multi_label": [], "scores": [], "entities": [], "answers": []}
    for count, n, noise in [(2, 50, 0.4), (2, 5, 0.0), (3, 200, 0.5), (7, 300, 0.8), (20, 40, 0.9)]:
        out["classes"].append(class_case(*classes(rng, count, n, noise)))
    out["classes"] += [class_case([1, 1, 1], [1, 1, 1]), class_case([0, 0, 0, 0], [1, 0, 1, 0]), class_case([0, 5], [5, 0])]
    for labels, n in [(3, 40), (6, 100)]:
        expected = [[int(rng.random() < 0.3) for _ in range(labels)] for _ in range(n)]
        predicted = [[e if rng.random() < 0.7 else 1 - e for e in row] for row in expected]
        out["multi_label"].append(multi_label_case(predicted, expected))
    out["multi_label"].append(multi_label_case([[0, 0, 1]] * 3, [[0, 1, 1], [0, 0, 0], [0, 1, 1]]))
    for n, digits in [(30, 6), (100, 1), (200, 0)]:  # few digits make ties
        expected = [round(rng.uniform(0, 5), digits) for _ in range(n)]
        out["scores"].append(score_case([round(e + rng.gauss(0, 1), digits) for e in expected], expected))
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-A-B", "I-A-B"]
    for n in (1, 20, 100):
        expected = [[rng.choice(tags) for _ in range(rng.randint(1, 12))] for _ in range(n)]
        predicted = [[t if rng.random() < 0.7 else rng.choice(tags) for t in text] for text in expected]
        out["entities"].append({"predicted": predicted, "expected": expected, "entity_f1": entity_f1(expected, predicted)})
    out["entities"].append({"predicted": [["O", "O"]], "expected": [["O", "O"]], "entity_f1": float(entity_f1([["O", "O"]], [["O", "O"]]))})
    schemes = random.Random(2)
    for prefixes in ("BI", "I", "BIES", "IE"):  # IOB1 and IOB2, IOB1 without neighbours, BIOES or IOBES, IOE
        tags = ["O", "O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in ("PER", "LOC"))]
        for n in (1, 30):
            expected = [[schemes.choice(tags) for _ in range(schemes.randint(1, 12))] for _ in range(n)]
            predicted = [[t if schemes.random() < 0.7 else schemes.choice(tags) for t in text] for text in expected]
            out["entities"].append({"predicted": predicted, "expected": expected, "entity_f1": entity_f1(expected, predicted)})
    for bare in (["B", "I", "E", "S", "O"], ["S-A-B", "E-A-B", "O", "B-A-B"]):  # segments without a type; dashes in it
        expected = [[schemes.choice(bare) for _ in range(8)] for _ in range(20)]
        predicted = [[t if schemes.random() < 0.7 else schemes.choice(bare) for t in text] for text in expected]
        out["entities"].append({"predicted": predicted, "expected": expected, "entity_f1": entity_f1(expected, predicted)})
    for predicted, expected in [
            ("the Norman dynasty", ["Norman dynasty", "Normans"]), ("A cat, an apple; the dog!", ["cat apple dog"]),
            ("", ["something"]), ("", ["the"]), ("42%", ["42", "42 %"]), ("in 1066", ["1066", "the year 1066"]),
            ("theatre", ["the atre"]), ("U.S.A.", ["usa"]), ("caf\u00e9\u00a0the\u2003bar", ["CAF\u00c9 bar"]),
            ("the\u2014an end", ["\u2014 end"]), ("a_b $5 + ~", ["ab 5"]), ("a a b", ["b b a"]), ("x y z", ["y x", "z"]),
            ("\u039f\u0394\u039f\u03a3", ["\u03bf\u03b4\u03bf\u03c2"]), ("\u4e2d\u6587 the", ["\u4e2d\u6587"]), ("a\u0301", ["\u0301"])]:
        out["answers"].append({"predicted": predicted, "expected": expected,
                               "exact_match": float(max(squad_exact_match(predicted, e) for e in expected)),
                               "f1": max(squad_f1(predicted, e) for e in expected)})
    with open(f"{HERE}/metrics.json", "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
