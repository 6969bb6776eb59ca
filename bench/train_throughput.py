"""Times our training and the loops that people would write in Python on the same work, and prints a table.

    python bench/train_throughput.py build/release/bin/train_throughput --case clinc --model DIR --data DIR [--steps 60]
        [--accuracy] [--same-head] [--seeds 0,1,2] [--peers plain,compile,hf] [--cached-teacher] [--threads N] [--json FILE]

Needs bench/requirements.txt. DIR of --data holds train.jsonl, validation.jsonl and test.jsonl with fields text and label.
A case is a set of defaults (CASES, below) that the other options override. For a distillation --model is the teacher, a
folder with a head, which our program makes: train_throughput --model DIR --data DIR --max-length N --save TEACHER. The
model of base size comes from bench/make_base.py.

Peers:
  plain    a PyTorch loop: fused AdamW, batches of similar length, sdpa attention, texts tokenized beforehand
  compile  the same with torch.compile(dynamic=True); compiling on a few lengths comes first and is not timed
  hf       Hugging Face Trainer, batches of similar length (group_by_length)
Each runs in fp32 or in bf16 autocast, whichever is faster in a few steps. --cached-teacher adds each peer once more with
the teacher's logits computed beforehand, as ours does.

Every run is a process of its own, one after another, seed by seed. All have the same model, dropout, schedule (linear,
warm-up 0.06), weight decay 0.01 (not of biases and LayerNorm), clipping at norm 1 and threads; plain and compile train on
our very batches, and so does hf with --steps (a few steps of its sampler would be long texts only). With --accuracy all
of them validate after each epoch and test the best epoch's weights, in fp32.

A step is timed from the making of its batch to the end of the optimizer's step; the first --skip steps are not counted.
Tokens are real ones, without padding. Reading, tokenizing and evaluation are left out; the pass of a teacher whose logits
are kept is counted, spread evenly over the steps of all epochs.
"""
import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

CASES = {
    "clinc": {"task": "finetune", "max_length": 64, "batch_size": 32, "learning_rate": 2e-4, "epochs": 8},
    "bbc": {"task": "finetune", "max_length": 256, "batch_size": 32, "learning_rate": 2e-4, "epochs": 2},
    "clinc-distill": {"task": "distill", "max_length": 64, "batch_size": 32, "learning_rate": 2e-4, "epochs": 8},
    "bbc-distill": {"task": "distill", "max_length": 256, "batch_size": 32, "learning_rate": 2e-4, "epochs": 5},
    "base-bbc": {"task": "finetune", "max_length": 256, "batch_size": 32, "learning_rate": 5e-5, "epochs": 2},
}
PEERS = ("plain", "compile", "hf")
TRIAL = {"steps": 10, "skip": 3}  # to choose a precision
WEIGHT_DECAY, WARMUP_RATIO, MAX_NORM, TEMPERATURE, STUDENT_LAYERS = 0.01, 0.06, 1.0, 2.0, (1, 3, 5)


# A peer, in a process of its own. Settings come as JSON, the result goes to the standard output as JSON.

class Texts:
    """The texts of a folder, tokenized, and batches of them."""

    def __init__(self, settings, config):
        import torch
        from transformers import AutoTokenizer
        tokenizer = AutoTokenizer.from_pretrained(settings["model"])
        rows = {}
        for split in ("train", "validation", "test"):
            with open(os.path.join(settings["data"], f"{split}.jsonl"), encoding="utf-8") as file:
                rows[split] = [json.loads(line) for line in file]
        self.names = sorted({str(row["label"]) for row in rows["train"]})
        known = getattr(config, "label2id", None) or {}
        self.index = known if set(self.names) == set(known) else {name: i for i, name in enumerate(self.names)}
        self.ids, self.labels = {}, {}
        for split, texts in rows.items():
            ids = tokenizer([row["text"] for row in texts], truncation=True, max_length=settings["max_length"])["input_ids"]
            self.ids[split] = [torch.tensor(one) for one in ids]
            self.labels[split] = torch.tensor([self.index[str(row["label"])] for row in texts])

    def batch(self, split, examples):
        """What the model takes, the labels, and the number of real tokens."""
        import torch
        ids = [self.ids[split][i] for i in examples]
        lengths = torch.tensor([len(one) for one in ids])
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        mask = (torch.arange(padded.shape[1])[None] < lengths[:, None]).long()
        return {"input_ids": padded, "attention_mask": mask}, self.labels[split][examples], sum(map(len, ids))

    def in_order(self, split, size=32):
        """All examples, of similar length in a batch."""
        order = sorted(range(len(self.ids[split])), key=lambda i: -len(self.ids[split][i]))
        return [order[i: i + size] for i in range(0, len(order), size)]


