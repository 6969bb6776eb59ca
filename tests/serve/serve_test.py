#!/usr/bin/env python3
"""Holds `compress serve` to what its clients are promised: the numbers of `compress predict`, the errors, and that a server that is told to
stop loses no request. What clients do to it is in abuse.py.
usage: serve_test.py COMPRESS COMPRESS_SERVE GOLDENS"""
import base64
import contextlib
import json
import math
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

from serving import ENVIRONMENT, Server, expect, expect_close, fail, head_folder, read_answer, request_of, status_of

COMPRESS, PROGRAM, GOLDENS = sys.argv[1:]
TINY, SENTENCES = os.path.join(GOLDENS, "model/tiny"), os.path.join(GOLDENS, "sentence/model")
TEXTS = ["the quick brown fox", "of the CAFÉ", "and and and"]


def expect_alike(found, wanted, what):
    """Equal, but for the last digits of numbers that are not whole."""
    if isinstance(wanted, dict) and isinstance(found, dict) and found.keys() == wanted.keys():
        for key in wanted:
            expect_alike(found[key], wanted[key], f"{what}, {key}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(found) == len(wanted):
        for own, other in zip(found, wanted):
            expect_alike(own, other, what)
    elif isinstance(wanted, float) and isinstance(found, float):
        expect_close([found], [wanted], what)
    else:
        expect(found, wanted, what)


def predicted(folder, *texts):
    out = subprocess.run([COMPRESS, "predict", folder, "--json", *texts], check=True, capture_output=True, text=True, env=ENVIRONMENT)
    return [json.loads(line) for line in out.stdout.splitlines()]


def check_classes(server):
    wanted = predicted(TINY, *TEXTS)
    found = server.post("/predict", {"inputs": [[text] for text in TEXTS]})
    for own, other, text in zip(found, wanted, TEXTS):
        scores = {entry["label"]: entry["score"] for entry in own}
        expect(scores.keys(), other["scores"].keys(), "labels")
        expect_close([scores[label] for label in other["scores"]], list(other["scores"].values()), f"scores of {text}")
        expect(own[0]["label"], other["label"], "the best label")
        expect([entry["score"] for entry in own], sorted(scores.values(), reverse=True), "the order of labels")
    pieces = server.post("/tokenize", {"inputs": TEXTS[1], "model": "tiny"})[0]
    ids = [piece["id"] for piece in pieces]
    tensor = {"name": "input_ids", "datatype": "INT64", "shape": [1, len(ids)], "data": ids}
    logits = server.post("/v2/models/tiny/infer", {"inputs": [tensor]})["outputs"][0]
    expect((logits["name"], logits["shape"]), ("logits", [1, len(wanted[0]["scores"])]), "the output")
    shares = [math.exp(x - max(logits["data"])) for x in logits["data"]]
    expect_close([x / sum(shares) for x in shares], list(wanted[1]["scores"].values()), "logits of token ids")
    words = [piece["text"] for piece in pieces if not piece["special"]]
    expect("".join(words), TEXTS[1].replace(" ", ""), "tokens")
    expect([TEXTS[1][piece["start"]:piece["stop"]] for piece in pieces if not piece["special"]], words, "places of tokens")


def check_vectors(server):
    wanted = []
    for line in predicted(SENTENCES, *TEXTS):
        norm = math.sqrt(sum(x * x for x in line["embedding"]))
        wanted.append([x / norm for x in line["embedding"]])
    for own, other in zip(server.post("/embed", {"inputs": TEXTS}), wanted):
        expect_close(own, other, "a vector")
    answer = server.post("/v1/embeddings", {"input": TEXTS, "model": "model", "encoding_format": "base64"})
    for own, other in zip(answer["data"], wanted):
        data = base64.b64decode(own["embedding"])
        expect_close(struct.unpack(f"<{len(data) // 4}f", data), other, "a vector in base64")
    cosine = server.post("/similarity", {"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS}})
    expect_close(cosine, [sum(x * y for x, y in zip(wanted[0], other)) for other in wanted], "cosines")
    tokens = server.post("/tokenize", {"inputs": TEXTS[0], "model": "model"})[0]
    rows = server.post("/embed_all", {"inputs": TEXTS[0]})[0]
    if len(rows) < len([token for token in tokens if not token["special"]]):
        fail(f"found {len(rows)} vectors of tokens, expected one a token of {tokens}")


def check_answers(server, folders):
    text = "a b c d"
    expect_alike(server.post("/token_classification", {"inputs": text}), predicted(folders["token_classification"], text)[0], "tags")
    found = server.post("/question_answering", {"inputs": [{"question": "a b", "context": "c d a b c"}]})
    expect_alike(found, predicted(folders["question_answering"], "a b\tc d a b c"), "an answer")
    text = "a [MASK] b"
    expect_alike(server.post("/fill_mask", {"inputs": text}), predicted(folders["masked_lm"], text)[0], "masked words")
    expect(server.ask("POST", "/fill_mask", {"inputs": "a b"})[0], 422, "a text without a mask")


def check_routes(place):
    folders = {name: head_folder(GOLDENS, place, name) for name in ("token_classification", "question_answering", "masked_lm")}
    with Server([COMPRESS, "serve"], TINY, SENTENCES, *folders.values()) as server:
        expect(server.models, ["tiny", "model", *folders], "names")
        check_classes(server)
        check_vectors(server)
        check_answers(server, folders)
        expect([model["id"] for model in server.get("/v1/models")["data"]], server.models, "models")
        expect(server.get("/info")["model_id"], "tiny", "the first model")
        page = server.get("/openapi.json")
        expect(page["openapi"], "3.0.3", "the page's version")
        for path, methods in page["paths"].items():
            for method in methods:
                status, _, _ = server.ask(method.upper(), path.replace("{name}", "tiny"), b"{}" if method == "post" else None)
                if status not in (200, 400, 422):
                    fail(f"{method} {path}: found {status}, expected 200 or that something is missing")
        check_metrics(server)
        status, body, headers = server.ask("POST", "/rerank", {"query": "a", "texts": ["b"]})
        expect((status, json.loads(body)["error_type"]), (424, "backend"), "a model that ranks nothing")
        expect(server.stop(), (0, ""), "the end")


def check_metrics(server):
    for accept, type_, end in ((None, "text/plain", ""), ("text/plain;q=1, application/openmetrics-text;q=0", "text/plain", ""), ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", "# EOF\n")):
        status, body, headers = server.ask("GET", "/metrics", headers={"Accept": accept} if accept else {})
        text = body.decode()
        expect((status, headers["Content-Type"].split(";")[0], text.endswith(end)), (200, type_, True), "metrics")
        for line in text.splitlines():
            if not line.startswith("# ") and not re.fullmatch(r'\w+(\{(\w+="[^"]*",?)+\})? [-+.\de]+(Inf)?', line):
                fail(f"found the line {line!r} in /metrics")
        for part in ('compress_requests_total{route="/predict",code="200"}', 'compress_tokens_total{model="tiny"}',
                     'compress_queue_seconds_bucket{model="tiny",le="+Inf"}', 'compress_batch_texts_count{model="model"}'):
            if part not in text:
                fail(f"found no {part} in /metrics")


def check_stop():
    """Clients ask as fast as they can; every request that an open connection took is answered."""
    with Server(PROGRAM, TINY) as server:
        wrong, answered = [], [0] * 16

        def work(i):
            while True:
                try:
                    client = server.raw()
                except OSError:
                    return  # no longer there: nothing was asked
                with client:
                    is_new = True
                    while True:
                        answer = b""
                        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                            client.sendall(request_of("/predict", {"inputs": " ".join(["the fox"] * (1 + answered[i] % 4))}))
                            answer = read_answer(client)
                        if not answer and is_new:
                            return  # the system took the connection as the server ended
                        if status_of(answer) != 200:
                            wrong.append(answer[:200])
                            return
                        answered[i] += 1
                        is_new = False
                        if b"Connection: close" in answer:
                            break

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(answered))]
        for thread in threads:
            thread.start()
        time.sleep(1)
        code, errors = server.stop()
        for thread in threads:
            thread.join()
        expect((code, errors, wrong, min(answered) > 0), (0, "", [], True), f"requests while the server stops, {answered} answered")


def check_operations(place):
    keys, log = os.path.join(place, "keys"), os.path.join(place, "access.jsonl")
    with open(keys, "w", encoding="utf-8") as out:
        out.write("first\nsecond\n")
    with Server(PROGRAM, "own=" + TINY, "--api-key-file", keys, log=log) as server:
        linked = subprocess.run(["ldd", PROGRAM], check=True, capture_output=True, text=True).stdout
        names = [line.split()[0] for line in linked.splitlines()]
        expect([name for name in names if "torch" in name or "c10" in name], [], "libraries of compress-serve")
        expect(server.models, ["own"], "names")
        body = {"inputs": "the quick"}
        expect(server.ask("POST", "/predict", body)[0], 401, "a request without a key")
        expect(server.ask("POST", "/predict", body, {"Authorization": "Bearer second", "X-Request-Id": "r1"})[0], 200, "one with a key")
        expect(server.ask("GET", "/health")[0], 200, "health without a key")
        other = subprocess.run([PROGRAM, TINY, "--port", str(server.port)], capture_output=True, text=True)
        expect((other.returncode, len(other.stderr.splitlines())), (4, 1), "a port that is taken")
        server.process.send_signal(signal.SIGINT)
        _, errors = server.process.communicate(timeout=60)
        expect((server.process.returncode, errors), (0, ""), "the end")
    with open(log, encoding="utf-8") as lines:
        entries = [json.loads(line) for line in lines]
    expect([(entry["path"], entry["status"]) for entry in entries], [("/predict", 401), ("/predict", 200), ("/health", 200)], "the access log")
    expect((entries[1]["model"], entries[1]["texts"], entries[1]["request_id"]), ("own", 1, "r1"), "the access log")
    for arguments in (["/nonexistent"], [TINY, TINY], [TINY, "--max-body", "many"], [TINY, "--host", "no.such.host.invalid"],
                      [TINY, "--api-key-file", "/nonexistent"], []):
        result = subprocess.run([PROGRAM, *arguments, "--port", "0"], capture_output=True, text=True, timeout=60)
        expect((result.returncode, result.stdout, len(result.stderr.splitlines())), (2, "", 1), f"{arguments}: {result.stderr}")


def main():
    with tempfile.TemporaryDirectory() as place:
        check_routes(place)
        check_operations(place)
    check_stop()


main()
