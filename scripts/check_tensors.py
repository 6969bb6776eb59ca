#!/usr/bin/env python3
"""Checks that every tensor which the libraries make says its dtype.

usage: check_tensors.py [ROOT]        (default: the repository that this script is in)

A process may have set another default dtype (torch.set_default_dtype): torch::zeros({3}) is then no float32. The same goes
for the TorchScript that export/ writes. Prints a line for each call without a dtype and exits with 1 if there is one.
"""
import re
import sys
from pathlib import Path

FOLDERS = ["compress", "datasets", "distill", "prune", "quantize", "export", "recipes", "apps/compress"]
MAKERS = "empty|zeros|ones|full|rand|randn|randint|randperm|arange|eye|tensor|linspace|logspace|scalar_tensor|from_blob"
CALL = re.compile(rf"\b(?:torch|at)(?:::|\.)({MAKERS})\(")
# kFloat, an option of another tensor, or a variable that holds a dtype; in TorchScript dtype=.
SAYS = re.compile(r"\bk[A-Z][A-Za-z0-9]+\b|options|dtype|type\b")
COMMENT = re.compile(r"//[^\n]*")


def arguments(text, begin):
    """What stands between the parenthesis before `begin` and the one that closes it."""
    depth, at = 1, begin
    while depth > 0 and at < len(text):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return text[begin:at - 1]


def problems_of(text):
    text = COMMENT.sub(lambda m: " " * len(m[0]), text)
    for call in CALL.finditer(text):
        if not SAYS.search(arguments(text, call.end())):
            yield text.count("\n", 0, call.start()) + 1, call[1]


def main():
    if len(sys.argv) > 2:
        sys.exit(__doc__.split("\n\n")[1])
    root = Path(sys.argv[1] if len(sys.argv) == 2 else Path(__file__).parents[1]).resolve()
    files = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*")) if path.suffix in {".h", ".cpp"}]
    if not files:
        sys.exit(f"check_tensors: no C++ files below {root}")
    found = [f"{path.relative_to(root)}:{line}: {maker}() without a dtype"
             for path in files for line, maker in problems_of(path.read_text(encoding="utf-8"))]
    print("\n".join(found) or f"check_tensors: {len(files)} files make tensors of a dtype that they say")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
