#!/usr/bin/env python3
"""Tests scripts/check_includes.py on small trees. usage: check_includes_test.py"""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_includes.py"


class CheckIncludes(unittest.TestCase):
    def check(self, files):
        """Exit status and lines of a run over a tree of `files`: {path: text}."""
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                path = Path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            run = subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True)
            return run.returncode, (run.stdout + run.stderr).splitlines()

    def assert_refused(self, file, include, *others):
        status, lines = self.check({file: f"// a line\n#include {include}\n", **{name: "#pragma once\n" for name in others}})
        self.assertEqual(status, 1, lines)
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith(f"{file}:2: "), lines)

    def assert_accepted(self, file, include):
        status, lines = self.check({file: f"#include {include}\n"})
        self.assertEqual(status, 0, lines)

    def test_includes_along_the_direction_are_accepted(self):
        self.assert_accepted("compress/kernels/gemm.cpp", '"compress/kernels/gemm.h"')
        self.assert_accepted("compress/model/a.cpp", '"compress/kernels/gemm.h"')
        self.assert_accepted("compress/train/a.cpp", '"compress/base/a.h"')
        self.assert_accepted("prune/a.cpp", '"compress/model/a.h"')
        self.assert_accepted("prune/a.cpp", '"prune/a.h"')
        self.assert_accepted("recipes/a.cpp", '"prune/a.h"')
        self.assert_accepted("recipes/a.cpp", "<yaml-cpp/yaml.h>")
        self.assert_accepted("apps/a.cpp", '"recipes/a.h"')
        self.assert_accepted("apps/a.cpp", "<CLI/CLI.hpp>")
        self.assert_accepted("distill/a.cpp", "<vector>")
        self.assert_accepted("distill/a.cpp", "<torch/torch.h>")

    def test_includes_against_the_direction_are_refused(self):
        self.assert_refused("compress/kernels/gemm.cpp", '"compress/model/a.h"')
        self.assert_refused("compress/tokenizer/a.cpp", '"compress/model/a.h"')
        self.assert_refused("compress/model/a.cpp", '"compress/train/a.h"')
        self.assert_refused("compress/model/a.cpp", '"datasets/a.h"')
        self.assert_refused("compress/model/a.cpp", "<datasets/a.h>")
        self.assert_refused("prune/a.cpp", '"recipes/a.h"')
        self.assert_refused("recipes/a.cpp", '"apps/a.h"')
        self.assert_refused("apps/a.cpp", '"tests/a.h"')

    def test_the_five_in_the_middle_do_not_include_each_other(self):
        middle = ["datasets", "distill", "prune", "quantize", "export"]
        for folder in middle:
            for other in middle:
                if folder != other:
                    self.assert_refused(f"{folder}/a.cpp", f'"{other}/a.h"')

    def test_a_relative_include_is_followed(self):
        self.assert_refused("prune/a.cpp", '"../quantize/a.h"', "quantize/a.h")

    def test_libraries_stay_in_their_folders(self):
        self.assert_refused("compress/model/a.cpp", "<yaml-cpp/yaml.h>")
        self.assert_refused("compress/tokenizer/a.cpp", "<torch/types.h>")
        self.assert_refused("compress/runtime/a.cpp", "<ATen/Parallel.h>")
        self.assert_refused("apps/a.cpp", "<yaml-cpp/yaml.h>")
        self.assert_refused("recipes/a.cpp", "<CLI/CLI.hpp>")

    def test_every_folder_of_compress_is_a_layer_and_linked_as_one(self):
        self.assertEqual(self.check({"compress/new/a.cpp": "int a;\n"})[0], 1)
        source = {"compress/evaluate/a.cpp": "int a;\n"}
        for text, status in [("compress_library(evaluate SOURCES a.cpp\n  DEPENDS compress::task\n  PRIVATE fmt::fmt)\n", 0),
                             ("compress_library(evaluate SOURCES a.cpp DEPENDS compress::train)\n", 1),
                             ("compress_library(evaluate PLAIN SOURCES a.cpp DEPENDS compress::task)\n", 1)]:
            self.assertEqual(self.check({**source, "compress/evaluate/CMakeLists.txt": text})[0], status)

    def test_tests_and_benchmarks_may_include_anything(self):
        self.assert_accepted("tests/prune/a.cpp", '"recipes/a.h"')
        self.assert_accepted("bench/a.cpp", "<yaml-cpp/yaml.h>")

    def test_headers_begin_with_pragma_once(self):
        self.assertEqual(self.check({"prune/a.h": "// what\n/* more\n */\n\n#pragma once\nint a;\n"})[0], 0)
        status, lines = self.check({"prune/a.h": "int a;\n#pragma once\n", "tests/b.h": "", "prune/a.cpp": "int a;\n"})
        self.assertEqual(status, 1)
        self.assertEqual(lines, ["prune/a.h:1: does not begin with #pragma once",
                                 "tests/b.h:1: does not begin with #pragma once"])

    def test_a_task_is_named_in_the_table_and_in_its_own_file(self):
        text = "auto a = TaskType::regression;\n"
        for file, status in [("compress/spec/task.h", 0), ("compress/task/regression.cpp", 0), ("tests/a.cpp", 0),
                             ("compress/task/embedding.cpp", 1), ("compress/task/task.cpp", 1), ("recipes/a.cpp", 1)]:
            self.assertEqual(self.check({file: ("#pragma once\n" if file.endswith(".h") else "") + text})[0], status, file)
        self.assertEqual(self.check({"datasets/a.cpp": "int a;\nusing enum TaskType;\n"}),
                         (1, ["datasets/a.cpp:2: names a task, using enum TaskType: ask compress/spec/task.h or "
                              "compress/task/task.h for what it is about"]))

    def test_a_family_is_named_in_its_folder_alone(self):
        family = {"compress/families/roberta.cpp": 'f = {.model_type = "roberta", .class_prefix = "Roberta",\n'
                                                   '     .tokenizers = {{"Roberta", TokenizerRules::bytes_marks, tokens}}};\n'}
        for file, text, status in [("compress/tokenizer/a.cpp", 'if (name == "Roberta")', 1),
                                   ("compress/tokenizer/a.cpp", 'if (name == "RobertaTokenizerFast")', 1),
                                   ("recipes/a.cpp", 'type = "roberta";', 1),
                                   ("recipes/a.cpp", 'auto a = b;  // "roberta"', 0),
                                   ("recipes/a.cpp", 'if (type == "RobertaProcessing")', 0),  # of tokenizer.json
                                   ("tests/a.cpp", 'type = "roberta";', 0), ("bench/a.cpp", 'type = "roberta";', 0)]:
            self.assertEqual(self.check({**family, file: text + "\n"})[0], status, (file, text))
        self.assertEqual(self.check({**family, "apps/a.cpp": 'int a;\nauto b = "roberta";\n'})[1],
                         ['apps/a.cpp:2: names a model family, "roberta": only compress/families/ may'])

    def test_a_folder_without_sources_is_an_error(self):
        self.assertEqual(self.check({"README.md": "text"})[0], 1)


if __name__ == "__main__":
    unittest.main()
