#!/usr/bin/env python3
"""What clients do to a server by mistake or on purpose, round after round: bodies of the wrong form, HTTP that is none, slow senders and readers,
connections cut in every state, bodies without an end, a thousand idle ones, more than it can take, and model files replaced under it. Each
has its status code; in the end the server gives the numbers that it gave, holds no more memory, descriptors and threads than after the first
round, and ends with 0 and without a word (the sanitizers' reports are words).
usage: abuse.py COMPRESS_SERVE GOLDENS [SECONDS]      (as many rounds as begin in so many seconds, at least two; 0)"""
import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from serving import Server, expect, expect_close, fail, head_folder, rank_folder, read_answer, request_of, sentence_folder, status_of

PROGRAM, GOLDENS, SECONDS = sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
TINY = os.path.join(GOLDENS, "model/tiny")
MEBIBYTES_KEPT = 24  # between rounds, of 64 and more: what the C library or the sanitizer has not given back

text_tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["the quick", "fox"]}
id_tensor = {"name": "input_ids", "shape": [1, 3], "datatype": "INT64", "data": [[2, 7, 3]]}
# A request of each route that is answered, each key of which is made wrong.
BODIES = {
    "/": {"inputs": "the quick", "raw_scores": True},
    "/embed": {"inputs": ["good film", "bad"], "normalize": False, "truncate": True, "truncation_direction": "Left", "dimensions": 3, "model": "sentence"},
    "/embed_all": {"inputs": [[5, 6, 7], [8]], "truncate": True, "model": "sentence"},
    "/predict": {"inputs": [["the quick"], ["the", "fox"]], "raw_scores": False, "truncate": False, "model": "tiny"},
    "/rerank": {"query": "the quick", "texts": ["fox", "the fox"], "return_text": True, "raw_scores": True, "model": "rank"},
    "/similarity": {"inputs": {"source_sentence": "good", "sentences": ["bad", "film"]}, "parameters": {"truncate": True}},
    "/tokenize": {"inputs": ["the quick", "fox"], "add_special_tokens": False, "model": "tiny"},
    "/v1/embeddings": {"input": "good film", "model": "sentence", "encoding_format": "base64", "dimensions": 4, "user": "u"},
    "/v2/models/tiny/infer": {"id": "7", "inputs": [text_tensor], "outputs": [{"name": "logits"}]},
    "/v2/models/sentence/infer": {"inputs": [id_tensor, id_tensor | {"name": "attention_mask", "data": [1, 1, 0]}]},
    "/token_classification": {"inputs": ["a b c", "d"], "truncate": True},
    "/question_answering": {"inputs": [{"question": "a b", "context": "c d a b c"}]},
    "/fill_mask": {"inputs": "a [MASK] b"},
}
ODD = [None, True, 0, -1, 7, 2**63, -(2**63), 1.5, 1e308, "", "x", "\0", "\U0001f600", [], [[]], [None], [[[["x"]]]], ["x"] * 300, {}, {"x": 1}]
REFUSED = (400, 404, 413, 422, 424)


def replaced(value):
    """The value with one of its parts replaced or gone."""
    yield from ODD
    if isinstance(value, dict):
        for key, part in value.items():
            yield {other: value[other] for other in value if other != key}
            for new in replaced(part):
                yield value | {key: new}
    elif isinstance(value, list):
        for i, part in enumerate(value):
            for new in replaced(part):
                yield value[:i] + [new] + value[i + 1:]


class Asker:
    """Many requests on one connection."""

    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def post(self, path, data, wanted):
        self.connection.request("POST", path, data)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status not in wanted:
            fail(f"{path} {data[:300]!r}: found {answer.status} {text[:300]!r}, expected one of {wanted}")
        try:
            told = json.loads(text)
        except ValueError as error:
            fail(f"the answer of {path} {data[:300]!r} is no JSON, {error}: {text[:300]!r}")
        if path.startswith("/v1/") and answer.status != 200 and told["error"].keys() == {"message", "type", "param", "code"}:
            told = {"error": told["error"]["message"], "error_type": told["error"]["type"], "code": told["error"]["code"]}
        if answer.status != 200 and (told.keys() != {"error", "error_type", "code"} or told["code"] != answer.status):
            fail(f"the error of {path} {data[:300]!r}: found {told}")
        return told


