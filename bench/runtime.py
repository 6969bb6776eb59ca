"""Times a checkpoint's fused exports and the programs that a user would otherwise run it with, side by side.

    python bench/runtime.py build/release/bin/compress --model DIR [--data test.jsonl] [--exports int8,bf16,portable]
        [--peers ort-int8,openvino-int8,...] [--shapes 1x16,1x128,32x128] [--threads N] [--rounds 5] [--json FILE]

Needs bench/requirements.txt and bench/runtime_requirements.txt. DIR is a BERT checkpoint in Hugging Face form with float
weights, or what `compress` has pruned of one; without a classification head it gets a random one of four classes. `compress` quantizes and exports it with a
recipe that this script writes; peers quantize it themselves: ONNX Runtime dynamically (after its transformer
optimizations), OpenVINO with NNCF.

Every contender is a process of its own with --threads threads. They are timed in turns, round by round, so that a drift
of the machine meets them all; what is printed is the median in milliseconds a call. Shapes are random tokens without
padding. With --data (fields text and label, label one of the model's), `texts` is 32 texts a call in the file's order,
padded to the longest of the call, in milliseconds a text, with the accuracy on it; `memory` is a process's peak in MB.
"""
import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

PEERS = ("torch-fp32", "ort-fp32", "ort-int8", "openvino-fp32", "openvino-bf16", "openvino-int8", "openvino-int8-bf16")
EXPORTS = {  # what quantizes, and the runtime
    "int8": ("scheme: int8_dynamic", "fused"),
    "bf16": ("scheme: bf16", "fused"),
    "portable": ("scheme: int8_dynamic", "portable"),
}


