"""Holds the tokenizer against Hugging Face's, line by line.

    python compare.py --model models/all-MiniLM-L6-v2 --command "build/release/bin/compress tokenize" \
        --jsonl train.jsonl:text --folder bbc/ --random 10000 --code-points

Runs COMMAND MODEL, feeds it the lines, and reads a line of ids for each. Needs the Python package tokenizers. Ends with
status 1 if a line differs.
"""
import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

import tokenizers

import texts


def load_reference(model):
    path = pathlib.Path(model) / "tokenizer.json"
    if path.exists():
        reference = tokenizers.Tokenizer.from_file(str(path))
    else:
        import transformers
        reference = transformers.AutoTokenizer.from_pretrained(model).backend_tokenizer
    reference.no_truncation()
    reference.no_padding()
    return reference


def tokenize(command, model, lines):
    with tempfile.TemporaryFile() as source:
        source.write("".join(line + "\n" for line in lines).encode())
        source.seek(0)
        run = subprocess.run(shlex.split(command) + [model], stdin=source, stdout=subprocess.PIPE, check=True)
    return [[int(i) for i in line.split()] for line in run.stdout.decode().split("\n")[:-1]]


def compare(name, lines, command, model, reference):
    ours = tokenize(command, model, lines)
    if len(ours) != len(lines):
        sys.exit(f"{name}: {len(lines)} lines went in, {len(ours)} came out")
    differing = tokens = 0
    step = 20000
    for start in range(0, len(lines), step):
        for i, encoding in enumerate(reference.encode_batch(lines[start:start + step]), start):
            tokens += len(encoding.ids)
            if encoding.ids != ours[i]:
                differing += 1
                if differing <= 10:
                    print(f"  {lines[i]!a}: ours {ours[i][:40]}, theirs {encoding.ids[:40]} {encoding.tokens[:40]}")
    print(f"{name}: {len(lines)} lines, {tokens} tokens, {differing} lines differ")
    return differing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--command", required=True)
    parser.add_argument("--jsonl", action="append", default=[], metavar="FILE:FIELD")
    parser.add_argument("--folder", action="append", default=[], help="every .txt below it: as a whole and by line")
    parser.add_argument("--random", type=int, default=0, metavar="LINES")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--code-points", action="store_true", help="every code point, alone and between letters")
    arguments = parser.parse_args()

    sources = []
    for entry in arguments.jsonl:
        path, field = entry.rsplit(":", 1)
        with open(path, encoding="utf-8") as file:
            sources.append((path, [json.loads(line)[field].replace("\n", " ") for line in file if line.strip()]))
    for folder in arguments.folder:
        documents = [p.read_bytes().decode(errors="replace") for p in sorted(pathlib.Path(folder).rglob("*.txt"))]
        sources.append((f"{folder}, whole", [d.replace("\n", " ") for d in documents]))
        sources.append((f"{folder}, lines", [line for d in documents for line in d.split("\n")]))
    if arguments.random:
        sources.append((f"random, seed {arguments.seed}", texts.random_lines(arguments.random, arguments.seed)))
    if arguments.code_points:
        sources.append(("every code point", list(texts.every_code_point())))

    reference = load_reference(arguments.model)
    differing = [compare(name, lines, arguments.command, arguments.model, reference) for name, lines in sources]
    sys.exit(1 if any(differing) else 0)


if __name__ == "__main__":
    main()
