#!/usr/bin/env python3
"""Golden values of SQuAD 2.0's metrics and thresholds, by the published evaluate-v2.0.py, whose functions are copied.

Needs nothing but Python. Writes squad2.json beside itself: questions, and what the script says of them.
"""
import collections
import json
import os
import random

from squad import normalize_answer

HERE = os.path.dirname(os.path.abspath(__file__))


def get_tokens(s):
    return normalize_answer(s).split() if s else []


def compute_exact(a_gold, a_pred):
    return int(normalize_answer(a_gold) == normalize_answer(a_pred))


def compute_f1(a_gold, a_pred):
    gold_toks, pred_toks = get_tokens(a_gold), get_tokens(a_pred)
    common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(pred_toks)
    recall = 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def get_raw_scores(golds, preds):
    exact_scores, f1_scores = {}, {}
    for qid, answers in golds.items():
        gold_answers = [a for a in answers if normalize_answer(a)] or [""]
        exact_scores[qid] = max(compute_exact(a, preds[qid]) for a in gold_answers)
        f1_scores[qid] = max(compute_f1(a, preds[qid]) for a in gold_answers)
    return exact_scores, f1_scores


def apply_no_ans_threshold(scores, na_probs, qid_to_has_ans, na_prob_thresh):
    new_scores = {}
    for qid, s in scores.items():
        if na_probs[qid] > na_prob_thresh:
            new_scores[qid] = float(not qid_to_has_ans[qid])
        else:
            new_scores[qid] = s
    return new_scores


def find_best_thresh(preds, scores, na_probs, qid_to_has_ans):
    num_no_ans = sum(1 for k in qid_to_has_ans if not qid_to_has_ans[k])
    cur_score = num_no_ans
    best_score = cur_score
    best_thresh = 0.0
    qid_list = sorted(na_probs, key=lambda k: na_probs[k])
    for i, qid in enumerate(qid_list):
        if qid not in scores:
            continue
        if qid_to_has_ans[qid]:
            diff = scores[qid]
        else:
            if preds[qid]:
                diff = -1
            else:
                diff = 0
        cur_score += diff
        if cur_score > best_score:
            best_score = cur_score
            best_thresh = na_probs[qid]
    return best_score / len(scores), best_thresh


def mean(scores, ids):
    return sum(scores[k] for k in ids) / len(ids)


def questions(rng, count, good):
    words = ["the", "a", "Paris", "in", "1998", "river", "Seine", "king", "of", "France", "U.S.", "an", "old", "Caf\u00e9"]
    result, seen = [], set()
    while len(result) < count:
        predicted = " ".join(rng.choice(words) for _ in range(rng.randint(1, 4)))
        has_answer = rng.random() < 0.6
        answers = []
        if has_answer:
            for _ in range(rng.randint(1, 3)):
                answers.append(" ".join(rng.choice(words) for _ in range(rng.randint(1, 4))))
            if rng.random() < 0.6:
                answers.append(rng.choice([predicted, predicted.lower() + ".", "the " + predicted]))
        centre = (-3 if has_answer else 3) if good else 0
        # No value twice, so that the order of equal ones decides nothing; a multiple of 1/1024 is exact in float32.
        no_answer = round(rng.gauss(centre, 3) * 1024) / 1024
        if no_answer not in seen:
            result.append({"predicted": predicted, "answers": answers, "no_answer": no_answer})
        seen.add(no_answer)
    return result


def main():
    rng = random.Random(2)
    cases = []
    for good, count in ((True, 200), (False, 60), (True, 12)):
        own = questions(rng, count, good)
        golds = {i: q["answers"] for i, q in enumerate(own)}
        preds = {i: q["predicted"] for i, q in enumerate(own)}
        na_probs = {i: q["no_answer"] for i, q in enumerate(own)}
        has = {i: bool(a) for i, a in golds.items()}
        yes, no = [i for i in has if has[i]], [i for i in has if not has[i]]
        exact_raw, f1_raw = get_raw_scores(golds, preds)
        results = []
        for threshold in (0.0, -1.5, 2.25, 1000.0, -1000.0):
            exact = apply_no_ans_threshold(exact_raw, na_probs, has, threshold)
            f1 = apply_no_ans_threshold(f1_raw, na_probs, has, threshold)
            results.append({"threshold": threshold, "exact_match": mean(exact, list(has)), "f1": mean(f1, list(has)),
                            "has_answer_exact_match": mean(exact, yes), "has_answer_f1": mean(f1, yes),
                            "no_answer_accuracy": mean(exact, no)})
        best_exact, exact_thresh = find_best_thresh(preds, exact_raw, na_probs, has)
        best_f1, f1_thresh = find_best_thresh(preds, f1_raw, na_probs, has)
        cases.append({"questions": own, "results": results,
                      "best": {"exact_match": best_exact, "exact_match_threshold": exact_thresh, "f1": best_f1,
                               "f1_threshold": f1_thresh}})
    with open(os.path.join(HERE, "squad2.json"), "w") as f:
        json.dump(cases, f, indent=1)
        f.write("\n")


main()
