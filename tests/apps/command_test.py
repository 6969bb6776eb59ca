#!/usr/bin/env python3
"""The compress command from outside: output, exit codes, and that nothing is left half-written.

usage: command_test.py COMPRESS SOURCE_DIR
"""
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

COMPRESS, SOURCE = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
TINY = f"{SOURCE}/tests/goldens/model/tiny"
WORDS = {"article": "the", "conjunction": "and", "preposition": "of"}


def write_texts(path, count):
    with open(path, "w") as f:
        for i in range(count):
            label = sorted(WORDS)[i % 3]
            words = [WORDS[label]] * 5 + [WORDS[sorted(WORDS)[(i + i // 3) % 3]]] * 3
            f.write(json.dumps({"text": " ".join(words), "label": label}) + "\n")


RECIPE = """version: 1
name: tiny
output: out
model: {path: model}
data:
  max_length: 20
  train: {path: train.jsonl}
  validation: {path: test.jsonl}
  test: {path: test.jsonl}
stages:
  - id: teacher
    finetune: {epochs: 6, learning_rate: 3.0e-3, batch_size: 16}
  - id: pruned
    prune: {of: teacher, heads: 2, intermediate_size: 24}
  - id: int8
    quantize: {of: pruned}
  - id: shipped
    export: {of: int8}
"""

SHORT = RECIPE.split("  - id: pruned")[0]  # the teacher alone


class Command(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="compress-command-")
        shutil.copytree(TINY, f"{cls.folder}/model")
        write_texts(f"{cls.folder}/train.jsonl", 96)
        write_texts(f"{cls.folder}/test.jsonl", 30)
        cls.write("recipe.yaml", RECIPE)
        cls.write("short.yaml", SHORT)
        cls.first = cls.run_compress("run", "recipe.yaml", "--json")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def write(cls, name, text):
        with open(f"{cls.folder}/{name}", "w") as f:
            f.write(text)

    @classmethod
    def run_compress(cls, *arguments, stdin="", **options):
        return subprocess.run([COMPRESS, *arguments], cwd=cls.folder, input=stdin, text=True, capture_output=True, timeout=300, **options)

    def check_refused(self, result, *words, code=2):
        self.assertEqual(result.returncode, code, result.stderr)
        line = result.stderr.strip().splitlines()[-1]
        for word in words:
            self.assertIn(word, line)

    def test_run_ends_with_a_report(self):
        self.assertEqual(self.first.returncode, 0, self.first.stderr)
        report = json.loads(self.first.stdout)
        self.assertEqual([s["id"] for s in report["stages"]], ["teacher", "pruned", "int8", "shipped"])
        for key in ("accuracy", "parameters", "macs", "bytes", "latency_ms", "throughput"):
            self.assertGreater(report["stages"][-1][key], 0, key)
        with open(f"{self.folder}/out/report.json") as f:
            kept = json.load(f)
        for stage in report["stages"] + kept["stages"]:
            del stage["skipped"]  # another test may have run it again
        self.assertEqual(kept, report)
        self.assertTrue(os.path.exists(f"{self.folder}/out/report.md"))

    def test_a_second_run_skips_everything(self):
        result = self.run_compress("run", "recipe.yaml", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(all(s["skipped"] for s in json.loads(result.stdout)["stages"]))

    def test_eval_agrees_with_the_report_for_every_kind_of_model(self):
        report = {s["id"]: s for s in json.loads(self.first.stdout)["stages"]}
        for model, stage in (("out/teacher", "teacher"), ("out/pruned", "pruned"), ("out/int8", "int8"), ("out/shipped", "shipped"),
                             ("out/shipped/model.pt", "shipped")):
            result = self.run_compress("eval", model, "--data", "test.jsonl", "--text", "text", "--label", "label", "--json")
            self.assertEqual(result.returncode, 0, result.stderr)
            answer = json.loads(result.stdout)
            self.assertEqual(len(result.stdout.splitlines()), 1)
            self.assertEqual((answer["correct"], answer["total"]), (report[stage]["correct"], 30), model)
            self.assertAlmostEqual(answer["accuracy"], report[stage]["accuracy"])

    def test_eval_takes_a_tokenizer_from_elsewhere(self):
        shutil.copy(f"{self.folder}/out/shipped/model.pt", f"{self.folder}/alone.pt")
        self.check_refused(self.run_compress("eval", "alone.pt", "--data", "test.jsonl"), "tokenizer")
        labels = sorted(WORDS)
        with open(f"{self.folder}/test.jsonl") as f, open(f"{self.folder}/numbers.jsonl", "w") as g:
            for line in f:
                row = json.loads(line)
                g.write(json.dumps({"t": row["text"], "l": labels.index(row["label"])}) + "\n")
        result = self.run_compress("eval", "alone.pt", "--tokenizer", "model", "--data", "numbers.jsonl", "--text", "t", "--label", "l",
                                   "--max-length", "20", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout)["correct"], json.loads(self.first.stdout)["stages"][-1]["correct"])

    def test_tokenize_prints_a_line_of_ids_for_every_line(self):
        result = self.run_compress("tokenize", "out/teacher", stdin="the and\n\nof ab\nthe")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, "2 57 58 3\n2 3\n2 59 5 32 3\n2 57 3\n")
        result = self.run_compress("tokenize", "out/teacher", "--max-length", "3", stdin="the and of\n")
        self.assertEqual(result.stdout, "2 57 3\n")

    def test_predict_reads_arguments_and_standard_input(self):
        result = self.run_compress("predict", "out/teacher", "the the the", "and and and")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual([line.split("\t")[0] for line in result.stdout.splitlines()], ["article", "conjunction"])
        result = self.run_compress("predict", "out/teacher", "--json", stdin="of of of of\nthe the\n")
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([a["label"] for a in answers], ["preposition", "article"])
        self.assertAlmostEqual(sum(answers[0]["scores"].values()), 1.0, places=5)
        self.check_refused(self.run_compress("predict", "out/teacher"), "no text")

    def test_inspect_shows_layers_and_scores(self):
        result = self.run_compress("inspect", "out/pruned")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("importance", result.stdout)
        self.assertRegex(result.stdout, r"\n +0  #{6}\.{6} +2 of 4 ")
        answer = json.loads(self.run_compress("inspect", "out/int8", "--json").stdout)
        self.assertEqual(answer["layers"], [{"num_attention_heads": 2, "intermediate_size": 24}] * 3)
        self.assertEqual(answer["linear_format"], "int8")
        self.assertEqual(answer["manifest"]["stage"]["id"], "int8")

    def test_bench_times_shapes(self):
        result = self.run_compress("bench", "out/shipped", "--shapes", "1x8,4x20", "--seconds", "0.1", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual([(r["batch"], r["length"]) for r in json.loads(result.stdout)["results"]], [(1, 8), (4, 20)])
        self.check_refused(self.run_compress("bench", "out/shipped", "--shapes", "8"), "8", "BATCHxLENGTH")

    def test_explain_shows_the_plan_and_the_keys(self):
        result = self.run_compress("explain", "recipe.yaml")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("weight_decay: 0.01", result.stdout)
        self.assertIn("up to date", result.stdout)
        result = self.run_compress("explain", "--keys", "prune")
        self.assertIn("intermediate_size", result.stdout)

    def test_a_missed_goal_has_its_own_exit_code(self):
        self.write("goal.yaml", RECIPE + "goals:\n  size: {max: 1kB}\n")
        result = self.run_compress("run", "goal.yaml")
        self.check_refused(result, "goal missed", "size", code=3)
        self.assertTrue(os.path.exists(f"{self.folder}/out/shipped/model.pt"))

    def test_every_mistake_of_a_recipe_is_told_at_once(self):
        self.write("bad.yaml", RECIPE.replace("heads: 2", "head: 2").replace("epochs: 6", "epochs: six").replace("of: pruned", "of: prunned")
                   .replace("train.jsonl", "none.jsonl").replace("output: out", "output: never"))
        result = self.run_compress("run", "bad.yaml")
        self.assertEqual(result.returncode, 2)
        for part in ("bad.yaml:7: data.train.path", "bad.yaml:12: stages[0].finetune.epochs", "bad.yaml:14: stages[1].prune.head",
                     "bad.yaml:16: stages[2].quantize.of"):
            self.assertIn(part, result.stderr)
        self.assertFalse(os.path.exists(f"{self.folder}/never"))
        result = self.run_compress("validate", "bad.yaml", "--json")
        self.assertEqual(result.returncode, 2)
        self.assertEqual(len(json.loads(result.stdout)["problems"]), 4)

    def test_a_truncated_checkpoint_is_one_line_and_leaves_nothing(self):
        shutil.copytree(f"{self.folder}/model", f"{self.folder}/cut")
        with open(f"{self.folder}/cut/model.safetensors", "r+b") as f:
            f.truncate(5000)
        result = self.run_compress("run", "recipe.yaml", "--set", "model.path=cut", "--set", "output=cut-out")
        self.check_refused(result, "cut/model.safetensors")
        self.assertEqual([n for n in os.listdir(f"{self.folder}/cut-out") if n != ".lock"], [])

    def test_wrong_usage_is_bad_input(self):
        for arguments in (["fly"], ["run"], ["eval", "out/teacher"], ["explain"], ["run", "none.yaml"], ["eval", "none", "--data", "test.jsonl"],
                          ["eval", "out/teacher", "--data", "none.jsonl"], ["eval", "out/teacher", "--data", "test.jsonl", "--text", "txt"],
                          ["run", "recipe.yaml", "--threads", "0"], ["run", "recipe.yaml", "--set", "nothing=1"]):
            result = self.run_compress(*arguments)
            self.assertEqual(result.returncode, 2, (arguments, result.stderr))
            self.assertEqual(len(result.stderr.strip().splitlines()), 1, (arguments, result.stderr))
        self.assertIn('found "rnu", expected a command: run,', self.run_compress("rnu", "recipe.yaml").stderr)

    def test_cuda_where_there_is_none_is_said(self):
        for command in (["eval", "out/teacher", "--data", "test.jsonl"], ["predict", "out/teacher", "the"],
                        ["bench", "out/teacher", "--shapes", "1x8", "--seconds", "0.1"], ["run", "recipe.yaml", "--set", "output=cuda-out"]):
            result = self.run_compress(*command, "--device", "cuda")
            if result.returncode != 0:
                self.check_refused(result, "CUDA")
                self.assertEqual(len(result.stderr.strip().splitlines()), 1)

    def test_a_full_disk_is_told_and_leaves_no_stage(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        result = self.run_compress("run", "recipe.yaml", "--set", "output=full", preexec_fn=lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), limit()))
        self.check_refused(result, "full", code=4)
        self.assertEqual([n for n in os.listdir(f"{self.folder}/full") if n != ".lock"], [])

    def test_a_signal_stops_the_run_and_a_second_one_in_the_folder_is_refused(self):
        command = [COMPRESS, "run", "recipe.yaml", "--set", "output=long", "--set", "stages.teacher.finetune.epochs=100000"]
        child = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.PIPE, text=True)
        for line in child.stderr:
            if "step" in line:
                break
        self.check_refused(self.run_compress("run", "recipe.yaml", "--set", "output=long"), "another run", code=4)
        child.send_signal(signal.SIGTERM)
        with child.stderr:
            rest = child.stderr.read()
        self.assertEqual(child.wait(timeout=60), 130)
        self.assertIn("stopped; saved after step", rest)
        self.assertEqual(sorted(n for n in os.listdir(f"{self.folder}/long") if n != ".lock"), [".teacher.resume"])

    def teacher(self, output):
        """Every file of the stage's folder; metrics without clock times."""
        found = {}
        for name in os.listdir(f"{self.folder}/{output}/teacher"):
            with open(f"{self.folder}/{output}/teacher/{name}", "rb") as f:
                found[name] = f.read()
        lines = [json.loads(line) for line in found["metrics.jsonl"].splitlines()]
        found["metrics.jsonl"] = [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in lines]
        return found

    def test_a_run_that_was_stopped_goes_on_to_the_same_bits(self):
        settings = ["--threads", "1", "--set", "stages.teacher.finetune.epochs=40", "--set", "stages.teacher.finetune.log_every=10"]
        result = self.run_compress("run", "short.yaml", "--set", "output=whole", *settings)
        self.assertEqual(result.returncode, 0, result.stderr)
        for number in (signal.SIGTERM, signal.SIGINT):
            command = [COMPRESS, "run", "short.yaml", "--set", "output=parts", *settings]
            child = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.PIPE, text=True)
            for line in child.stderr:
                if "step 30/" in line:
                    break
            child.send_signal(number)
            with child.stderr:
                rest = child.stderr.read()
            self.assertEqual(child.wait(timeout=60), 130, rest)
            step = int(rest.split("saved after step ")[1].split()[0])
            self.assertGreaterEqual(step, 30)
            result = self.run_compress("run", "short.yaml", "--set", "output=parts", *settings)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn(f"going on after step {step} of 240", result.stderr)
            self.assertEqual(self.teacher("parts"), self.teacher("whole"))
            self.assertEqual([n for n in os.listdir(f"{self.folder}/parts") if n.endswith((".resume", ".tmp"))], [])
            shutil.rmtree(f"{self.folder}/parts")

    def test_a_disk_that_is_full_at_a_saved_state_keeps_the_one_before(self):
        size = lambda path: os.path.getsize(f"{self.folder}/crowded/.teacher.resume/{path}")
        settings = ["--checkpoint-every", "0", "--threads", "1", "--set", "stages.teacher.finetune.epochs=30"]
        whole = self.run_compress("run", "short.yaml", "--set", "output=roomy", *settings)
        self.assertEqual(whole.returncode, 0, whole.stderr)
        child = subprocess.Popen([COMPRESS, "run", "short.yaml", "--set", "output=crowded", *settings], cwd=self.folder, stderr=subprocess.PIPE,
                                 preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN), text=True)
        for line in child.stderr:
            if "step 50/" in line:
                break
        # From here on no file may grow beyond a few bytes.
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (20000, 20000))
        with child.stderr:
            rest = child.stderr.read()
        self.assertEqual(child.wait(timeout=60), 4, rest)
        self.assertIn(".teacher.resume/state-", rest.strip().splitlines()[-1])
        kept = os.listdir(f"{self.folder}/crowded/.teacher.resume")
        self.assertTrue(kept and not any(name.endswith(".partial") for name in kept), kept)
        self.assertTrue(all(size(name) > 20000 for name in kept))
        result = self.run_compress("run", "short.yaml", "--set", "output=crowded", *settings)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("going on after step", result.stderr)
        self.assertEqual(self.teacher("crowded"), self.teacher("roomy"))

    def test_a_damaged_state_is_told_and_training_begins_anew(self):
        settings = ["--checkpoint-every", "0", "--threads", "1"]
        result = self.run_compress("run", "short.yaml", "--set", "output=clean", *settings)
        self.assertEqual(result.returncode, 0, result.stderr)
        os.makedirs(f"{self.folder}/odd/.teacher.resume")
        for name in ("state-0.safetensors", "state-1.safetensors"):
            self.write(f"odd/.teacher.resume/{name}", "no state at all")
        result = self.run_compress("run", "short.yaml", "--set", "output=odd", *settings)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr.count("is damaged and is not used"), 2)
        self.assertEqual(self.teacher("odd"), self.teacher("clean"))

    def test_a_data_file_that_changes_during_the_run_is_told_and_nothing_is_put_in_place(self):
        shutil.copy(f"{self.folder}/train.jsonl", f"{self.folder}/moving.jsonl")
        command = [COMPRESS, "run", "short.yaml", "--set", "output=moved", "--set", "data.train.path=moving.jsonl",
                   "--set", "stages.teacher.finetune.epochs=60"]
        child = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.PIPE, text=True)
        for line in child.stderr:
            if "step 50/" in line:
                break
        write_texts(f"{self.folder}/moving.jsonl", 90)
        with child.stderr:
            rest = child.stderr.read()
        self.assertEqual(child.wait(timeout=120), 2, rest)
        self.assertIn("moving.jsonl: changed while the run was at work", rest.strip().splitlines()[-1])
        self.assertFalse(os.path.exists(f"{self.folder}/moved/teacher"))

    def test_a_folder_that_can_not_be_written_is_told(self):
        os.makedirs(f"{self.folder}/locked")
        os.chmod(f"{self.folder}/locked", 0o555)
        os.chmod(self.folder, 0o755)
        nobody = (lambda: (os.setgid(65534), os.setuid(65534))) if os.getuid() == 0 else None
        result = self.run_compress("run", "recipe.yaml", "--set", "output=locked", preexec_fn=nobody)
        self.check_refused(result, "locked", "Permission denied", code=4)
        self.check_refused(self.run_compress("run", "recipe.yaml", "--set", "output=recipe.yaml/out"), "recipe.yaml/out", code=4)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=2)