def bodies(server):
    asker = Asker(server)
    deep = b'{"inputs": ' + b"[" * 50_000
    for path, valid in BODIES.items():
        asker.post(path, json.dumps(valid).encode(), (200,))
        odd = 400 if path.startswith("/v1/") else 422
        for data, wanted in ((b"", 400), (b"{", 400), (b"[]", odd), (b"7", odd), (b"null", odd), (b'"a"', odd), (b"{}", odd), (b"\xff", 400), (b"{} x", 400),
                             (b'{"inputs": NaN}', 400), (b'{"inputs": 1e999}', 400), (b"{'a': 1}", 400), (b'{"a": "\xc0\x80"}', 400), (b'{"a": "\xed\xa0\x80"}', 400),
                             (b'{"a": "\\ud800"}', 400), (b'{"\xff": 1}', 400), (b'{"a": "\x01"}', 400), (b"\0" * 1000, 400), (deep, 400),
                             (deep + b"]" * 50_000 + b"}", 400), (b'{"a":' * 50_000, 400)):
            asker.post(path, data, (wanted,))
        for body in replaced(valid):
            asker.post(path, json.dumps(body).encode(), (200, *REFUSED))
        asker.post(path, b"\xef\xbb\xbf" + json.dumps(valid).encode(), (200, 400))
    for text, wanted in (("", 200), ("\x00 \u202e \U0001f600", 200), ("x" * 90_000, 200), ("the " * 600, 413), ("\ufffd" * 30, 200)):
        asker.post("/predict", json.dumps({"inputs": text}).encode(), (wanted,))
        asker.post("/predict", json.dumps({"inputs": text, "truncate": True, "truncation_direction": "Left"}).encode(), (200,))
    asker.post("/predict", json.dumps({"inputs": [["the"]] * 257}).encode(), (413,))
    asker.post("/v2/models/tiny/infer", json.dumps({"inputs": [text_tensor | {"shape": [2**62, 8]}]}).encode(), (422,))
    asker.connection.close()


