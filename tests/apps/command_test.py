#!/usr/bin/env python3
"""The compress command from outside: output, exit codes, and that nothing is left half-written.

usage: command_test.py COMPRESS SOURCE_DIR
"""
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

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
    finetune: {epochs: 6, learning_rate: 3.0e-3, batch_size: 16, precision: int16}
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

    def test_what_a_script_prints_is_no_answer(self):
        with zipfile.ZipFile(f"{self.folder}/out/shipped/model.pt") as source, zipfile.ZipFile(f"{self.folder}/talks.pt", "w") as talks:
            for entry in source.infolist():
                code = source.read(entry)
                if entry.filename.endswith(".py"):
                    code = re.sub(rb"(def forward\(.*?-> Tensor:\n)", rb'\1    print("\\033[2J hello")\n', code, flags=re.S)
                talks.writestr(entry.filename, code)
        result = self.run_compress("predict", "talks.pt", "--tokenizer", "model", "--json", "the the", "and and")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len([json.loads(line) for line in result.stdout.splitlines()]), 2)
        self.assertEqual(result.stderr.count("\\x1b[2J hello"), 2)  # how many classes it has; both texts

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

    def test_generate_continues_texts(self):
        decoder = f"{self.folder}/decoder"
        shutil.copytree(f"{SOURCE}/tests/goldens/model/decoders/llama", decoder)
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
            if os.path.exists(f"{TINY}/{name}"):
                shutil.copy(f"{TINY}/{name}", decoder)
        whole = self.run_compress("generate", "decoder", "the and", "the a b", "--max-tokens", "9", "--json")
        self.assertEqual(whole.returncode, 0, whole.stderr)
        answers = [json.loads(line) for line in whole.stdout.splitlines()]
        self.assertEqual([a["prompt"] for a in answers], ["the and", "the a b"])
        self.assertEqual([len(a["ids"]) for a in answers], [9, 9])
        plain = self.run_compress("generate", "decoder", "--max-tokens", "9", stdin="the and\n")
        self.assertEqual(plain.stdout, answers[0]["text"] + "\n")
        self.assertRegex(plain.stderr, "9 tokens in")
        with open(f"{decoder}/generation_config.json", "w") as file:
            json.dump({"eos_token_id": [1000, answers[0]["ids"][2]]}, file)
        ended = json.loads(self.run_compress("generate", "decoder", "the and", "--json").stdout)
        self.assertEqual((ended["ids"], ended["ended"]), (answers[0]["ids"][:answers[0]["ids"].index(answers[0]["ids"][2]) + 1], True))
        drawn = [self.run_compress("generate", "decoder", "the", "--temperature", "3", "--top-k", "40", "--seed", seed).stdout for seed in "112"]
        self.assertEqual(drawn[0], drawn[1])
        self.assertNotEqual(drawn[0], drawn[2])
        self.check_refused(self.run_compress("generate", "decoder"), "no prompt")
        self.check_refused(self.run_compress("generate", "decoder", "the " * 40), "prompt 1: found 42 tokens, expected at most 32")
        self.check_refused(self.run_compress("generate", "decoder", "it"), "found the id 63, expected ids below 60")
        self.check_refused(self.run_compress("generate", "out/teacher", "the"), "found an encoder, bert, expected a decoder")
        self.check_refused(self.run_compress("generate", "decoder", "the", "--top-p", "2"), "--top-p: found \"2\", expected from 0 to 1")
        os.mkdir(f"{self.folder}/gguf")
        shutil.copy(f"{SOURCE}/tests/goldens/gguf/model_llama.gguf", f"{self.folder}/gguf/model.gguf")
        for command in (("predict", "gguf", "x"), ("predict", "gguf/model.gguf", "x"), ("bench", "gguf"), ("serve", "gguf", "--port", "0")):
            self.check_refused(self.run_compress(*command), "found a GGUF file, supported here: encoders; `compress inspect`, `generate` and `eval` take it")
        self.write("texts.txt", "the and of a b\nthe of")
        answer = json.loads(self.run_compress("eval", "decoder", "--data", "texts.txt", "--max-length", "5", "--json").stdout)
        self.assertEqual((answer["tokens"], answer["predicted"], answer["windows"]), (7, 5, 2))
        self.assertRegex(self.run_compress("eval", "decoder", "--data", "texts.txt").stdout, r"^perplexity [\d.]+, loss [\d.]+ \(6 of 7 tokens, 1 windows of 32\)$")
        self.write("texts.jsonl", '{"text": "the and"}\n{"text": "the"}\n')
        self.assertEqual(json.loads(self.run_compress("eval", "decoder", "--data", "texts.jsonl", "--json").stdout)["predicted"], 1)
        self.write("nothing.txt", "")
        self.check_refused(self.run_compress("eval", "decoder", "--data", "nothing.txt"), "nothing.txt: found no text of two tokens")
        self.check_refused(self.run_compress("eval", "decoder", "--data", "texts.txt", "--max-length", "33"), "--max-length: found 33, expected from 2 to 32")
        self.check_refused(self.run_compress("eval", "decoder", "--data", "texts.txt", "--metric", "f1"), "--metric: decoder is a decoder")
        with open(f"{decoder}/generation_config.json", "w") as file:
            json.dump({"eos_token_id": "</s>"}, file)
        self.check_refused(self.run_compress("generate", "decoder", "the"), "generation_config.json: eos_token_id: found \"</s>\", expected the id of a token")

    def test_inspect_shows_layers_and_scores(self):
        result = self.run_compress("inspect", "out/pruned")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("importance", result.stdout)
        self.assertRegex(result.stdout, r"\n +0  #{6}\.{6} +2 of 4 ")
        answer = json.loads(self.run_compress("inspect", "out/int8", "--json").stdout)
        self.assertEqual(answer["layers"], [{"num_attention_heads": 2, "intermediate_size": 24}] * 3)
        self.assertEqual(answer["linear_format"], "int8")
        self.assertEqual(answer["manifest"]["stage"]["id"], "int8")

    def test_what_zeros_bring_is_told_by_report_and_inspect(self):
        self.write("zeros.yaml", SHORT.replace("output: out", "output: zeros") + """  - id: sparse
    prune: {of: teacher, importance: obert, pattern: 1x4, density: 0.25, rounds: 2}
  - id: small
    quantize: {of: sparse, scheme: int8_dynamic}
""")
        result = self.run_compress("run", "zeros.yaml", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        teacher, sparse, small = json.loads(result.stdout)["stages"]
        self.assertNotIn("zeros", teacher)
        self.assertEqual((sparse["zeros"]["pattern"], sparse["zeros"]["layers"]), ("1x4", 18))
        self.assertAlmostEqual(sparse["zeros"]["density"], 0.25, places=2)
        self.assertNotIn("dense_throughput", sparse["zeros"])
        self.assertLessEqual(small["zeros"]["density"], sparse["zeros"]["density"])  # some are rounded to 0
        self.assertGreater(small["zeros"]["dense_throughput"], 0)
        again = json.loads(self.run_compress("run", "zeros.yaml", "--json").stdout)["stages"]
        self.assertAlmostEqual(again[2]["zeros"]["dense_throughput"], small["zeros"]["dense_throughput"])
        with open(f"{self.folder}/zeros/report.md") as f:
            self.assertRegex(f.read(), r"\n## Zeros\n\n.*\n.*\n\| sparse \| 1x4 \| 25\.0 % \| 0 of 18 \| weights are not int8.*\n\| small \| 1x4 \|")
        answer = json.loads(self.run_compress("inspect", "zeros/small", "--json").stdout)
        self.assertEqual(len(answer["zeros"]), 18)
        self.assertEqual(answer["zeros"][0]["name"], "bert.encoder.layer.0.attention.self.query")
        self.assertEqual({z["kernel"] for z in answer["zeros"]} | {"sparse", "dense"}, {"sparse", "dense"})
        self.assertRegex(self.run_compress("inspect", "zeros/small").stdout, r"zeros, and what int8 products gain .*\n(.*\n) +0 +2\d\.\d % ")

    def test_inspect_tells_a_decoders_heads_and_what_its_class_is_for(self):
        bart = f"{SOURCE}/tests/goldens/model/decoders/bart"
        result = self.run_compress("inspect", bart)
        self.assertIn("heads of 6, of 8 in the decoder; language modelling", result.stdout)
        answer = json.loads(self.run_compress("inspect", bart, "--json").stdout)
        self.assertEqual(answer["decoder_layers"], [{"num_attention_heads": 3, "intermediate_size": 28, "attention_head_size": 8,
                                                     "cross_attention_heads": 3}] * 3)
        self.assertEqual(answer["layers"], [{"num_attention_heads": 4, "intermediate_size": 40}] * 2)
        shutil.copytree(bart, f"{self.folder}/classifier")
        with open(f"{bart}/config.json") as f:
            config = json.load(f)
        self.write("classifier/config.json", json.dumps({**config, "architectures": ["BartForSequenceClassification"]}))
        result = self.run_compress("inspect", "classifier")
        self.assertIn("a decoder, read without the head of BartForSequenceClassification", result.stdout)

    def test_inspect_tells_how_a_file_has_its_numbers(self):
        gguf = f"{SOURCE}/tests/goldens/gguf/model_llama.gguf"
        answer = json.loads(self.run_compress("inspect", gguf, "--json").stdout)
        self.assertEqual(answer["files"], {"model_llama.gguf": os.path.getsize(gguf)})
        self.assertEqual(list(answer["stored"]), ["F32"])
        self.assertEqual(answer["stored"]["F32"]["bytes"], 4 * answer["parameters"])
        self.assertNotIn("linear_format", answer)
        result = self.run_compress("inspect", gguf)
        self.assertRegex(result.stdout, r"\nstored: F32 [0-9.]+ [kM]B in 21 tensors\n")
        blocks = f"{SOURCE}/tests/goldens/gguf/model_blocks.gguf"
        answer = json.loads(self.run_compress("inspect", blocks, "--json").stdout)
        self.assertEqual(answer["stored"], {"F32": {"tensors": 3, "bytes": 3 * 32 * 4}, "Q4_0": {"tensors": 7, "bytes": 10240 * 18 // 32},
                                            "Q8_0": {"tensors": 1, "bytes": 40 * 34}})
        result = self.run_compress("inspect", blocks)
        self.assertIn("Q4_0 5.76 kB in 7 tensors, Q8_0 1.36 kB in 1 tensors", result.stdout)
        self.assertNotIn("fp32", result.stdout)
        answer = json.loads(self.run_compress("inspect", "out/int8", "--json").stdout)
        self.assertEqual(sorted(answer["stored"]), ["F32", "I8"])

    def test_inspect_holds_tensors_against_the_config(self):
        shutil.copytree(TINY, f"{self.folder}/misfit")
        with open(f"{TINY}/config.json") as f:
            config = json.load(f)
        self.write("misfit/config.json", json.dumps({**config, "intermediate_size": 49}))
        self.check_refused(self.run_compress("inspect", "misfit"),
                           "bert.encoder.layer.0.intermediate.dense.weight: found [48, 32], expected [49, 32]")

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

    def test_explain_and_run_tell_what_is_odd_in_the_data(self):
        self.write("odd.jsonl", '{"text": "the the", "label": "a"}\n{"text": " ", "label": "b"}\n{"text": "the the", "label": "b"}\n')
        self.write("odd.yaml", SHORT.replace("train.jsonl", "odd.jsonl").replace("test.jsonl", "odd.jsonl").replace("output: out", "output: odd"))
        result = self.run_compress("explain", "odd.yaml")
        for part in ("# train: 3 texts, 1 empty, 1 there before; tokens: median", '# class "b": 2, 2, 2',
                     "# warning: data.train: 1 of 3 texts are empty, the first at odd.jsonl:2",
                     '# warning: data.train: 1 texts are there again with another label, the first at odd.jsonl:3: "the the" is "b" there and "a" at'):
            self.assertIn(part, result.stdout)
        as_json = json.loads(self.run_compress("explain", "odd.yaml", "--json").stdout)["data"]
        self.assertEqual(as_json["splits"][0]["classes"], {"a": 1, "b": 2})
        self.assertIn("data.test: 1 of its 1 different texts are in data.train too, the first at odd.jsonl:1", as_json["warnings"])

    def test_labels_that_are_not_the_names_of_their_classes_are_told(self):
        shutil.copytree(TINY, f"{self.folder}/named")
        with open(f"{TINY}/config.json") as f:
            config = json.load(f)
        config["id2label"] = {"0": "NEG", "1": "NEU", "2": "POS"}
        del config["label2id"]
        self.write("named/config.json", json.dumps(config))
        self.write("numbers.csv", "text,label\nthe the,0\nof,pos\n")
        result = self.run_compress("eval", "named", "--data", "numbers.csv")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn('numbers.csv: labels "pos" are taken for "POS", letter case and white space around aside; labels "0" are taken for "NEG", by number',
                      result.stderr)

    def test_fields_of_a_csv_may_be_in_quotes_unless_said(self):
        self.write("quoted.csv", 'text,label\n"the, of and",article\n"of the",preposition\n')
        self.write("bare.jsonl", '{"text": "the, of and", "label": "article"}\n{"text": "of the", "label": "preposition"}\n')
        results = [json.loads(self.run_compress("eval", "out/teacher", "--data", name, "--json").stdout)
                   for name in ("quoted.csv", "bare.jsonl")]
        self.assertEqual(results[0]["loss"], results[1]["loss"])
        result = self.run_compress("eval", "out/teacher", "--data", "quoted.csv", "--no-quotes")
        self.check_refused(result, "quoted.csv:2: 3 columns, expected 2")

    def test_quotes_of_a_tsv_are_letters_unless_said(self):
        self.write("quoted.tsv", 'text\tlabel\n"the ""the"""\tarticle\nof\tpreposition\n')
        result = self.run_compress("eval", "out/teacher", "--data", "quoted.tsv")
        self.assertIn("quoted.tsv:2: quotes around the text are read as letters, in 1 of 2 texts", result.stderr)
        result = self.run_compress("eval", "out/teacher", "--data", "quoted.tsv", "--quotes")
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_inspect_shows_a_model_whose_width_is_no_multiple_of_its_first_heads(self):
        self.write("narrow.yaml", SHORT.replace("output: out", "output: narrow") + "  - id: pruned\n    prune: {of: teacher, hidden_size: 27, "
                   "importance: magnitude, macs_reduction: 1.5, whole_blocks: true}\n")
        result = self.run_compress("run", "narrow.yaml")
        self.assertEqual(result.returncode, 0, result.stderr)
        result = self.run_compress("inspect", "narrow/pruned")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("hidden size 27", result.stdout)

    def test_a_checkpoint_with_tensors_in_excess_is_used_and_they_are_named(self):
        shutil.copytree(TINY, f"{self.folder}/excess")
        with open(f"{TINY}/model.safetensors", "rb") as f:
            length = int.from_bytes(f.read(8), "little")
            header, data = json.loads(f.read(length)), f.read()
        header["fit_dense.weight"] = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
        text = json.dumps(header).encode()
        with open(f"{self.folder}/excess/model.safetensors", "wb") as f:
            f.write(len(text).to_bytes(8, "little") + text + data + bytes(4))
        expected = self.run_compress("predict", "model", "the of")
        result = self.run_compress("predict", "excess", "the of")
        self.assertEqual((result.returncode, result.stdout), (0, expected.stdout))
        self.assertIn("excess: 1 tensor in excess is ignored (fit_dense.weight)", result.stderr)
        with open(f"{self.folder}/excess/model.safetensors", "wb") as f:
            f.write(len(text).to_bytes(8, "little") + text + bytes.fromhex("0000c07f") * (len(data) // 4) + bytes(4))
        self.check_refused(self.run_compress("predict", "excess", "the of"), "excess/model.safetensors: tensor", "found nan at [")

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

    def test_a_tokenizer_that_does_not_fit_is_told_before_any_work(self):
        other = f"{self.folder}/other-tokenizer"
        os.mkdir(other)
        with open(f"{self.folder}/model/vocab.txt") as f, open(f"{other}/vocab.txt", "w") as g:
            g.write(f.read() + "more\nwords\n")
        for command in (["eval", "out/teacher", "--data", "test.jsonl"], ["predict", "out/shipped", "the"], ["bench", "out/pruned"]):
            self.check_refused(self.run_compress(*command, "--tokenizer", other), "other-tokenizer: the tokenizer does not fit the model",
                               "ids up to 65", "ids below 64")

    def test_added_tokens_without_a_row_are_a_warning_and_their_texts_an_error(self):
        shutil.copytree(f"{self.folder}/model", f"{self.folder}/beyond")
        with open(f"{self.folder}/beyond/tokenizer_config.json", "w") as f:
            json.dump({"added_tokens_decoder": {"64": {"content": "<user>", "special": True}}}, f)
        result = self.run_compress("predict", "beyond", "the of")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn('warning beyond: 1 added token has no row in the table of words', result.stderr)
        self.check_refused(self.run_compress("predict", "beyond", "the of", "the <user>"), 'predict:2: found "<user>" (id 64)')
        self.assertEqual(self.run_compress("bench", "beyond", "--shapes", "1x8", "--seconds", "0.1").returncode, 0)

    def test_files_that_contradict_each_other_are_a_warning(self):
        shutil.copytree(f"{self.folder}/model", f"{self.folder}/contradiction")
        with open(f"{self.folder}/contradiction/tokenizer_config.json", "w") as f:
            json.dump({"sep_token": "[SEP]"}, f)
        with open(f"{self.folder}/contradiction/special_tokens_map.json", "w") as f:
            json.dump({"sep_token": "[CLS]"}, f)
        result = self.run_compress("tokenize", "contradiction", stdin="the\n")
        self.assertEqual(result.stdout, "2 57 2\n")
        self.assertRegex(result.stderr, r'warning .*sep_token.*"\[CLS\]", which is followed')

    def test_what_the_models_config_tells_is_told_by_validate(self):
        self.write("sizes.yaml", RECIPE.replace("heads: 2", "heads: 5").replace("max_length: 20", "max_length: 41")
                   .replace("of: int8}", "of: int8, runtime: fused}").replace("output: out", "output: never"))
        for command in ("validate", "run"):
            result = self.run_compress(command, "sizes.yaml")
            self.assertEqual(result.returncode, 2)
            self.assertIn("sizes.yaml:6: data.max_length: found 41, but the model model (model.path) has positions for 40", result.stderr)
            self.assertIn("sizes.yaml:14: stages[1].prune.heads: found 5, but layer 0 of `teacher` has 4 heads", result.stderr)
            self.assertFalse(os.path.exists(f"{self.folder}/never"))
        self.write("unit.yaml", RECIPE + "goals: {size: {max: 15}}\n")
        self.check_refused(self.run_compress("validate", "unit.yaml"), "goals.size.max: found \"15\", expected a size with its unit")

    def test_a_truncated_checkpoint_is_one_line_and_leaves_nothing(self):
        shutil.copytree(f"{self.folder}/model", f"{self.folder}/cut")
        with open(f"{self.folder}/cut/model.safetensors", "r+b") as f:
            f.truncate(5000)
        result = self.run_compress("run", "recipe.yaml", "--set", "model.path=cut", "--set", "output=cut-out")
        self.check_refused(result, "cut/model.safetensors")
        self.assertFalse(os.path.exists(f"{self.folder}/cut-out"))

    def test_wrong_usage_is_bad_input(self):
        for arguments in (["fly"], ["run"], ["eval", "out/teacher"], ["explain"], ["run", "none.yaml"], ["eval", "none", "--data", "test.jsonl"],
                          ["eval", "out/teacher", "--data", "none.jsonl"], ["eval", "out/teacher", "--data", "test.jsonl", "--text", "txt"],
                          ["run", "recipe.yaml", "--threads", "0"], ["run", "recipe.yaml", "--threads", "4096"],
                          ["run", "recipe.yaml", "--set", "nothing=1"], ["bench", "out/shipped", "--shapes", "1000000x40"],
                          ["bench", "out/shipped", "--shapes", "1x8,4x20,99999999999999x99999999"],
                          ["bench", "out/shipped", "--shapes", ",".join(["1x8"] * 30000)],
                          ["run", "none\x1b[2J\n.yaml"], ["run", "recipe.yaml", "--set", "x" * 100000], ["x" * 100000],
                          ["eval", "out/teacher", "--data", "test.jsonl", "--metric", "a\nb\x1b[31m"]):
            result = self.run_compress(*arguments)
            self.assertEqual(result.returncode, 2, (arguments, result.stderr))
            self.assertEqual(len(result.stderr.strip().splitlines()), 1, (arguments, result.stderr))
            self.assertLess(len(result.stderr), 2100)
            self.assertNotIn("\x1b", result.stderr)
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

    def test_a_name_that_is_not_utf8_is_told_in_json_and_stops_nothing(self):
        folder = os.path.join(os.fsencode(self.folder), b"caf\xe9")
        os.makedirs(folder)
        bad = os.path.join(folder, b"bad.yaml")
        with open(bad, "w") as f:
            f.write(SHORT.replace("epochs: 6", "epochs: x"))
        result = self.run_compress("validate", bad, "--json")
        self.assertEqual((result.returncode, result.stderr), (2, ""))
        self.assertIn("caf\\xe9/bad.yaml:12: ", json.loads(result.stdout)["problems"][0])
        model = os.path.join(folder, b"teacher")
        shutil.copytree(f"{self.folder}/out/teacher", os.fsdecode(model))
        open(os.path.join(model, b"Notiz_\xfc.txt"), "w").close()
        result = self.run_compress("bench", model, "--shapes", "1x8", "--seconds", "0.1", "--json", "--threads", "1")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("caf\ufffd/teacher", json.loads(result.stdout)["model"])
        result = self.run_compress("run", "short.yaml", "--set", "output=odd-name", "--set", "stages.teacher.finetune.epochs=1", "--set",
                                   "model.path=odd-model", "--threads", "1", "--json",
                                   preexec_fn=lambda: os.symlink(model, os.path.join(os.fsencode(self.folder), b"odd-model")))
        self.assertEqual(result.returncode, 0, result.stderr)
        json.loads(result.stdout)

    def test_words_that_are_not_utf8_are_predicted_in_json(self):
        with open(f"{self.folder}/words.jsonl", "w") as f:
            for i in range(12):
                f.write(json.dumps({"tokens": ["the", "of", "and"], "tags": ["DET", "O", "B-X" if i % 2 else "O"]}) + "\n")
        self.write("words.yaml", SHORT.replace("train.jsonl", "words.jsonl").replace("test.jsonl", "words.jsonl").replace("epochs: 6", "epochs: 1")
                   .replace("data:", "task: {type: token_classification}\ndata:").replace("output: out", "output: words-out"))
        result = self.run_compress("run", "words.yaml", "--threads", "1")
        self.assertEqual(result.returncode, 0, result.stderr)
        result = subprocess.run([COMPRESS, "predict", "words-out/teacher", "--json", "--threads", "1"], cwd=self.folder, input=b"the caf\xe9 \x1b[2J\n",
                                capture_output=True, timeout=60)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout)["words"], ["the", "caf\ufffd", "\x1b[2J"])
        result = self.run_compress("predict", "words-out/teacher", "--threads", "1", stdin="the \x1b[2J\n")
        self.assertIn("\\x1b[2J/", result.stdout)
        self.assertNotIn("\x1b", result.stdout)

    def threads(self, *arguments, **options):
        result = self.run_compress("inspect", "--kernels", "--json", *arguments, **options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)["machine"], result.stderr

    def test_threads_are_as_many_as_the_process_may_use(self):
        plain = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        one = {sorted(os.sched_getaffinity(0))[0]}
        machine, errors = self.threads(env=plain)
        self.assertEqual((machine["threads"], errors), (machine["processors"], ""))
        machine, errors = self.threads(env=plain, preexec_fn=lambda: os.sched_setaffinity(0, one))
        self.assertEqual((machine["threads"], machine["processors"], errors), (1, 1, ""))
        machine, errors = self.threads(env={**plain, "OMP_NUM_THREADS": "1"})
        self.assertEqual((machine["threads"], errors), (1, ""))
        machine, errors = self.threads("--threads", "3", env={**plain, "OMP_NUM_THREADS": "1"}, preexec_fn=lambda: os.sched_setaffinity(0, one))
        self.assertEqual(machine["threads"], 3)
        self.assertIn("warning --threads: 3 threads on 1 processor that this process may use", errors)
        self.assertEqual(len(errors.splitlines()), 1)

    def test_threads_that_the_system_does_not_start_are_told(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))  # less than 1,000 stacks need
        result = self.run_compress("predict", "out/teacher", "the", "--threads", "1000", preexec_fn=limit)
        self.check_refused(result, "1000 threads: the system lets this process start", code=4)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        result = self.run_compress("bench", "out/shipped", "--instances", "1024", "--shapes", "1x8", "--seconds", "0.1")
        most = 32 * len(os.sched_getaffinity(0))
        if most < 1024:
            self.check_refused(result, f"--instances: found 1024, expected at most {most}: 32 for each processor")

    def test_memory_that_runs_out_is_one_line(self):
        told = 0
        for size in range(200, 8000, 40):  # MB: from what the libraries alone do not fit in to what is enough
            limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (size << 20, size << 20))
            result = self.run_compress("eval", "out/teacher", "--data", "test.jsonl", "--batch-size", "30", "--threads", "1", preexec_fn=limit)
            if result.returncode == 127:  # the loader's
                continue
            if result.returncode == 0:
                break
            self.assertEqual(result.returncode, 1, (size, result.stderr))
            self.assertEqual(len(result.stderr.splitlines()), 1, (size, result.stderr))
            self.assertIn("compress: out of memory", result.stderr, size)
            told += 1
        self.assertEqual(result.returncode, 0, "never enough")
        self.assertGreater(told, 0)

    def test_a_signal_that_the_parent_ignored_stays_ignored(self):
        command = [COMPRESS, "run", "short.yaml", "--set", "output=hush", "--set", "stages.teacher.finetune.epochs=40", "--threads", "1"]
        child = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                 preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        for line in child.stderr:
            if "step 50/" in line:
                break
        child.send_signal(signal.SIGINT)
        with child.stderr:
            rest = child.stderr.read()
        self.assertEqual(child.wait(timeout=60), 0, rest)

    def test_a_log_without_a_standard_error_goes_into_no_file(self):
        result = subprocess.run([COMPRESS, "run", "short.yaml", "--set", "output=closed", "--threads", "1"], cwd=self.folder, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, preexec_fn=lambda: (os.close(0), os.close(2)), close_fds=False, timeout=120)
        self.assertEqual(result.returncode, 0)
        self.assertEqual(os.path.getsize(f"{self.folder}/closed/.lock"), 0)
        self.assertTrue(os.path.exists(f"{self.folder}/closed/report.json"))
        result = subprocess.run([COMPRESS, "inspect", "--kernels"], stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1), text=True)
        self.assertEqual(result.returncode, 4)
        self.assertIn("standard output: can't be written: Bad file descriptor", result.stderr)

    def on_terminal(self, term):
        """What a run writes to a terminal of that kind."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.environ["TERM"] = term
            os.execv(COMPRESS, [COMPRESS, "run", "short.yaml", "--set", f"output=on-{term}", "--threads", "1", "--set", "stages.teacher.finetune.epochs=40"])
        shown = b""
        try:
            while block := os.read(terminal, 65536):
                shown += block
        except OSError:  # the end of a terminal
            pass
        self.assertEqual(os.waitpid(pid, 0)[1], 0, shown)
        return shown

    def test_where_no_bar_is_drawn_a_line_tells_how_far_it_is(self):
        command = ["run", "short.yaml", "--threads", "1"]  # which is silent for more than a second
        for setting in ("epochs=200", "log_every=10000", "evaluate_every=10000"):
            command += ["--set", f"stages.teacher.finetune.{setting}"]
        told = self.run_compress(*command, "--set", "output=told", "--tell-every", "0.1").stderr
        self.assertRegex(told, r"at work: \d+ of \d+, ")
        self.assertNotRegex(told, r"at work: (\d+) of \1,")
        self.assertNotIn("at work", self.run_compress(*command, "--set", "output=hushed", "--tell-every", "0").stderr)
        for wrong in ("-1", "nan", "soon"):
            self.check_refused(self.run_compress(*command, "--tell-every", wrong), "--tell-every")
        self.check_refused(self.run_compress("bench", "out/shipped", "--shapes", "1x8", "--seconds", "nan"), "--seconds")
        self.check_refused(self.run_compress("predict", "/" + "n" * 100000, "the"), "too long")

    def test_a_terminal_that_can_not_wipe_a_line_gets_no_bar(self):
        self.assertIn(b"\r\x1b[K", self.on_terminal("xterm"))
        shown = self.on_terminal("dumb")
        self.assertNotIn(b"\x1b", shown)
        self.assertIn(b"report: on-dumb/report.md", shown)

    def test_a_limit_of_a_files_size_is_a_full_disk_not_a_signal(self):
        result = self.run_compress("run", "recipe.yaml", "--set", "output=limited", "--threads", "1",
                                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)))
        self.check_refused(result, "limited", "File too large", code=4)

    def test_a_tilde_is_the_users_own_folder(self):
        home = {**os.environ, "HOME": f"{self.folder}/home"}
        result = self.run_compress("run", "short.yaml", "--set", "output=~/runs", "--set", "stages.teacher.finetune.epochs=1", "--threads", "1", env=home)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(os.path.exists(f"{self.folder}/home/runs/report.md"))
        self.assertFalse(os.path.exists(f"{self.folder}/~"))

    def test_a_stage_never_takes_the_place_of_the_users_own(self):
        shutil.copytree(f"{self.folder}/model", f"{self.folder}/models/minilm")
        self.write("own.yaml", SHORT.replace("output: out", "output: models").replace("path: model}", "path: models/minilm}").replace("id: teacher", "id: minilm"))
        os.makedirs(f"{self.folder}/mine/teacher")
        self.write("mine/teacher/thesis.txt", "years of work")
        for command in ("validate", "run"):
            result = self.run_compress(command, "own.yaml")
            self.check_refused(result, 'own.yaml:3: output: found "models", which holds model.path')
            self.check_refused(self.run_compress(command, "short.yaml", "--set", "output=model"), "output: ", "which is model.path")
            self.check_refused(self.run_compress(command, "short.yaml", "--set", "output=."), "output: ", "which holds")
            result = self.run_compress(command, "short.yaml", "--set", "output=mine")
            self.check_refused(result, "short.yaml:11: stages[0].id: ", "mine/teacher")
            self.assertEqual(len(result.stderr.splitlines()), 1)
        self.assertEqual(sorted(os.listdir(f"{self.folder}/models/minilm")), sorted(os.listdir(f"{self.folder}/model")))
        self.assertEqual(os.listdir(f"{self.folder}/mine/teacher"), ["thesis.txt"])

    def test_a_run_that_fails_leaves_a_report_of_what_is_finished(self):
        self.write("fails.yaml", SHORT.replace("output: out", "output: fails") + "  - id: shipped\n    export: {of: teacher, runtime: fused, tolerance: 1.0e-30}\n")
        result = self.run_compress("run", "fails.yaml", "--threads", "1")
        self.check_refused(result, "model.pt: its logits differ")
        self.assertIn("report of what is finished: fails/report.md", result.stderr)
        with open(f"{self.folder}/fails/report.json") as f:
            report = json.load(f)
        self.assertEqual([s["id"] for s in report["stages"]], ["teacher"])
        self.assertEqual([(s["id"], s["state"]) for s in report["unfinished"]], [("shipped", "failed")])

    def test_auto_is_measured_once_and_a_stopped_training_keeps_it(self):
        settings = ["--threads", "1", "--set", "output=auto", "--set", "stages.teacher.finetune.precision=auto", "--set",
                    "stages.teacher.finetune.epochs=40", "--set", "stages.teacher.finetune.log_every=10"]
        child = subprocess.Popen([COMPRESS, "run", "short.yaml", *settings], cwd=self.folder, stderr=subprocess.PIPE, text=True)
        lines = []
        for line in child.stderr:
            lines.append(line)
            if "step 30/" in line:
                break
        child.send_signal(signal.SIGTERM)
        with child.stderr:
            lines.append(child.stderr.read())
        self.assertEqual(child.wait(timeout=60), 130, lines)
        arithmetic = re.search(r"precision: (\w+) \(auto; products of a step, .*fp32 .* ms, int16 .* ms", "".join(lines)).group(1)
        shutil.rmtree(f"{self.folder}/auto/cache")
        result = self.run_compress("run", "short.yaml", *settings)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stderr, f"precision: {arithmetic} .*, as this training began")
        self.assertIn("going on after step", result.stderr)
        with open(f"{self.folder}/auto/teacher/compress.json") as f:
            kept = json.load(f)["notes"]["training"]["precision"]
        self.assertEqual(kept["arithmetic"], arithmetic)
        self.assertLessEqual({"fp32", "int16"}, set(kept["measured"]["milliseconds"]))
        self.assertEqual(kept["measured"]["threads"], 1)
        for time in ("", ", measured before"):
            shutil.rmtree(f"{self.folder}/auto/teacher")
            result = self.run_compress("run", "short.yaml", *settings)
            self.assertRegex(result.stderr, f"precision: .*thread\\){time}\n")

    def test_threads_that_wait_sleep_on_a_busy_machine_unless_the_user_has_set_how(self):
        usual = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
        def threads(**settings):
            child = subprocess.Popen([COMPRESS, "bench", "out/teacher", "--threads", "2", "--shapes", "4x16", "--seconds", "2"], cwd=self.folder, env=usual | settings,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            most = 0
            while child.poll() is None:
                try:
                    most = max(most, len(os.listdir(f"/proc/{child.pid}/task")))
                except FileNotFoundError:
                    pass
                time.sleep(0.05)
            self.assertEqual(child.returncode, 0)
            return most
        if not os.path.exists("/proc/self/schedstat"):
            self.skipTest("the system does not tell how long threads wait for processors")
        load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * os.cpu_count())]
        try:
            self.assertGreater(threads(), threads(OMP_WAIT_POLICY="passive") + os.cpu_count())
        finally:
            for process in load:
                process.kill()
                process.wait()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=2)
