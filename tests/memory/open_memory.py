#!/usr/bin/env python3
"""Holds that opening a model takes its own size and one tensor: peaks of resident memory (VmHWM), less that of a tiny model.

usage: open_memory.py OPEN_MODEL OPEN_ENGINE TINY [--megabytes N] [--precision float32|float16|int8] [--compress COMMAND]

OPEN_MODEL, OPEN_ENGINE: the programs of open_model.cpp, which makes a module, and of open_engine.cpp, which packs the weights
for the machine. TINY: the folder of a tiny model, whose tokenizer the large one gets; it is a BERT of N megabytes (100) of
random numbers, in a temporary folder. Exits with 1 where one takes more. --compress: tells the peaks of that command's `inspect`
and `predict` too.
"""
import argparse
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

MB = 1e6
HIDDEN, UNITS, ROWS, POSITIONS = 512, 2048, 2048, 40
SLACK = 16 * MB  # what the allocator keeps, and the module's own bookkeeping
SIZES = {"F32": 4, "F16": 2, "I8": 1}


def tensors_of(layers, labels, precision):
    """Name, dtype and shape of each."""
    matrix = {"float32": "F32", "float16": "F16", "int8": "I8"}[precision]
    bert = "bert.embeddings."
    for name, rows in (("word", ROWS), ("position", POSITIONS), ("token_type", 2)):
        yield f"{bert}{name}_embeddings.weight", "F32", [rows, HIDDEN]

    def norm(name):
        yield f"{name}.LayerNorm.weight", "F32", [HIDDEN]
        yield f"{name}.LayerNorm.bias", "F32", [HIDDEN]

    def linear(name, out, width):
        yield f"{name}.weight", matrix, [out, width]
        yield f"{name}.bias", "F32", [out]
        if matrix == "I8":
            yield f"{name}.weight_scale", "F32", [out, 1]

    yield from norm("bert.embeddings")
    for i in range(layers):
        layer = f"bert.encoder.layer.{i}."
        for part in ("query", "key", "value"):
            yield from linear(f"{layer}attention.self.{part}", HIDDEN, HIDDEN)
        yield from linear(f"{layer}attention.output.dense", HIDDEN, HIDDEN)
        yield from norm(f"{layer}attention.output")
        yield from linear(f"{layer}intermediate.dense", UNITS, HIDDEN)
        yield from linear(f"{layer}output.dense", HIDDEN, UNITS)
        yield from norm(f"{layer}output")
    yield from linear("bert.pooler.dense", HIDDEN, HIDDEN)
    yield "classifier.weight", "F32", [labels, HIDDEN]
    yield "classifier.bias", "F32", [labels]


def size_of(tensor):
    _, dtype, shape = tensor
    size = SIZES[dtype]
    for extent in shape:
        size *= extent
    return size


def make_model(folder, tiny, size, precision):
    """The bytes of its weights and of the largest of them."""
    folder.mkdir()
    shutil.copy(tiny / "vocab.txt", folder)
    config = json.loads((tiny / "config.json").read_text())
    labels = len(config["id2label"])
    fixed, one = (sum(map(size_of, tensors_of(n, labels, precision))) for n in (0, 1))
    layers = max(1, round((size - fixed) / (one - fixed)))
    config |= {"hidden_size": HIDDEN, "num_attention_heads": 8, "intermediate_size": UNITS, "num_hidden_layers": layers,
               "vocab_size": ROWS, "max_position_embeddings": POSITIONS}
    if precision == "float16":
        config["compress"] = {"format": 1, "weight_format": "fp16"}
    if precision == "int8":
        config["quantization_config"] = {
            "quant_method": "compressed-tensors", "format": "int-quantized", "ignore": ["classifier"],
            "config_groups": {"group_0": {
                "targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"},
                "input_activations": {"num_bits": 8, "type": "int", "symmetric": True, "dynamic": True, "strategy": "token"}}}}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = list(tensors_of(layers, labels, precision))
    header, end = {}, 0
    for tensor in tensors:
        header[tensor[0]] = {"dtype": tensor[1], "shape": tensor[2], "data_offsets": [end, end + size_of(tensor)]}
        end += size_of(tensor)
    text = json.dumps(header).encode()
    random.seed(17)
    numbers = [random.gauss(0.0, 0.02) for _ in range(1 << 16)]
    bytes_of = {"F32": struct.pack(f"<{len(numbers)}f", *numbers), "F16": struct.pack(f"<{len(numbers)}e", *numbers),
                "I8": struct.pack(f"<{len(numbers)}b", *(random.randint(-127, 127) for _ in numbers))}
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            rest, content = size_of(tensor), bytes_of[tensor[1]]
            while rest > 0:
                rest -= file.write(content[:rest])
    return end, max(map(size_of, tensors))


def peak(command):
    """Of a process's resident memory, in bytes."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               env=os.environ | {"OMP_NUM_THREADS": "1"})
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"open_memory: {' '.join(map(str, command))}: {errors.decode().strip()}")
    return usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("open_model")
    parser.add_argument("open_engine")
    parser.add_argument("tiny", type=Path)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--precision", choices=["float32", "float16", "int8"], default="float32")
    parser.add_argument("--compress")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        model = Path(root, "model")
        size, largest = make_model(model, arguments.tiny, arguments.megabytes * MB, arguments.precision)
        print(f"a model of {size / MB:.0f} MB in {arguments.precision}, largest tensor {largest / MB:.1f} MB")

        def grown(what, command):
            tiny, large = (peak(command(folder)) for folder in (arguments.tiny, model))
            print(f"{what:8} {large / MB:7.0f} MB, {(large - tiny) / MB:7.0f} MB more than with a tiny model")
            return large - tiny

        opening = grown("module", lambda folder: [arguments.open_model, folder])
        engine = grown("engine", lambda folder: [arguments.open_engine, folder])
        if arguments.compress:
            grown("inspect", lambda folder: [arguments.compress, "inspect", folder])
            grown("predict", lambda folder: [arguments.compress, "predict", folder, "the quick brown fox"])
    for what, found, most in (("the module", opening, size + largest + SLACK), ("the engine", engine, size + largest)):
        if found > most:
            sys.exit(f"open_memory: {what} took {found / MB:.0f} MB, expected at most {most / MB:.0f}")


if __name__ == "__main__":
    main()
