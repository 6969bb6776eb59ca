#!/usr/bin/env python3
"""Holds what a command prints against a file: integers and words the same, other numbers within 1e-5.
usage: same_numbers.py FILE COMMAND..."""
import subprocess
import sys
from pathlib import Path


def same(found, expected):
    if "." not in expected:
        return found == expected
    try:
        return abs(float(found) - float(expected)) < 1e-5
    except ValueError:
        return False


def main():
    file, *command = sys.argv[1:]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    expected = Path(file).read_text(encoding="utf-8").split()
    if len(found) != len(expected) or not all(map(same, found, expected)):
        sys.exit(f"same_numbers: found {' '.join(found)}, expected {' '.join(expected)}")


main()
