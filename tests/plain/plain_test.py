#!/usr/bin/env python3
"""Holds that tokenizers need no LibTorch: a program that links them alone names none of its libraries, and gives the ids that
the command gives. usage: plain_test.py PLAIN_TOKENIZE COMPRESS FOLDER"""
import json
import subprocess
import sys

plain, compress, folder = sys.argv[1:]
text = "the quick brown fox of the CAFÉ"
libraries = subprocess.run(["ldd", plain], check=True, capture_output=True, text=True).stdout
found = [line.split()[0] for line in libraries.splitlines() if "torch" in line or "c10" in line]
if found:
    sys.exit(f"plain_test: {plain} links {', '.join(found)}, expected nothing of LibTorch's")
ids = subprocess.run([plain, folder, text], check=True, capture_output=True, text=True).stdout.split()
said = subprocess.run([compress, "tokenize", folder, "--json"], input=text + "\n", check=True, capture_output=True, text=True).stdout
expected = [str(i) for i in json.loads(said)["input_ids"]]
if ids != expected or len(ids) < 3:
    sys.exit(f"plain_test: found {ids}, expected {expected}")