class Run:
    """The model and data of a run, its steps, and the best weights so far."""

    def __init__(self, settings):
        import torch
        from transformers import AutoConfig, BertForSequenceClassification
        self.settings = settings
        torch.manual_seed(settings["seed"])
        config = AutoConfig.from_pretrained(settings["model"])
        self.texts = Texts(settings, config)
        if settings["attention_dropout"] is not None:
            config.attention_probs_dropout_prob = settings["attention_dropout"]
        if config.label2id != self.texts.index:
            if settings["task"] == "distill":
                sys.exit("the teacher's classes are not the data's")
            config.label2id, config.id2label = self.texts.index, {i: name for name, i in self.texts.index.items()}
        load = lambda: BertForSequenceClassification.from_pretrained(
            settings["model"], config=config, attn_implementation="sdpa", dtype=torch.float32)
        self.model, self.teacher, self.teacher_logits, self.teacher_seconds = load(), None, None, 0.0
        if settings["task"] == "distill":
            self.teacher = load().eval().requires_grad_(False)
            layers = self.model.bert.encoder.layer
            self.model.bert.encoder.layer = torch.nn.ModuleList(layers[i] for i in STUDENT_LAYERS)
            if settings["cached"]:
                self.cache_teacher()
        with open(settings["plan"]) as file:
            self.plan = json.load(file)
        if settings["steps"]:
            self.plan = [self.plan[0][: settings["steps"]]]
        self.total = sum(map(len, self.plan))
        self.seconds, self.tokens, self.best, self.details = [], [], None, {}

    def autocast(self):
        import torch
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.settings["precision"] == "bf16")

    def cache_teacher(self):
        import torch
        batches = self.texts.in_order("train")
        start = time.perf_counter()
        logits = torch.zeros(len(self.texts.ids["train"]), self.teacher.config.num_labels)
        with torch.no_grad(), self.autocast():
            for examples in batches:
                inputs, _, _ = self.texts.batch("train", examples)
                logits[examples] = self.teacher(**inputs).logits.float()
        self.teacher_logits, self.teacher_seconds = logits, time.perf_counter() - start

    def distillation_loss(self, logits, inputs, examples):
        import torch
        import torch.nn.functional as F
        if self.teacher_logits is not None:
            soft = self.teacher_logits[examples]
        else:
            with torch.no_grad():
                soft = self.teacher(**inputs).logits.float()
        return F.kl_div(F.log_softmax(logits.float() / TEMPERATURE, -1), F.log_softmax(soft / TEMPERATURE, -1),
                        reduction="batchmean", log_target=True) * TEMPERATURE ** 2

    def evaluate(self, split):
        """Accuracy and mean loss, in fp32: forward comes from the class, as Trainer puts one with autocast on the model."""
        import torch
        self.model.eval()
        right, loss = 0, 0.0
        with torch.inference_mode():
            for examples in self.texts.in_order(split):
                inputs, labels, _ = self.texts.batch(split, examples)
                logits = type(self.model).forward(self.model, **inputs).logits
                right += (logits.argmax(-1) == labels).sum().item()
                loss += torch.nn.functional.cross_entropy(logits.double(), labels, reduction="sum").item()
        return right / len(self.labels(split)), loss / len(self.labels(split))

    def labels(self, split):
        return self.texts.labels[split]

    def check(self):
        """After an epoch: keeps the weights if they are the best on the validation texts."""
        if not self.settings["accuracy"]:
            return
        accuracy, loss = self.evaluate("validation")
        if self.best is None or (accuracy, -loss) > (self.best[0], -self.best[1]):
            self.best = (accuracy, loss, {k: v.clone() for k, v in self.model.state_dict().items()})

    def result(self):
        skip = min(self.settings["skip"], len(self.seconds) - 1)
        steps_of_epochs = math.ceil(len(self.labels("train")) / self.settings["batch_size"]) * self.settings["epochs"]
        seconds = [s + self.teacher_seconds / steps_of_epochs for s in self.seconds[skip:]]
        tokens = sum(self.tokens[skip: len(self.seconds)])
        result = {"steps": len(self.seconds), "timed_steps": len(seconds), "tokens": tokens, "seconds": sum(seconds),
                  "tokens_per_second": tokens / sum(seconds), "ms_per_step": 1e3 * statistics.median(seconds),
                  "precision": self.settings["precision"], "seed": self.settings["seed"],
                  "teacher_seconds": self.teacher_seconds, "peak_memory": peak_memory(), **self.details}
        if self.best is not None:
            self.model.load_state_dict(self.best[2])
            result |= {"validation_accuracy": self.best[0], "test_accuracy": self.evaluate("test")[0]}
        return result


