#!/usr/bin/env python3
"""Load on `compress serve`, or on another server: requests and tokens a second, latencies, peak memory, for several numbers of clients.

    python3 bench/serve.py build/release/bin/compress runs/.../int8 --texts data/dev.jsonl
    python3 bench/serve.py --url http://127.0.0.1:7998 --route /embed --texts data/dev.jsonl      # a server that runs already

Needs wrk (apt: wrk). Texts of the files ("text" of JSON lines) are shuffled and joined, 1 to 18 at a time, so that their lengths differ; each request
has one, and all clients send one after another. Prints a table in Markdown.
"""
import argparse
import json
import os
import random
import re
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
    return {"model": "m", "input": [text]} if "embeddings" in route else {"inputs": text, "truncate": True}


def metric(url, name):
    """The sum of a metric's samples; none where the server has no such metric."""
    try:
        with urllib.request.urlopen(url + "/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    found = [float(line.rsplit(" ", 1)[1]) for line in lines if re.match(name + r"[ {]", line)]
    return sum(found) if found else None


def peak_megabytes(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read())[1]) / 1024
    except OSError:
        return None


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


def shown(value, form):
    return form.format(value) if value is not None else "–"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", help="compress or compress-serve")
    parser.add_argument("model", nargs="?", help="folder")
    parser.add_argument("--url", help="of a server that runs already, in place of the program")
    parser.add_argument("--pid", type=int, help="of that server, for its memory")
    parser.add_argument("--texts", nargs="+", required=True, help="JSON lines with a field \"text\"")
    parser.add_argument("--route", default="/embed")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--count", type=int, default=400, help="different requests")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--options", default="", help="more of the program's, as one argument")
    arguments = parser.parse_args()
    if (arguments.url is None) == (arguments.model is None):
        parser.error("expected a program and a model, or --url")

    server = None
    if arguments.url is None:
        serve = [] if os.path.basename(arguments.program) == "compress-serve" else ["serve"]
        command = [arguments.program, *serve, arguments.model, "--port", "0", "--json", "--access-log", "off", *arguments.options.split()]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = server.stdout.readline()
        if not line:
            sys.exit("serve: the server did not start")
        url, pid = json.loads(line)["url"], server.pid
    else:
        url, pid = arguments.url.rstrip("/"), arguments.pid
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".lua", encoding="utf-8") as script:
            bodies = [json.dumps(body_of(text, arguments.route)) for text in joined_texts(arguments.texts, arguments.count, arguments.seed)]
            script.write(SCRIPT % (",\n".join(json.dumps(body) for body in bodies), arguments.route))
            script.flush()
            measure(url, script.name, 8, 2)  # warm
            print("| clients | requests/s | tokens/s | p50 ms | p99 ms | errors | peak MB |\n|---|---|---|---|---|---|---|")
            for clients in arguments.clients:
                rate, middle, late, errors, _, tokens = measure(url, script.name, clients, arguments.seconds)
                memory = peak_megabytes(pid) if pid else None
                print(f"| {clients} | {rate:.1f} | {shown(tokens, '{:.0f}')} | {middle:.2f} | {late:.2f} | {errors:.0f} | {shown(memory, '{:.0f}')} |",
                      flush=True)
    finally:
        if server:
            server.terminate()
            server.wait()


main()
