"""Times two builds of the program on the same work, in turns, and prints a table of medians.

    python bench/before_after.py BEFORE AFTER --run MODEL=1x16,1x128 ... --train MODEL,DATA,PRECISION,LENGTH ... [--rounds 3]

BEFORE and AFTER are folders with `compress` and `train_throughput` (build/release/bin). --run: milliseconds a call of
`compress bench`, by shape. --train: tokens a second of 30 steps of 32 texts. Whatever drifts on the machine meets both: the
one that begins changes from round to round.
"""
import argparse
import json
import statistics
import subprocess


def out_of(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1])


def run_times(folder, model, shapes):
    text = subprocess.run([f"{folder}/compress", "bench", "--json", model, "--shapes", shapes, "--seconds", "1.5"],
                          check=True, capture_output=True, text=True).stdout
    return {f"{model} {r['batch']}x{r['length']}": r["median_ms"] for r in json.loads(text)["results"]}


def train_speed(folder, model, data, precision, length):
    result = out_of([f"{folder}/train_throughput", "--model", model, "--data", data, "--max-length", length, "--batch-size", "32",
                     "--max-steps", "30", "--no-accuracy", "--precision", precision])
    return {f"train {data} {precision}": result["tokens_per_second"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--run", nargs="*", default=[])
    parser.add_argument("--train", nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    times = {}
    for number in range(arguments.rounds):
        for which in ("before", "after") if number % 2 == 0 else ("after", "before"):
            folder = getattr(arguments, which)
            for job in arguments.run:
                for key, value in run_times(folder, *job.split("=")).items():
                    times.setdefault(key, {}).setdefault(which, []).append(value)
            for job in arguments.train:
                for key, value in train_speed(folder, *job.split(",")).items():
                    times.setdefault(key, {}).setdefault(which, []).append(value)
    print("| work | before | after | after / before | of the best |\n|---|---|---|---|---|")
    for key, sides in times.items():
        before, after = (statistics.median(sides[which]) for which in ("before", "after"))
        best = max if key.startswith("train") else min  # what the machine did beside it makes a round worse, never better
        print(f"| {key} | {before:.4g} | {after:.4g} | {after / before:.3f} | {best(sides['after']) / best(sides['before']):.3f} |")


if __name__ == "__main__":
    main()
