"""Times a checkpoint in int8, dense and with more and more zeros, side by side: what the zeros bring on this machine.

    python3 bench/sparse.py build/release/bin/compress --model DIR [--pattern 1x4] [--densities 0.25,0.1]
        [--shapes 1x16,1x128,32x128] [--threads N] [--rounds 5] [--seconds 1]

Weights go by magnitude, without training: for timing only. Each file is timed in turns with the others, a process at a
time, so that a drift of the machine meets them all; what is printed is the median of the rounds in milliseconds a call,
and how many times faster than the dense one.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile

RECIPE = """version: 1
name: sparse
output: {work}/runs
model: {{path: {model}}}
task: {{type: classification, metric: accuracy}}
data:
  max_length: 64
  train: {{path: {work}/texts.jsonl, text: text, label: label}}
  validation: {{path: {work}/texts.jsonl, text: text, label: label}}
stages:
  - id: whole
    finetune: {{epochs: 1, learning_rate: 1.0e-9, batch_size: 4, precision: fp32}}
  - id: dense
    quantize: {{of: whole, scheme: int8_dynamic}}
"""
STAGES = """  - id: zeros{i}
    prune: {{of: whole, importance: magnitude, pattern: {pattern}, density: {density}, score_examples: 4}}
  - id: sparse{i}
    quantize: {{of: zeros{i}, scheme: int8_dynamic}}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("compress")
    parser.add_argument("--model", required=True)
    parser.add_argument("--pattern", default="1x4")
    parser.add_argument("--densities", default="0.25,0.1")
    parser.add_argument("--shapes", default="1x16,1x128,32x128")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    densities = arguments.densities.split(",")
    with tempfile.TemporaryDirectory() as work:
        with open(f"{work}/texts.jsonl", "w", encoding="utf-8") as file:
            for i in range(8):
                file.write(json.dumps({"text": "a text of some words", "label": f"class{i % 4}"}) + "\n")
        recipe = RECIPE.format(work=work, model=os.path.abspath(arguments.model))
        for i, density in enumerate(densities):
            recipe += STAGES.format(i=i, pattern=arguments.pattern, density=density)
        with open(f"{work}/sparse.yaml", "w", encoding="utf-8") as file:
            file.write(recipe)
        subprocess.run([arguments.compress, "run", f"{work}/sparse.yaml", "--log-level", "warning"], check=True,
                       stdout=subprocess.DEVNULL)
        names = ["dense"] + [f"sparse{i}" for i in range(len(densities))]
        times = {}
        for _ in range(arguments.rounds):
            for name in names:
                command = [arguments.compress, "bench", f"{work}/runs/{name}", "--json", "--shapes", arguments.shapes,
                           "--seconds", str(arguments.seconds)]
                if arguments.threads:
                    command += ["--threads", str(arguments.threads)]
                result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                for each in result["results"]:
                    key = (name, f"{each['batch']}x{each['length']}")
                    times.setdefault(key, []).append(each["median_ms"])
        machine = result["machine"]
    print(f"{machine['processor']}, {machine['instruction_set']}, pattern {arguments.pattern}; ms a call (times faster)")
    shapes = arguments.shapes.split(",")
    print("| int8 | " + " | ".join(shapes) + " |\n|---|" + "---|" * len(shapes))
    for name, title in zip(names, ["dense"] + [f"density {density}" for density in densities]):
        cells = []
        for shape in shapes:
            own, dense = statistics.median(times[name, shape]), statistics.median(times["dense", shape])
            cells.append(f"{own:.2f}" if name == "dense" else f"{own:.2f} ({dense / own:.2f}x)")
        print(f"| {title} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
