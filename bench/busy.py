"""Times training and the fused runtime on a quiet machine and beside other work, for several ways to wait.

    python3 bench/busy.py build/release/bin/compress build/release/bin/train_throughput --model DIR --data DIR
        [--spins 300000,30000,10000,5000,2000,1000] [--precision auto] [--max-length 64] [--steps 30] [--skip 5]
        [--shapes 1x16,1x128,32x128] [--seconds 2] [--threads N] [--load N] [--rounds 3] [--json FILE]

Needs nothing but Python. DIR of --data holds train.jsonl, validation.jsonl and test.jsonl with fields text and label. The
machine has to be quiet when it starts: the load of the busy half are --load processes (as many as threads if absent) that
count without end, which the script starts and stops itself.

libgomp's threads spin GOMP_SPINCOUNT times before they sleep; `shipped` sets nothing, so that it is what the programs do by
themselves, `passive` is OMP_WAIT_POLICY=passive. 300000 is libgomp's own. Every measurement is a process of its own; all of
them are taken by turns, round by round, and medians are printed: training in tokens/s in one arithmetic (what `auto` says
on the quiet machine), calls of an int8 model in milliseconds. `cost` is what a row loses on the quiet machine against the
best of its column, `share` what the busy machine leaves of the quiet one's speed: with as many processes beside it as it
has threads, half is its share.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def environment(waiting):
    kept = {key: value for key, value in os.environ.items() if key not in WAITING}
    if waiting == "shipped":
        return kept
    return kept | ({"OMP_WAIT_POLICY": "passive"} if waiting == "passive" else {"GOMP_SPINCOUNT": waiting})


def output(command, waiting):
    result = subprocess.run(command, env=environment(waiting), stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(f"{command[0]} ended with {result.returncode}")
    return json.loads(result.stdout)


class Load:
    """Processes that are always at work."""

    def __init__(self, count):
        self.count, self.processes = count, []

    def __enter__(self):
        self.processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(self.count)]

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


class Bench:
    def __init__(self, options, work):
        self.options, self.work = options, work
        first = self.train("shipped", ["--save", f"{work}/model"])
        self.precision = first["precision"]
        self.machine = first["machine"]
        self.export()

    def train(self, waiting, more=()):
        o = self.options
        precision = getattr(self, "precision", o.precision)
        return output([o.train_throughput, "--model", o.model, "--data", o.data, "--max-length", str(o.max_length), "--threads", str(o.threads),
                       "--precision", precision, "--max-steps", str(o.steps), "--skip", str(o.skip), "--no-accuracy", *more], waiting)

    def export(self):
        o = self.options
        lines = {}
        for split in ("train", "validation"):
            with open(f"{o.data}/{split}.jsonl", encoding="utf-8") as file:
                lines[split] = file.readlines()
        for split, rows in lines.items():  # all labels, and few texts to check the export on
            seen, few = set(), []
            for row in rows:
                label = json.loads(row)["label"]
                if split == "validation" and len(few) >= 16:
                    break
                if split == "validation" or label not in seen:
                    few.append(row)
                seen.add(label)
            with open(f"{self.work}/{split}.jsonl", "w", encoding="utf-8") as file:
                file.writelines(few)
        with open(f"{self.work}/export.yaml", "w", encoding="utf-8") as file:
            file.write(f"""version: 1
name: busy
output: {self.work}/out
model: {{path: {self.work}/model}}
data:
  max_length: {o.max_length}
  train: {{path: {self.work}/train.jsonl}}
  validation: {{path: {self.work}/validation.jsonl}}
stages:
  - id: int8
    quantize: {{of: {self.work}/model}}
  - id: shipped
    export: {{of: int8, runtime: fused, tolerance: 10}}
""")
        subprocess.run([o.compress, "run", f"{self.work}/export.yaml", "--log-level", "off"], check=True, stdout=subprocess.DEVNULL)

    def measure(self, waiting):
        """Tokens a second of training, and milliseconds of each shape."""
        o = self.options
        trained = self.train(waiting)["tokens_per_second"]
        calls = output([o.compress, "bench", f"{self.work}/out/shipped", "--shapes", o.shapes, "--seconds", str(o.seconds), "--threads", str(o.threads),
                        "--json"], waiting)["results"]
        return [trained] + [call["median_ms"] for call in calls]


def main():
    parser = argparse.ArgumentParser(description="training and the fused runtime, quiet and busy")
    parser.add_argument("compress")
    parser.add_argument("train_throughput")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--spins", default="300000,30000,10000,5000,2000,1000")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--skip", type=int, default=5)
    parser.add_argument("--shapes", default="1x16,1x128,32x128")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--load", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    options.compress, options.train_throughput = os.path.abspath(options.compress), os.path.abspath(options.train_throughput)
    waitings = ["shipped", *options.spins.split(","), "passive"]
    columns = ["training"] + options.shapes.split(",")
    taken = {(waiting, state): [] for waiting in waitings for state in ("quiet", "busy")}
    with tempfile.TemporaryDirectory(prefix="compress-busy-") as work:
        bench = Bench(options, work)
        for number in range(options.rounds):
            for waiting in waitings:
                taken[waiting, "quiet"].append(bench.measure(waiting))
            with Load(options.load or options.threads):
                for waiting in waitings:
                    taken[waiting, "busy"].append(bench.measure(waiting))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    middle = {key: [statistics.median(values) for values in zip(*rows)] for key, rows in taken.items()}
    speed = lambda waiting, state, i: middle[waiting, state][i] if i == 0 else 1000 / middle[waiting, state][i]
    best = [max(speed(waiting, "quiet", i) for waiting in waitings) for i in range(len(columns))]
    print(f"{bench.machine['processor']}, {options.threads} threads, {bench.precision}; training in tokens/s, calls in ms\n")
    print("| waiting | " + " | ".join(f"{name}, quiet | cost | busy | share" for name in columns) + " |")
    print("|---|" + "---:|" * (4 * len(columns)))
    for waiting in waitings:
        cells = []
        for i in range(len(columns)):
            quiet, busy = speed(waiting, "quiet", i), speed(waiting, "busy", i)
            show = lambda state: f"{middle[waiting, state][i]:,.0f}" if i == 0 else f"{middle[waiting, state][i]:.2f}"
            cells.append(f"{show('quiet')} | {100 * (1 - quiet / best[i]):.1f} % | {show('busy')} | {busy / best[i]:.2f}")
        print(f"| {waiting} | " + " | ".join(cells) + " |")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": bench.machine, "precision": bench.precision, "columns": columns,
                       "taken": [{"waiting": waiting, "state": state, "rounds": rows} for (waiting, state), rows in taken.items()]}, file, indent=1)


if __name__ == "__main__":
    main()