POST = b"POST /predict HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HTTP = [
    (POST + b"Content-Length: 3\r\n\r\n{\"i", 400), (POST + b"Content-Length: -1\r\n\r\n", 400), (POST + b"Content-Length: 9" + b"9" * 20 + b"\r\n\r\n", 400),
    (POST + b"Content-Length: 1000000000000\r\n\r\n", 413), (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400), (CHUNKED + b"zz\r\n", 400), (CHUNKED + b"ffffffffffffffffff\r\n", 400),
    (CHUNKED + b"2;" + b"x" * 100_000, 431), (CHUNKED + b"0\r\n" + b"a: b\r\n" * 20_000, 431), (CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", 422),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400), (b"GET / HTTP/9.9\r\n\r\n", 400), (b"\r\n" * 5000, 400),
    (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n", 431), (b"GET / HTTP/1.1\r\na: " + b"x" * 40_000, 431), (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 9000, 431),
    (b"DELETE /predict HTTP/1.1\r\nHost: a\r\n\r\n", 405), (b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404), (b"GET /%00%ff%zz HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    (b"GET http://a/health HTTP/1.1\r\nHost: a\r\n\r\n", 200), (b"GET /health HTTP/1.1\r\n\r\n", 400),
    (POST + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415), (b"GET /v2/models/%F0%9F%98%80/ready HTTP/1.1\r\nHost: a\r\n\r\n", 404), (b"HEAD /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
    (POST + b"X-Request-Timeout-Ms: soon\r\nContent-Length: 2\r\n\r\n{}", 422), (POST + b"Content-Length: 50\r\n\r\nhalf", 408), (b"POST /pre", 408),
    (CHUNKED + b"5\r\n{}", 408), (b"POST /predict HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", 422),
]


def no_http(server):
    with concurrent.futures.ThreadPoolExecutor(len(HTTP)) as threads:  # those that are late are so at once
        for (data, wanted), answer in zip(HTTP, threads.map(lambda case: server.send_raw(case[0]), HTTP)):
            expect(status_of(answer), wanted, f"the answer of {data[:120]!r}: {answer[:300]!r}")


def until_closed(server, first, piece, pause):
    """Sends the piece again and again until nobody takes it any more; what was answered."""
    with server.raw() as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(first)
            until = time.monotonic() + 20
            client.setblocking(False)
            while time.monotonic() < until:
                with contextlib.suppress(BlockingIOError):
                    client.sendall(piece)
                    if pause == 0.0:
                        continue
                with contextlib.suppress(BlockingIOError):
                    return client.recv(65536)  # before the connection is reset
                time.sleep(pause or 0.01)
        client.setblocking(True)
        return read_answer(client)


def endless(server):
    cases = [(CHUNKED, b"400\r\n" + b" " * 1024 + b"\r\n", 0.0, 413), (CHUNKED, b"1\r\n \r\n", 0.05, 408), (POST, b"a", 0.05, 408), (b"", b"G", 0.05, 408),
             (POST + b"Content-Length: 90000\r\n\r\n", b" ", 0.05, 408), (CHUNKED + b"2;", b"x", 0.05, 408), (CHUNKED + b"0\r\n", b"a: b\r\n", 0.05, 408)]
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as threads:
        for (first, piece, _, wanted), answer in zip(cases, threads.map(lambda case: until_closed(server, *case[:3]), cases)):
            expect(status_of(answer), wanted, f"the answer of {first[-60:]!r} and {piece[:20]!r} without an end: {answer[:200]!r}")


def slow_readers(server):
    """Ask for more than the system's buffers hold, and read none of it."""
    request = request_of("/embed_all", {"inputs": [[5 + i % 29 for i in range(30)]] * 256})
    clients = []
    for _ in range(8):
        clients.append(socket.socket())
        clients[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        clients[-1].connect(("127.0.0.1", server.port))
        clients[-1].sendall(request * 4)
    return clients


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def cut(server):
    """After each byte of a request, of two that are sent at once, of a body in chunks, and of the answer; with a word or without."""
    whole = request_of("/predict", {"inputs": "the quick"})
    chunked = CHUNKED + b"14\r\n" + b'{"inputs": "the"}   ' + b"\r\n0\r\n\r\n"
    for request in (whole, whole + whole, chunked, request_of("/embed_all", {"inputs": ["good film"] * 256})):
        for end in range(1, len(request) + 1, 1 + len(request) // 100):
            client = server.raw()
            client.sendall(request[:end])
            if end % 3 == 0:
                client.shutdown(socket.SHUT_WR)
            reset(client) if end % 2 else client.close()
    for length in range(0, 400, 7):
        client = server.raw()
        client.sendall(whole)
        if length > 0:
            client.recv(length)
        reset(client) if length % 2 else client.close()
    with server.raw() as client:  # who does not wait for answers gets them all, in order
        client.sendall(whole * 20)
        client.settimeout(30)
        received = b""
        while received.count(b"HTTP/1.1 200") < 20:
            received += client.recv(65536) or fail(f"found {received.count(b'HTTP/1.1')} answers of 20 requests at once")


def changed_bytes(server, seed):
    generator = random.Random(seed)
    requests = [request_of(path, body, "Accept: */*\r\nX-Request-Id: a\r\n") for path, body in BODIES.items()] + [CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"]
    for _ in range(600):
        data = bytearray(generator.choice(requests))
        for _ in range(generator.randint(1, 4)):
            place = generator.randrange(len(data))
            data[place:place + generator.randint(0, 2)] = generator.randbytes(generator.randint(0, 2))
        with server.raw() as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
            answer = read_answer(client)
            if answer and (status_of(answer) < 200 or status_of(answer) >= 500):
                fail(f"{bytes(data)!r}: found {answer[:300]!r}")


def idle(server):
    """Connections that say nothing, or only a part of a request, keep nobody waiting."""
    clients = [server.raw() for _ in range(1000)]
    for client in clients[::2]:
        client.sendall(b"POST /pre")
    begin = time.monotonic()
    for _ in range(20):
        server.post("/predict", {"inputs": "the quick"})
    took = time.monotonic() - begin
    if took > 20:
        fail(f"20 requests beside 1,000 idle connections took {took:.1f} s")
    for client in clients[::2]:
        expect(status_of(read_answer(client)), 408, "a request of which nothing more comes")
    for client in clients:
        client.close()


def overload(server):
    """More than the queue has room for, and less time than an answer takes."""
    texts = {"inputs": ["good film bad the end of It all is good " * 3] * 256, "truncate": True}
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: server.ask("POST", "/embed", texts), range(64)))
    found = {status for status, _, _ in answers}
    expect(found, {200, 429}, "statuses of more than it can take")
    for status, _, headers in answers:
        if status == 429 and not 1 <= int(headers["Retry-After"]) <= 60:
            fail(f"found Retry-After {headers['Retry-After']}, expected 1 to 60")
    hurried(server, texts)


def hurried(server, texts):
    """A request that has a millisecond is told so where it has to wait for others: what is begun at once is answered."""
    done = threading.Event()

    def load():
        while not done.is_set():
            server.ask("POST", "/embed", texts)

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        loads = [threads.submit(load) for _ in range(4)]
        try:
            found = set()
            until = time.monotonic() + 20
            while 504 not in found and time.monotonic() < until:
                found.add(server.ask("POST", "/embed", texts, {"X-Request-Timeout-Ms": "1"})[0])
        finally:
            done.set()
        for one in loads:
            one.result()
    if 504 not in found or not found <= {200, 429, 504}:
        fail(f"requests that have a millisecond beside others: found the statuses {sorted(found)}, expected 504 among them, else 200 or 429")


class Figures:
    """What the system says of the process."""

    def __init__(self, server):
        place = f"/proc/{server.process.pid}"
        self.descriptors = len(os.listdir(place + "/fd"))
        self.threads = len(os.listdir(place + "/task"))
        with open(place + "/statm", encoding="utf-8") as pages:
            self.mebibytes = int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def __str__(self):
        return f"{self.mebibytes:.1f} MiB, {self.descriptors} descriptors, {self.threads} threads"


def settled(server, descriptors):
    """Figures when all that was cut is closed, or when that takes too long."""
    until = time.monotonic() + 20
    while (figures := Figures(server)).descriptors > descriptors and time.monotonic() < until:
        time.sleep(0.05)
    return figures


def answers_of(server, texts):
    return [server.post("/predict", {"inputs": "the quick"}), server.post("/embed", {"inputs": texts[0]}), server.post("/token_classification", {"inputs": "a b"}),
            server.post("/rerank", {"query": "the", "texts": ["quick", "fox"]})]


def attack(place):
    sentence, texts, vectors = sentence_folder(GOLDENS, place, "a default prompt")
    heads = [head_folder(GOLDENS, place, name) for name in ("token_classification", "question_answering", "masked_lm")]
    tiny = os.path.join(place, "tiny")
    shutil.copytree(TINY, tiny)
    rank = rank_folder(GOLDENS, place)
    begin = time.monotonic()
    with Server(PROGRAM, tiny, sentence, rank, *heads, "--request-time", "2", "--max-body", "1MiB", "--queue-tokens", "20000") as server:
        first_answers, before, after_first, rounds = answers_of(server, texts), Figures(server), None, 0
        while rounds < 2 or time.monotonic() - begin < SECONDS:
            readers = slow_readers(server)
            bodies(server)
            no_http(server)
            endless(server)
            cut(server)
            changed_bytes(server, rounds)
            idle(server)
            overload(server)
            for client in readers:
                client.close()
            if rounds == 0:
                replace_files([tiny, sentence, rank, *heads])
            expect(answers_of(server, texts), first_answers, "answers after all this")
            for text, vector in zip(texts, vectors):
                expect_close(server.post("/embed", {"inputs": text, "truncate": True})[0], vector, f"the vector of {text}")
            figures = settled(server, before.descriptors)
            print(f"abuse: round {rounds + 1}, after {time.monotonic() - begin:.0f} s: {figures}", flush=True)
            after_first = after_first or figures
            rounds += 1
        if figures.descriptors > before.descriptors or figures.threads > before.threads:
            fail(f"found {figures}, expected at most the descriptors and threads of the beginning: {before}")
        if figures.mebibytes > after_first.mebibytes + MEBIBYTES_KEPT:
            fail(f"found {figures}, expected at most {MEBIBYTES_KEPT} MiB more than the {after_first} of the first round")
        expect(server.stop(), (0, ""), "the end")


def replace_files(folders):
    """Files of a server that runs: overwritten in their place, cut off, gone."""
    for i, folder in enumerate(folders):
        for path, _, names in list(os.walk(folder)):
            for name in names:
                with open(os.path.join(path, name), "r+b") as file:
                    file.write(b"\xff" * 64) if i % 2 else file.truncate(64)
    shutil.rmtree(folders[-1])


def hostile_folders(place):
    """A server that can't start says why in one line."""
    generator = random.Random(3)
    source = os.path.join(GOLDENS, "sentence/model")
    for trial in range(12):
        folder = os.path.join(place, f"hostile{trial}")
        shutil.copytree(source, folder)
        name = generator.choice(["config.json", "model.safetensors", "tokenizer.json"])
        with open(os.path.join(folder, name), "r+b") as file:
            data = bytearray(file.read())
            head = min(len(data), 2000)
            if trial % 3:
                data[generator.randrange(head)] = generator.choice(b"{}[]\",:0\xff")
            else:
                del data[generator.randrange(head):]
            file.seek(0)
            file.truncate()
            file.write(data)
        with subprocess.Popen([PROGRAM, folder, "--port", "0", "--json", "--access-log", "off"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            if process.stdout.readline():  # what was changed made no difference
                process.terminate()
            _, errors = process.communicate(timeout=60)
        if process.returncode != 0 and (process.returncode, len(errors.splitlines())) != (2, 1):
            fail(f"{name} that was changed: found {process.returncode} and {errors}")


def few_connections():
    with Server(PROGRAM, TINY, "--connections", "8", "--idle-time", "1") as server:
        clients = [server.raw() for _ in range(8)]
        time.sleep(0.3)
        answer = server.send_raw(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        expect((status_of(answer), b"Retry-After" in answer), (503, True), f"the ninth connection of eight: {answer[:300]!r}")
        for client in clients:
            expect(read_answer(client), b"", "what an idle connection is told when its time is up")
            client.close()
        expect(server.ask("GET", "/health")[0], 200, "health when there is room again")
        expect(server.stop(), (0, ""), "the end")


with tempfile.TemporaryDirectory() as folder_of_all:
    attack(folder_of_all)
    hostile_folders(folder_of_all)
few_connections()