def peak_memory():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def plain_loop(run, compiled):
    import torch
    from transformers import get_linear_schedule_with_warmup
    settings, model, texts = run.settings, run.model, run.texts
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
                                  lr=settings["learning_rate"], fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARMUP_RATIO * run.total), run.total)
    parameters = decayed + others
    forward = torch.compile(model, dynamic=True) if compiled else model
    if compiled and run.teacher is not None:
        run.teacher = torch.compile(run.teacher, dynamic=True)

    def loss_of(inputs, labels, examples):
        with run.autocast():
            logits = forward(**inputs).logits
            if run.teacher is not None:
                return run.distillation_loss(logits, inputs, examples)
            return torch.nn.functional.cross_entropy(logits.float(), labels)

    model.train()
    if compiled:
        compile_first(run, loss_of, optimizer)
    for epoch in run.plan:
        model.train()
        for examples in epoch:
            start = time.perf_counter()
            inputs, labels, tokens = texts.batch("train", examples)
            loss_of(inputs, labels, examples).backward()
            torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM, foreach=True)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            run.seconds.append(time.perf_counter() - start)
            run.tokens.append(tokens)
        run.check()
    if compiled:
        run.details["recompiled"] = graphs() - run.details.pop("graphs")


def graphs():
    import torch._dynamo.utils
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def compile_first(run, loss_of, optimizer):
    """Compiles on what is to come: the first batches, one with nothing padded if there is any, and the short one."""
    import torch
    lengths = run.texts.ids["train"]
    batches = [examples for epoch in run.plan for examples in epoch]
    chosen = batches[:2]
    chosen += [b for b in batches if len({len(lengths[i]) for i in b}) == 1][:1]
    chosen += [b for b in batches if len(b) < run.settings["batch_size"]][:1]

    def too_long(*_):
        print(json.dumps({"error": f"still compiling after {run.settings['compile_limit']} s"}), flush=True)
        os._exit(0)

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(run.settings["compile_limit"])
    start = time.perf_counter()
    for examples in chosen:
        inputs, labels, _ = run.texts.batch("train", examples)
        loss_of(inputs, labels, examples).backward()
        optimizer.zero_grad(set_to_none=True)
    signal.alarm(0)
    run.details |= {"compile_seconds": time.perf_counter() - start, "graphs": graphs()}
    torch.manual_seed(run.settings["seed"])


def trainer_loop(run):
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments
    settings, texts = run.settings, run.texts

    class Examples(torch.utils.data.Dataset):
        def __len__(self):
            return len(texts.ids["train"])

        def __getitem__(self, i):
            return {"input_ids": texts.ids["train"][i], "example": i}

    def collate(items):
        examples = [item["example"] for item in items]
        inputs, labels, tokens = texts.batch("train", examples)
        run.tokens.append(tokens)
        return inputs | ({"examples": torch.tensor(examples)} if run.teacher is not None else {"labels": labels})

    class Timer(TrainerCallback):
        def on_epoch_begin(self, *_, **__):
            self.start = time.perf_counter()

        def on_step_end(self, *_, **__):
            now = time.perf_counter()
            run.seconds.append(now - self.start)
            self.start = now

        def on_epoch_end(self, *_, **__):
            run.check()

    class Ours(Trainer):
        """With our batches in a run of a few steps, and the distillation's loss."""

        def _get_train_sampler(self, *arguments):
            if not settings["steps"]:
                return super()._get_train_sampler(*arguments)
            whole = [examples for examples in run.plan[0] if len(examples) == settings["batch_size"]]
            return [i for examples in whole for i in examples]

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            if run.teacher is None:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            examples = inputs.pop("examples")
            outputs = model(**inputs)
            with run.autocast():
                loss = run.distillation_loss(outputs.logits, inputs, examples)
            return (loss, outputs) if return_outputs else loss

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=settings["batch_size"], num_train_epochs=settings["epochs"],
            max_steps=settings["steps"] or -1, learning_rate=settings["learning_rate"], weight_decay=WEIGHT_DECAY,
            max_grad_norm=MAX_NORM, lr_scheduler_type="linear", warmup_steps=int(WARMUP_RATIO * run.total),
            optim="adamw_torch_fused", train_sampling_strategy="group_by_length", bf16=settings["precision"] == "bf16",
            use_cpu=True, seed=settings["seed"], remove_unused_columns=False, save_strategy="no", eval_strategy="no",
            logging_strategy="no", report_to="none", disable_tqdm=True, dataloader_pin_memory=False)
        trainer = Ours(run.model, arguments, data_collator=collate, train_dataset=Examples(), callbacks=[Timer()])
        trainer.train()


