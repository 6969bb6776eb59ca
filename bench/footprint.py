"""What it takes to serve a model: bytes of the libraries, time from the start of a process to its first answer, and resident memory, of the
runtime without LibTorch, of LibTorch and of ONNX Runtime.

    python bench/footprint.py BUILD --model DIR [--peer-python python] [--runs 20] [--json FILE]

BUILD is a build tree (build/release); DIR a checkpoint of a model for embedding, in Hugging Face form with float weights (all-MiniLM-L6-v2).
`compress` quantizes it to int8 and exports it as a file for LibTorch by a recipe that this script writes; ONNX Runtime quantizes its own
(dynamically, as bench/runtime.py does). --peer-python has the packages of bench/runtime_requirements.txt and transformers; without them
the peers are left out. Each contender is a process that opens the model, embeds one text and ends; what is printed is the median of its wall
time over --runs starts, after one that is not counted, and the largest peak of resident memory (the kernel's ru_maxrss). Sizes are of
stripped copies. "aim" is what the runtime is held against: 8 MB stripped, 0.2 s, 1.2 times the weights and 60 MB; --check exits with 1
where one is missed.
"""
import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TEXT = "The quick brown fox jumps over the lazy dog."
RECIPE = """version: 1
name: footprint
output: {work}/run
model: {{path: {model}}}
task: {{type: embedding}}
data:
  max_length: 64
  train: {{path: {data}, text: text, text_pair: text_pair, label: label}}
  validation: {{path: {data}, text: text, text_pair: text_pair, label: label}}
stages:
  - id: int8
    quantize: {{of: {model}, scheme: int8_dynamic}}
  - id: shipped
    export: {{of: int8, format: torchscript, runtime: fused, tolerance: 10}}
"""
LIBTORCH = """
import sys
import torch
from tokenizers import Tokenizer
torch.ops.load_library(sys.argv[2])
ids = torch.tensor([Tokenizer.from_file(sys.argv[1] + "/tokenizer.json").encode(sys.argv[3]).ids])
with torch.inference_mode():
    print(torch.jit.load(sys.argv[1] + "/model.pt").eval()(ids, torch.ones_like(ids), torch.zeros_like(ids))[0, 0].item())
"""
ORT_MAKE = """
import sys
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from transformers import AutoModel
network = AutoModel.from_pretrained(sys.argv[1], attn_implementation="eager").eval()

class States(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network

    def forward(self, ids, mask, types):
        return self.network(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

ids = torch.ones(2, 16, dtype=torch.long)
names, out = ["input_ids", "attention_mask", "token_type_ids"], sys.argv[2]
torch.onnx.export(States(), (ids, ids, ids * 0), out, input_names=names, output_names=["states"], dynamo=False,
                  dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names}, opset_version=17)
config = network.config
optimizer.optimize_model(out, model_type="bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size).save_model_to_file(out + ".fused")
quantize_dynamic(out + ".fused", out, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul", "Attention", "Gather"],
                 extra_options={"MatMulConstBOnly": True, "DefaultTensorType": 1})
"""
ORT = """
import sys
import numpy
import onnxruntime
from tokenizers import Tokenizer
ids = numpy.array([Tokenizer.from_file(sys.argv[1] + "/tokenizer.json").encode(sys.argv[3]).ids])
session = onnxruntime.InferenceSession(sys.argv[2], providers=["CPUExecutionProvider"])
states = session.run(None, {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0})[0]
vector = states[0].mean(0)
print((vector / numpy.linalg.norm(vector))[0])
"""


def stripped(files, work):
    """MB of all together, without symbols."""
    total = 0
    for file in files:
        copy = os.path.join(work, "stripped")
        shutil.copyfile(os.path.realpath(file), copy)
        subprocess.run(["strip", copy], check=False, stderr=subprocess.DEVNULL)
        total += os.path.getsize(copy)
    return total / 1e6


def libraries(file, names):
    """Those of the names that a program or library is linked to."""
    lines = subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout.splitlines()
    found = {line.split()[0]: line.split()[2] for line in lines if "=>" in line and len(line.split()) > 2}
    return [path for name, path in found.items() if any(name.startswith(part) for part in names)]


