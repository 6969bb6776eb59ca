#!/usr/bin/env python3
"""Tests scripts/check_tensors.py on small trees. usage: check_tensors_test.py"""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_tensors.py"


class CheckTensors(unittest.TestCase):
    def check(self, text, file="compress/model/a.cpp"):
        """Exit status and lines of a run over a tree of one file."""
        with tempfile.TemporaryDirectory() as root:
            path = Path(root, file)
            path.parent.mkdir(parents=True)
            path.write_text(text)
            run = subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True)
            return run.returncode, run.stdout.splitlines()

    def test_calls_without_a_dtype_are_found_with_their_lines(self):
        for call in ("torch::zeros({3, f(4)})", "at::full({1}, 0.5)", "torch::tensor(values)", "torch::randn(\n  {2})"):
            status, lines = self.check(f"// a line\nconst auto x = {call};\n")
            self.assertEqual(status, 1, call)
            self.assertEqual(len(lines), 1)
            self.assertTrue(lines[0].startswith("compress/model/a.cpp:2: "), lines)

    def test_torchscript_in_texts_is_read_too(self):
        self.assertEqual(self.check('script.line("x = torch.full([1], 1.0)");', "export/a.cpp")[0], 1)
        self.assertEqual(self.check('script.line("x = torch.full([1], 1.0, dtype=6)");', "export/a.cpp")[0], 0)

    def test_calls_that_say_it_are_accepted(self):
        for call in ("torch::zeros({3}, torch::kFloat)", "torch::ones({2}, x.options())", "torch::zeros_like(x)",
                     "at::empty({2}, x.scalar_type())", "torch::full({}, 1.0, x.options().dtype(torch::kLong))"):
            self.assertEqual(self.check(f"const auto x = {call};\n")[0], 0, call)
        self.assertEqual(self.check("// torch::zeros({3})\n")[0], 0)


if __name__ == "__main__":
    unittest.main()
