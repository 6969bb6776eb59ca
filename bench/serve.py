#!/usr/bin/env python3
"""Load on `compress serve`, or on another server: requests and tokens a second, latencies, and memory, for several numbers of clients.

    python3 bench/serve.py build/release/bin/compress-serve runs/.../int8 --texts data/dev.jsonl
    python3 bench/serve.py ... --peer infinity,7997,/embeddings --peer fastapi,7998,/embed      # and servers that run already, at their ports

Needs wrk (apt: wrk). Texts of the files ("text" of JSON lines) are shuffled and joined, 1 to 18 at a time, so that their lengths differ; each request
has one, and all clients send one after another. Beside it what the engine does without a server: the same texts, as many a call as there are
clients, by the runtime's library from this process. Prints a table in Markdown; tokens of servers that do not count them are ours a request.
wrk adds to its percentiles requests that it would have sent while it waited, so what one client waits for is measured once more: each text by a
plain client, then by the engine, in turns. Memory is what the server holds before and after a row's load, and its peak so far: --seconds 600 --clients 64 shows whether it grows.
"""
import argparse
import contextlib
import ctypes
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

SCRIPT = """local bodies = {%s}
local next = 0
init = function(args) math.randomseed(os.time()); next = math.random(#bodies) end
request = function()
  next = next %% #bodies + 1
  return wrk.format("POST", "%s", {["Content-Type"] = "application/json"}, bodies[next])
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %%f %%f %%f %%d %%d\\n", summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1000,
    latency:percentile(99) / 1000, e.status + e.connect + e.read + e.timeout, summary.requests))
end"""


def joined_texts(files, count, seed):
    generator = random.Random(seed)
    texts = []
    for name in files:
        with open(name, encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line in lines]
    generator.shuffle(texts)
    joined, at = [], 0
    while len(joined) < count:
        take = generator.choice([1, 1, 2, 2, 3, 4, 6, 10, 18])
        joined.append(" ".join(" ".join(texts[(at + k) % len(texts)] for k in range(take)).split()[:150]))
        at += take
    return joined


def body_of(text, route):
    """As OpenAI's and Infinity's routes take a text, or as Text Embeddings Inference's do."""
    as_list = route.endswith(("/embeddings", "/classify"))
    return {"model": "m", "input": [text]} if as_list else {"inputs": text, "truncate": True}