def checkpoint(source, work):
    """A folder with a head."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
    import torch
    architectures = AutoConfig.from_pretrained(source).architectures or []
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return os.path.abspath(source)
    torch.manual_seed(0)
    out = os.path.join(work, "checkpoint")
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=4, dtype=torch.float32)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source).save_pretrained(out)
    return out


def open_float(model):
    """A transformers model; layers that were pruned get the sizes that config.json has for them under "compress"."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForSequenceClassification
    config = json.load(open(os.path.join(model, "config.json"), encoding="utf-8"))
    own = config.get("compress", {})
    if "layers" not in own:
        return AutoModelForSequenceClassification.from_pretrained(model, attn_implementation="eager", dtype=torch.float32)
    network = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(model), attn_implementation="eager")
    hidden, size = config["hidden_size"], own.get("attention_head_size", config["hidden_size"] // config["num_attention_heads"])
    for layer, shape in zip(network.bert.encoder.layer, own["layers"]):
        attention, width = layer.attention.self, shape["num_attention_heads"] * size
        attention.num_attention_heads, attention.attention_head_size = shape["num_attention_heads"], size
        attention.all_head_size, attention.scaling = width, size ** -0.5
        for name in ("query", "key", "value"):
            setattr(attention, name, torch.nn.Linear(hidden, width))
        layer.attention.output.dense = torch.nn.Linear(width, hidden)
        layer.intermediate.dense = torch.nn.Linear(hidden, shape["intermediate_size"])
        layer.output.dense = torch.nn.Linear(shape["intermediate_size"], hidden)
    network.load_state_dict(load_file(os.path.join(model, "model.safetensors")))
    return network


def export(compress, model, name, work):
    """-> model.pt of a recipe that quantizes and exports."""
    quantize, runtime = EXPORTS[name]
    labels = list(json.load(open(os.path.join(model, "config.json"), encoding="utf-8"))["id2label"].values())
    words = "the good bad news sport money house runs fast slow green water time year people work day".split()
    draw = random.Random(0)
    data = os.path.join(work, "texts.jsonl")
    with open(data, "w", encoding="utf-8") as file:
        for i in range(max(64, len(labels))):
            text = " ".join(draw.choices(words, k=draw.randint(3, 60)))
            file.write(json.dumps({"text": text, "label": labels[i % len(labels)]}) + "\n")
    recipe = os.path.join(work, f"{name}.yaml")
    with open(recipe, "w", encoding="utf-8") as file:
        file.write(f"""version: 1
name: {name}
output: {work}/{name}
model: {{path: {model}}}
task: {{type: classification, metric: accuracy}}
data:
  max_length: 64
  train: {{path: {data}, text: text, label: label}}
  validation: {{path: {data}, text: text, label: label}}
stages:
  - id: small
    quantize: {{of: {model}, {quantize}}}
  - id: shipped
    export: {{of: small, format: torchscript, runtime: {runtime}, tolerance: 10}}
""")
    subprocess.run([compress, "run", recipe, "--log-level", "off"], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(work, name, "shipped", "model.pt")


def library_of(compress):
    """libcompress_ops.so of a build tree or of an installation."""
    folder = os.path.dirname(os.path.abspath(compress))
    for place in ("../compress/ops", "../lib", "../lib64", "../lib/x86_64-linux-gnu"):
        file = os.path.normpath(os.path.join(folder, place, "libcompress_ops.so"))
        if os.path.exists(file):
            return file
    sys.exit(f"libcompress_ops.so: not found beside {compress}")


def onnx_file(model, work):
    """The ONNX export, once for all peers."""
    out = os.path.join(work, "model.onnx")
    if os.path.exists(out):
        return out
    import torch
    network = open_float(model)

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network.eval()

        def forward(self, ids, mask, types):
            return self.network(input_ids=ids, attention_mask=mask, token_type_ids=types).logits

    ids = torch.ones(2, 16, dtype=torch.long)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    torch.onnx.export(Logits(), (ids, ids, ids * 0), out, input_names=names, output_names=["logits"], dynamo=False,
                      dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names}, opset_version=17)
    return out


def open_contender(name, job, calibration):
    """-> logits(ids, mask, types) of int64 arrays [batch, sequence]."""
    import numpy as np
    threads = job["threads"]
    feed = lambda ids, mask, types: {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    if name in job["files"] or name == "torch-fp32":
        import torch
        torch.set_num_threads(threads)
        if name == "torch-fp32":
            network = open_float(job["model"]).eval()
            call = lambda ids, mask, types: network(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
        else:
            torch.ops.load_library(job["library"])
            call = torch.jit.load(job["files"][name]).eval()

        def run(*arrays):
            with torch.inference_mode():
                return call(*(torch.from_numpy(a) for a in arrays)).numpy()
        return run
    file = os.path.join(job["work"], "model.onnx")
    if name.startswith("ort"):
        import onnxruntime
        from onnxruntime.transformers import optimizer
        config = json.load(open(os.path.join(job["model"], "config.json"), encoding="utf-8"))
        out = os.path.join(job["work"], f"{name}.onnx")
        even = "layers" not in config.get("compress", {})  # else it finds the sizes itself
        optimizer.optimize_model(file, model_type="bert", num_heads=config["num_attention_heads"] if even else 0,
                                 hidden_size=config["hidden_size"] if even else 0).save_model_to_file(out)
        if name == "ort-int8":
            from onnxruntime.quantization import QuantType, quantize_dynamic
            quantize_dynamic(out, out + ".int8", weight_type=QuantType.QInt8, per_channel=True,
                             op_types_to_quantize=["MatMul", "Attention"],
                             extra_options={"MatMulConstBOnly": True, "DefaultTensorType": 1})
            out += ".int8"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(out, options, providers=["CPUExecutionProvider"])
        return lambda *arrays: session.run(None, feed(*arrays))[0]
    import openvino
    core = openvino.Core()
    network = core.read_model(file)
    if "int8" in name:
        import nncf
        network = nncf.quantize(network, nncf.Dataset([feed(*one) for one in calibration]), subset_size=len(calibration),
                                model_type=nncf.ModelType.TRANSFORMER)
    compiled = core.compile_model(network, "CPU", {
        "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if "bf16" in name else "f32"})
    request, logits = compiled.create_infer_request(), compiled.output(0)
    return lambda *arrays: np.array(request.infer(feed(*arrays))[logits])


def padded(rows):
    import numpy as np
    ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    mask = ids.copy()
    for r, row in enumerate(rows):
        ids[r, : len(row)], mask[r, : len(row)] = row, 1
    return ids, mask, np.zeros_like(ids)


def worker(name, job):
    """Answers lines [case, seconds] with times in milliseconds."""
    import numpy as np
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    say = lambda what: print(json.dumps(what), file=answers, flush=True)
    draw = np.random.default_rng(1)
    tokens = lambda batch, length: draw.integers(1000, 20000, (batch, length)).tolist()
    rows = job["rows"]
    cases = {shape: [padded(tokens(*map(int, shape.split("x"))))] for shape in job["shapes"]}
    if rows:
        cases["texts"] = [padded(rows[k: k + 32]) for k in range(0, len(rows), 32)]
    calibration = [padded([row]) for row in rows[:64]] or [padded(tokens(1, 64)) for _ in range(32)]
    try:
        run = open_contender(name, job, calibration)
        run(*padded(tokens(2, 12)))
    except Exception as error:  # reported, not hidden
        return say({"error": repr(error)[:300]})
    say({"ready": True})
    warm = set()
    for line in sys.stdin:
        case, seconds = json.loads(line)
        if case == "memory":
            say(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            continue
        if case == "accuracy":
            guesses = np.concatenate([run(*one) for one in cases["texts"]]).argmax(-1)
            say(float((guesses == np.array(job["labels"])).mean()))
            continue
        if case not in warm:
            for _ in range(5):
                run(*cases[case][0])
            warm.add(case)
        times, end = [], time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            for one in cases[case]:
                run(*one)
            times.append(1e3 * (time.perf_counter() - start) / (len(rows) if case == "texts" else 1))
        say(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("compress")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data")
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--exports", default="int8")
    parser.add_argument("--peers", default="ort-int8,openvino-int8,openvino-int8-bf16,openvino-bf16")
    parser.add_argument("--shapes", default="1x16,1x128,32x128")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="a turn of a contender")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    names = lambda text: [name for name in text.split(",") if name]
    with tempfile.TemporaryDirectory() as work:
        model = checkpoint(arguments.model, work)
        job = {"model": model, "work": work, "threads": arguments.threads, "shapes": names(arguments.shapes),
               "library": library_of(arguments.compress), "rows": [], "labels": []}
        job["files"] = {f"compress-{name}": export(arguments.compress, model, name, work)
                        for name in names(arguments.exports)}
        if arguments.data:
            from transformers import AutoTokenizer
            texts = [json.loads(line) for line in open(arguments.data, encoding="utf-8")][: arguments.texts]
            ids = json.load(open(os.path.join(model, "config.json"), encoding="utf-8"))["label2id"]
            job["rows"] = AutoTokenizer.from_pretrained(model)(
                [one["text"] for one in texts], truncation=True, max_length=arguments.max_length)["input_ids"]
            job["labels"] = [ids[str(one["label"])] for one in texts]
        peers = names(arguments.peers)
        if any(name != "torch-fp32" for name in peers):
            onnx_file(model, work)
        described = os.path.join(work, "job.json")
        with open(described, "w", encoding="utf-8") as file:
            json.dump(job, file)
        children = {}
        for name in [*job["files"], *peers]:
            child = subprocess.Popen([sys.executable, __file__, "--worker", name, described], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                     env={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)})
            answer = json.loads(child.stdout.readline() or '{"error": "died"}')
            if "error" in answer:
                print(f"{name} could not run: {answer['error']}")
            else:
                children[name] = child

        def ask(name, case, seconds=0.0):
            print(json.dumps([case, seconds]), file=children[name].stdin, flush=True)
            return json.loads(children[name].stdout.readline())

        cases = job["shapes"] + (["texts"] if job["rows"] else [])
        result = {name: {} for name in children}
        for case in cases:
            samples = {name: [] for name in children}
            for _ in range(arguments.rounds):
                for name in children:
                    samples[name] += ask(name, case, arguments.seconds)
            for name in children:
                result[name][case] = statistics.median(samples[name])
        for name in children:
            if job["rows"]:
                result[name]["accuracy"] = ask(name, "accuracy")
            result[name]["memory"] = ask(name, "memory")
            children[name].stdin.close()
            children[name].wait()
    columns = cases + (["accuracy"] if job["rows"] else []) + ["memory"]
    print(f"{'median ms':22}" + "".join(f"{column:>11}" for column in columns))
    for name, row in result.items():
        print(f"{name:22}" + "".join(f"{row[c]:11.{0 if c == 'memory' else 4 if c == 'accuracy' else 3}f}" for c in columns))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"threads": arguments.threads, "result": result}, file, indent=1)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--worker":
        with open(sys.argv[3], encoding="utf-8") as description:
            job = json.load(description)
        worker(sys.argv[2], job)
    else:
        main()