def package(python, name):
    """Shared libraries of a Python package."""
    where = subprocess.run([python, "-c", f"import {name}, os; print(os.path.dirname({name}.__file__))"], capture_output=True, text=True).stdout.strip()
    if not where:
        return []
    files = [os.path.join(folder, file) for folder, _, names in os.walk(where) for file in names if ".so" in file]
    return [file for file in files if not os.path.islink(file)]


def started(command, runs):
    """-> (median seconds, peak MB, what it printed)"""
    times, peak, said = [], 0.0, ""
    for _ in range(runs + 1):
        with tempfile.TemporaryFile("w+") as out:
            begin = time.perf_counter()
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            times.append(time.perf_counter() - begin)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                return None
            out.seek(0)
            said = out.read().strip()
        peak = max(peak, usage.ru_maxrss / 1024)
    return statistics.median(times[1:]), peak, said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--model", required=True)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--json")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    build, model, python = (os.path.abspath(arguments.build), os.path.abspath(arguments.model), arguments.peer_python)
    program, runtime = (os.path.join(build, place) for place in ("bin/example_classify", "compress/libcompress_runtime.so"))
    operators = os.path.join(build, "compress/ops/libcompress_ops.so")
    rows = {}
    with tempfile.TemporaryDirectory() as work:
        data, recipe = os.path.join(work, "pairs.jsonl"), os.path.join(work, "recipe.yaml")
        words, draw = "the good bad news sport money house runs fast slow green water time year".split(), random.Random(0)
        with open(data, "w", encoding="utf-8") as file:
            for _ in range(64):
                file.write(json.dumps({"text": " ".join(draw.choices(words, k=9)), "text_pair": " ".join(draw.choices(words, k=9)),
                                       "label": draw.random()}) + "\n")
        with open(recipe, "w", encoding="utf-8") as file:
            file.write(RECIPE.format(work=work, model=model, data=data))
        subprocess.run([os.path.join(build, "bin/compress"), "run", recipe, "--log-level", "off"], check=True, stdout=subprocess.DEVNULL)
        folder, shipped = os.path.join(work, "run/int8"), os.path.join(work, "run/shipped")
        weights = os.path.getsize(os.path.join(folder, "model.safetensors")) / 1e6
        beside = libraries(runtime, ("libicu", "libhwy", "libfmt", "libxxhash", "libgomp"))
        size = stripped([runtime], work)
        rows["compress, a C program"] = (size, stripped(beside, work), started([program, folder, TEXT], arguments.runs))
        print(f"weights in int8: {weights:.1f} MB; the program itself: {stripped([program], work) * 1e3:.0f} kB stripped")
        torch = libraries(operators, ("libtorch", "libc10"))
        script = os.path.join(work, "libtorch.py")
        with open(script, "w", encoding="utf-8") as file:
            file.write(LIBTORCH)
        rows["LibTorch (Python), our fused file"] = (stripped(torch, work), stripped(libraries(operators, ("libgomp",)), work),
                                                     started([python, script, shipped, operators, TEXT], arguments.runs))
        onnx, script = os.path.join(work, "model.onnx"), os.path.join(work, "ort.py")
        made = subprocess.run([python, "-c", ORT_MAKE, model, onnx], capture_output=True, text=True)
        with open(script, "w", encoding="utf-8") as file:
            file.write(ORT)
        if made.returncode == 0:
            library = [file for file in package(python, "onnxruntime") if "libonnxruntime" in file]
            rows["ONNX Runtime (Python), int8"] = (stripped(library, work), 0.0,
                                                   started([python, script, model, onnx, TEXT], arguments.runs))
        else:
            print(f"ONNX Runtime is left out: {made.stderr.strip().splitlines()[-1:]}")
    print(f"{'':36}{'library MB':>12}{'others MB':>11}{'start s':>9}{'peak MB':>9}")
    for name, (library, others, run) in rows.items():
        print(f"{name:36}{library:12.1f}{others:11.1f}" + (f"{run[0]:9.3f}{run[1]:9.0f}" if run else "   could not run"))
    print(f"{'aim':36}{8.0:12.1f}{'':>11}{0.2:9.3f}{1.2 * weights + 60:9.0f}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"weights_mb": weights, "rows": rows}, file, indent=1)
    library, _, run = rows["compress, a C program"]
    if arguments.check and not (run and library < 8 and run[0] < 0.2 and run[1] < 1.2 * weights + 60):
        sys.exit("footprint: an aim is missed")


if __name__ == "__main__":
    main()
