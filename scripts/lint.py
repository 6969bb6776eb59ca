#!/usr/bin/env python3
"""Checks the form of the sources: clang-format on all of them, and clang-tidy on the libraries and programs.

usage: lint.py [--fix | --format] [--seconds N] [BUILD]        (BUILD: build/release, a folder that has been configured)

Both tools come from PyPI, in the versions below, into .venv. What clang-tidy finds in a file follows from the file, the
headers of ours, the settings and the version; files that were clean with the same are not read again (the cache is
compress-tidy below XDG_CACHE_HOME or ~/.cache). --fix: clang-format writes. --format: clang-tidy is left out. --seconds: clang-tidy begins no file later
than that, those that were changed last come first, and it says how many are left for the next time. Exits with 1 if there is anything to mend.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

TOOLS = {"clang-format": "18.1.8", "clang-tidy": "23.1.4"}
FOLDERS = ["compress", "datasets", "distill", "prune", "quantize", "export", "recipes", "apps"]
FORMATTED = FOLDERS + ["tests", "bench"]
# Clang's own warnings that say nothing of the sources: on g++'s precompiled header, on g++'s library, on OpenMP's pragmas.
UNHEARD = ["-Wno-ignored-gch", "-Wno-deprecated-declarations", "-Wno-unused-lambda-capture"]
ROOT = Path(__file__).resolve().parent.parent


def tool(name):
    python = ROOT / ".venv/bin/python"
    program = python.with_name(name)
    installed = subprocess.run([program, "--version"], capture_output=True, text=True) if program.exists() else None
    if installed is None or TOOLS[name] not in installed.stdout:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", ROOT / ".venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", f"{name}=={TOOLS[name]}"], check=True)
    return program


def sources(folders, suffixes):
    return sorted(f for folder in folders for f in (ROOT / folder).rglob("*") if f.suffix in suffixes)


def check_format(fix):
    files = sources(FORMATTED, {".h", ".cpp"})
    mode = ["-i"] if fix else ["--dry-run", "--Werror"]
    result = subprocess.run([tool("clang-format"), *mode, *files], capture_output=True, text=True)
    found = [line for line in result.stderr.splitlines() if "error:" in line]
    for line in found:
        print(line)
    print(f"clang-format: {len(files)} files, {len(found)} places to mend (scripts/lint.py --fix)")
    return not found and result.returncode == 0


def headers_hash():
    digest = hashlib.sha256((ROOT / ".clang-tidy").read_bytes() + TOOLS["clang-tidy"].encode())
    for header in sources(FOLDERS, {".h"}):
        digest.update(header.read_bytes())
    return digest.hexdigest()


def openmp(cache):
    """g++'s omp.h in a folder of its own, for clang-tidy comes without one, and does not read attributes with arguments."""
    found = subprocess.run(["g++", "-print-file-name=include/omp.h"], capture_output=True, text=True, check=True).stdout.strip()
    folder = cache / "openmp"
    folder.mkdir(exist_ok=True)
    (folder / "omp.h").write_text(re.sub(r"__malloc__ \(\w+\)", "__malloc__", Path(found).read_text()))
    return folder


def commands(build, headers):
    """Of each file, what clang-tidy compiles it with: without g++'s precompiled header, whose text is included."""
    result = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        words = [w for w in shlex.split(entry["command"])[1:] if w not in ("-Winvalid-pch", "-fopenmp", "-Wshadow=local")]
        at = words.index("-c") if "-c" in words else len(words)
        output = words.index("-o") if "-o" in words else at
        result[entry["file"]] = (entry["directory"], [*words[:min(at, output)], *UNHEARD, "-isystem", str(headers)])
    return result


def last_change(file):
    """When it was committed; what is not comes first."""
    log = subprocess.run(["git", "log", "-1", "--format=%ct", "--", file], cwd=ROOT, capture_output=True, text=True)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", file], cwd=ROOT, capture_output=True).returncode != 0
    return float("inf") if changed or not log.stdout.strip() else int(log.stdout)


def check_tidy(build, seconds):
    end = time.monotonic() + seconds
    program = tool("clang-tidy")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "compress-tidy"
    cache.mkdir(parents=True, exist_ok=True)
    headers = headers_hash()
    known = commands(build, openmp(cache))

    def check(file):
        directory, flags = known[str(file)]
        key = hashlib.sha256((headers + str(file.relative_to(ROOT))).encode() + file.read_bytes()).hexdigest()
        if (cache / key).exists():
            return "known", []
        if time.monotonic() > end:
            return "left", []
        run = subprocess.run([program, "--quiet", str(file), "--", *flags], cwd=directory, capture_output=True, text=True)
        found = [line for line in run.stdout.splitlines() if re.search(r": (warning|error): ", line)]
        if run.returncode == 0 and not found:
            (cache / key).touch()
        elif not found:
            found = [f"{file}: clang-tidy ended with {run.returncode}: {run.stderr.strip()[-500:]}"]
        return "read", found

    files = sorted((f for f in sources(FOLDERS, {".cpp"}) if str(f) in known), key=last_change, reverse=True)
    states = []
    seen = set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for state, found in pool.map(check, files):
            states.append(state)
            for line in found:
                if line not in seen:  # a header is read by many
                    seen.add(line)
                    print(line.replace(str(ROOT) + "/", ""), flush=True)
    print(f"clang-tidy: {len(files)} files, {states.count('known')} of them known to be clean, {states.count('left')} left for "
          f"another time, {len(seen)} places to mend")
    return not seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fix", action="store_true")
    parser.add_argument("--format", action="store_true")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("build", nargs="?", default="build/release")
    options = parser.parse_args()
    formatted = check_format(options.fix)
    if options.fix:
        return 0
    if options.format:
        return 0 if formatted else 1
    return 0 if check_tidy(ROOT / options.build, options.seconds) and formatted else 1


if __name__ == "__main__":
    sys.exit(main())
