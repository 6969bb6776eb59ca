"""Times tokenizer_bench and Hugging Face's tokenizers in turns on the same texts, and prints the ratio.

    python bench/tokenizer.py build/release/bin/tokenizer_bench MODEL FILE.jsonl FIELD [--threads N] [--max-length N]

Needs the Python package tokenizers. The best of its two entry points counts (encode_batch, encode_batch_fast).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def theirs(arguments):
    """In a process of its own, as the number of threads is fixed at the first call."""
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(arguments.model, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if arguments.max_length:
        tokenizer.enable_truncation(arguments.max_length)
    with open(arguments.file, encoding="utf-8") as file:
        texts = [json.loads(line)[arguments.field] for line in file]
    best = None
    for encode in (tokenizer.encode_batch, tokenizer.encode_batch_fast):
        seconds = []
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            encodings = encode(texts)
            seconds.append(time.perf_counter() - start)
        tokens = sum(len(e.ids) for e in encodings)
        typical = statistics.median(seconds)
        if best is None or typical < best["seconds"]:
            best = {"lines": len(texts), "tokens": tokens, "seconds": typical, "lines_per_second": len(texts) / typical,
                    "tokens_per_second": tokens / typical}
    print(json.dumps(best))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("file")
    parser.add_argument("field")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-length", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--theirs", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.theirs:
        return theirs(arguments)

    environment = dict(os.environ, RAYON_NUM_THREADS=str(arguments.threads), OMP_NUM_THREADS=str(arguments.threads),
                       TOKENIZERS_PARALLELISM="false" if arguments.threads == 1 else "true")
    ours_command = [arguments.program, arguments.model, arguments.file, arguments.field,
                    "--threads", str(arguments.threads), "--max-length", str(arguments.max_length)]
    results = {"compress": [], "tokenizers": []}
    for _ in range(arguments.turns):
        for name, command in (("compress", ours_command), ("tokenizers", [sys.executable, *sys.argv, "--theirs"])):
            run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
            results[name].append(json.loads(run.stdout))
    if results["compress"][0]["tokens"] != results["tokenizers"][0]["tokens"]:
        sys.exit(f"not the same tokens: {results['compress'][0]['tokens']} and {results['tokenizers'][0]['tokens']}")
    typical = {name: statistics.median(r["lines_per_second"] for r in runs) for name, runs in results.items()}
    for name, runs in results.items():
        tokens = statistics.median(r["tokens_per_second"] for r in runs)
        print(f"{name:11} {typical[name]:12,.0f} lines/s {tokens:14,.0f} tokens/s")
    print(f"ratio       {typical['compress'] / typical['tokenizers']:.1f} on {arguments.threads} thread(s), "
          f"{results['compress'][0]['lines']} lines, {results['compress'][0]['tokens']} tokens")


if __name__ == "__main__":
    main()