def peer(settings):
    import torch
    torch.set_num_threads(settings["threads"])
    run = Run(settings)
    if settings["peer"] == "hf":
        trainer_loop(run)
    else:
        plain_loop(run, compiled=settings["peer"] == "compile")
    print(json.dumps(run.result()))


# The program that starts them all.

def start(command, environment, limit=None):
    """The last line that a program prints, read as JSON; what it leaves running is ended with it."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {limit:.0f} s"}
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    if process.returncode != 0 or not out.strip():
        last = (err.strip().splitlines() or ["nothing printed"])[-1]
        return {"error": f"exit code {process.returncode}: {last}"}
    return json.loads(out.strip().splitlines()[-1])


def draw_head(settings, seed, folder):
    """Makes a folder as --model with a new head for the classes of the training texts."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification
    torch.manual_seed(seed)
    with open(os.path.join(settings["data"], "train.jsonl"), encoding="utf-8") as file:
        names = sorted({str(json.loads(line)["label"]) for line in file})
    config = AutoConfig.from_pretrained(settings["model"])
    config.id2label, config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    BertForSequenceClassification.from_pretrained(settings["model"], config=config, dtype=torch.float32).save_pretrained(folder)
    AutoTokenizer.from_pretrained(settings["model"]).save_pretrained(folder)


def choose_precision(system, settings, run, slow):
    """The faster of fp32 and bf16 in a few steps, or None and an error if neither works. What the plain loop finds to be
    twice as slow is added to `slow`, and not tried again."""
    left = [p for p in ("fp32", "bf16") if p not in slow]
    if len(left) == 1:
        return left[0], None
    speeds, errors, took = {}, [], None
    for precision in left:
        begin = time.monotonic()
        found = run(system, settings | TRIAL | {"precision": precision, "accuracy": False},
                    limit=None if took is None else 60 + 4 * took)
        took = time.monotonic() - begin
        if "error" in found:
            errors.append(found["error"])
        speeds[precision] = found.get("tokens_per_second", 0.0)
        print(f"{system}, {precision}, a trial: {json.dumps(found)}", file=sys.stderr)
    best = max(speeds, key=speeds.get)
    if speeds[best] == 0.0:
        return None, errors[0]
    if system == "plain":
        slow |= {precision for precision, speed in speeds.items() if speed < speeds[best] / 2}
    return best, None