def metric(url, name):
    """The sum of a metric's samples; none where the server has no such metric."""
    try:
        with urllib.request.urlopen(url + "/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    found = [float(line.rsplit(" ", 1)[1]) for line in lines if re.match(name + r"[ {]", line)]
    return sum(found) if found else None


def megabytes(pids, field):
    """Of the processes together: VmRSS, or VmHWM for the peak."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # it is gone
            with open(f"/proc/{pid}/status", encoding="utf-8") as status:
                total += int(re.search(field + r":\s+(\d+)", status.read())[1]) / 1024
    return total


def measure(url, script, clients, seconds):
    before = metric(url, "compress_tokens_total")
    begin = time.monotonic()
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", script, url]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    took = time.monotonic() - begin
    found = re.search(r"RESULT ([\d.]+) ([\d.]+) ([\d.]+) (\d+) (\d+)", out)
    if not found:
        sys.exit(f"serve: wrk printed no result:\n{out}")
    after = metric(url, "compress_tokens_total")
    tokens = (after - before) / took if before is not None else None
    return [float(value) for value in found.groups()] + [tokens]


class Engine:
    """What computes texts without a server."""

    def __init__(self, library, folder):
        sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples"))
        from embed import Model, Text
        self.model, self.text, self.results = Model(library, folder), Text, ctypes.c_void_p()

    def call_of(self, texts):
        encoded = [text.encode() for text in texts]
        return (self.text * len(texts))(*(self.text(text, len(text), None, 0) for text in encoded))

    def run(self, call):
        """Seconds."""
        begin = time.perf_counter()
        self.model.check(self.model.library.compress_run(self.model.model, call, len(call), ctypes.byref(self.results)))
        took = time.perf_counter() - begin
        self.model.library.compress_free_results(self.results)
        return took


def alone(engine, texts, at_once, seconds):
    """texts/s, p50 and p99 of a call in ms, of the engine without a server."""
    calls = [engine.call_of(texts[first:first + at_once]) for first in range(0, len(texts) // at_once * at_once, at_once)]
    took = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        took.append(engine.run(calls[len(took) % len(calls)]))
    took.sort()
    return [at_once * len(took) / sum(took), took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3]


def ask(connection, request):
    """Seconds until the answer is there."""
    begin = time.perf_counter()
    connection.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1 << 16)
    head, body = data.split(b"\r\n\r\n", 1)
    left = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(body)
    while left > 0:
        left -= len(connection.recv(1 << 16))
    took = time.perf_counter() - begin
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        sys.exit(f"serve: found {head.decode()}, expected 200")
    return took


def one_client(url, route, texts, engine, rounds=6):
    """Medians over the texts, in ms: by a client of the server, by the engine, and the difference."""
    requests = []
    for text in texts:
        body = json.dumps(body_of(text, route)).encode()
        head = f"POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        requests.append(head.encode() + body)
    calls = [engine.call_of([text]) for text in texts]
    host, port = url.rsplit("/", 1)[1].split(":")
    served, computed = [[] for _ in texts], [[] for _ in texts]
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(rounds):
            for own, request in zip(served, requests):
                own.append(ask(connection, request))
            for own, call in zip(computed, calls):
                own.append(engine.run(call))
    served, computed = ([statistics.median(own) * 1e3 for own in all_own] for all_own in (served, computed))
    return [statistics.median(values) for values in (served, computed, [a - b for a, b in zip(served, computed)])]


def pids_at(port):
    out = subprocess.run(["ss", "-ltnpH", f"sport = :{port}"], check=False, capture_output=True, text=True).stdout
    return [int(pid) for pid in re.findall(r"pid=(\d+)", out)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="compress or compress-serve")
    parser.add_argument("model", help="folder")
    parser.add_argument("--peer", action="append", default=[], help="NAME,PORT,ROUTE of a server that runs already")
    parser.add_argument("--texts", nargs="+", required=True, help="JSON lines with a field \"text\"")
    parser.add_argument("--route", default="/embed", help="/predict for a classifier")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--count", type=int, default=400, help="different requests")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--options", default="", help="more of the program's, as one argument")
    arguments = parser.parse_args()

    serve = [] if os.path.basename(arguments.program) == "compress-serve" else ["serve"]
    command = [arguments.program, *serve, arguments.model, "--port", "0", "--json", "--access-log", "off", *arguments.options.split()]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    if not line:
        sys.exit("serve: the server did not start")
    servers = [("compress", json.loads(line)["url"], arguments.route, [server.pid])]
    for peer in arguments.peer:
        name, port, route = peer.split(",")
        servers.append((name, f"http://127.0.0.1:{port}", route, pids_at(port)))
    texts = joined_texts(arguments.texts, arguments.count, arguments.seed)
    library = re.search(r"libcompress_runtime\S* => (\S+)", subprocess.run(["ldd", arguments.program], check=True, capture_output=True, text=True).stdout)[1]
    engine = Engine(library, arguments.model)
    try:
        with tempfile.TemporaryDirectory() as folder:
            scripts = []
            for name, url, route, _ in servers:
                scripts.append(os.path.join(folder, name + ".lua"))
                bodies = [json.dumps(body_of(text, route)) for text in texts]
                with open(scripts[-1], "w", encoding="utf-8") as script:
                    script.write(SCRIPT % (",\n".join(json.dumps(body) for body in bodies), route))
                measure(url, scripts[-1], 8, 2)  # warm
            print("| server | clients | requests/s | tokens/s | p50 ms | p99 ms | errors | MB before | MB after | peak MB |\n|---" + "|---:" * 9 + "|")
            for clients in arguments.clients:
                tokens_each = None
                for (name, url, _, pids), script in zip(servers, scripts):
                    before = megabytes(pids, "VmRSS")
                    rate, middle, late, errors, _, tokens = measure(url, script, clients, arguments.seconds)
                    tokens_each = tokens / rate if tokens else tokens_each
                    memory = f"{before:.1f} | {megabytes(pids, 'VmRSS'):.1f} | {megabytes(pids, 'VmHWM'):.1f}"
                    print(f"| {name} | {clients} | {rate:.1f} | {tokens_each * rate:.0f} | {middle:.2f} | {late:.2f} | {errors:.0f} | {memory} |", flush=True)
                rate, middle, late = alone(engine, texts, clients, arguments.seconds)
                print(f"| no server, {clients} a call | | {rate:.1f} | {tokens_each * rate:.0f} | {middle:.2f} | {late:.2f} | | | | |", flush=True)
        served, computed, more = one_client(servers[0][1], arguments.route, texts, engine)
        print(f"\nOne client that waits for each answer: {served:.2f} ms, the engine {computed:.2f}; of a text {more:.2f} ms more (medians)")
    finally:
        server.terminate()
        server.wait()


main()