def table(results):
    """Markdown: a line a system, and the ratio of ours to the best peer."""
    speeds = {system: [r["tokens_per_second"] for r in runs if "error" not in r] for system, runs in results.items()}
    typical = {system: statistics.median(s) for system, s in speeds.items() if s}
    print("| system | precision | tokens/s | ms a step | peak memory | test accuracy | ours to it |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for system, runs in results.items():
        done = [r for r in runs if "error" not in r]
        if not done:
            print(f"| {system} | | {runs[0]['error']} | | | | |")
            continue
        accuracies = [100 * r["test_accuracy"] for r in done if "test_accuracy" in r]
        accuracy = (f"{statistics.mean(accuracies):.2f} % ({', '.join(f'{a:.2f}' for a in accuracies)})" if accuracies else "")
        ratio = f"{typical['compress'] / typical[system]:.2f}" if "compress" in typical else ""
        print(f"| {system} | {done[0]['precision']} "
              f"| {typical[system]:,.0f} ({min(speeds[system]):,.0f} to {max(speeds[system]):,.0f}) "
              f"| {statistics.median(r['ms_per_step'] for r in done):.1f} "
              f"| {max(r['peak_memory'] for r in done) / 1e9:.2f} GB | {accuracy} | {ratio} |")
    peers = {system: speed for system, speed in typical.items() if system != "compress"}
    if peers and "compress" in typical:
        best = max(peers, key=peers.get)
        print(f"\ncompress to the best peer ({best}): {typical['compress'] / peers[best]:.2f}")


def main():
    if sys.argv[1:2] == ["--peer"]:
        return peer(json.loads(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--case", required=True, choices=CASES)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--task", choices=("finetune", "distill"))
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--attention-dropout", type=float, help="in place of the checkpoint's")
    parser.add_argument("--steps", type=int, default=0, help="so many steps in place of the epochs")
    parser.add_argument("--skip", type=int, default=5, help="steps at the start that are not counted")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--peers", default="plain,compile,hf")
    parser.add_argument("--cached-teacher", action="store_true", help="each peer once more with kept logits of the teacher")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of our program")
    parser.add_argument("--peer-precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--compile-limit", type=int, default=300, help="seconds that torch.compile may take")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--same-head", action="store_true", help="all systems start from one head, drawn from the seed")
    parser.add_argument("--json", help="where to write what each run found")
    arguments = parser.parse_args()

    settings = {k: v for k, v in vars(arguments).items() if k in
                ("model", "data", "attention_dropout", "steps", "skip", "threads", "accuracy", "compile_limit")}
    for key, value in CASES[arguments.case].items():
        given = getattr(arguments, key)
        settings[key] = value if given is None else given
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    peers = arguments.peers.split(",") if arguments.peers else []
    if not set(peers) <= set(PEERS):
        parser.error(f"--peers: found {arguments.peers}, expected some of {', '.join(PEERS)}")
    if arguments.cached_teacher and settings["task"] != "distill":
        parser.error("--cached-teacher: the task has no teacher")
    if arguments.same_head and settings["task"] == "distill":
        parser.error("--same-head: a student has its teacher's head")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it started ends too
    environment = dict(os.environ, OMP_NUM_THREADS=str(arguments.threads), TOKENIZERS_PARALLELISM="false",
                       HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

    def ours(seed, settings):
        command = [arguments.program, "--case", arguments.case, "--seed", str(seed), "--plan", settings["plan"],
                   "--precision", arguments.precision, "--max-steps", str(settings["steps"])]
        for key in ("model", "data", "task", "max_length", "batch_size", "epochs", "learning_rate", "skip", "threads"):
            command += ["--" + key.replace("_", "-"), str(settings[key])]
        if settings["attention_dropout"] is not None:
            command += ["--attention-dropout", str(settings["attention_dropout"])]
        command += ([] if settings["accuracy"] else ["--no-accuracy"]) + (["--keep-head"] if arguments.same_head else [])
        return start(command, environment)

    def theirs(system, chosen, limit=None):
        name, _, cached = system.partition(", ")
        chosen = chosen | {"peer": name, "cached": bool(cached)}
        return start([sys.executable, os.path.abspath(__file__), "--peer", json.dumps(chosen)], environment, limit)

    systems = ["compress", *peers]
    if arguments.cached_teacher:
        systems += [f"{name}, cached teacher" for name in peers]
    results = {system: [] for system in systems}
    precisions, slow = {}, set()
    with tempfile.TemporaryDirectory() as folder:
        plan = os.path.join(folder, "plan.json")
        for seed in seeds:
            model = settings["model"]
            if arguments.same_head:
                model = os.path.join(folder, f"seed{seed}")
                draw_head(settings, seed, model)
            for system in systems:
                if any("error" in r for r in results[system]):
                    continue
                chosen = settings | {"seed": seed, "plan": plan, "model": model}
                name = system.partition(", ")[0]
                if system == "compress":
                    result = ours(seed, chosen)
                    if "error" in result:
                        sys.exit(f"{arguments.program}: {result['error']}")
                else:
                    if name not in precisions:
                        precisions[name] = ((arguments.peer_precision, None) if arguments.peer_precision != "auto" else
                                            choose_precision(name, chosen, theirs, slow))
                    precision, error = precisions[name]
                    result = {"error": error} if error else theirs(system, chosen | {"precision": precision})
                results[system].append(result)
                print(f"{system}, seed {seed}: {json.dumps(result)}", file=sys.stderr)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"case": arguments.case, "settings": settings, "results": results}, file, indent=1)
    machine = results["compress"][0]["machine"]
    print(f"{arguments.case}: {settings['task']}, max length {settings['max_length']}, batch size {settings['batch_size']}, "
          f"{arguments.threads} threads, {results['compress'][0]['steps']} steps, seeds {arguments.seeds}; "
          f"{json.dumps(machine)}\n")
    table(results)


if __name__ == "__main__":
    main()
