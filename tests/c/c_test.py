#!/usr/bin/env python3
"""Holds that a C program and a Python process, both without LibTorch, say of texts what `compress predict` says; and that what is wrong is a
status and one line, whatever the folder holds. usage: c_test.py CLASSIFY EMBED LIBRARY COMPRESS GOLDENS"""
import ctypes
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading

CLASSIFY, EMBED, LIBRARY, COMPRESS, GOLDENS = sys.argv[1:]
TINY, SENTENCES = os.path.join(GOLDENS, "model/tiny"), os.path.join(GOLDENS, "sentence/model")
TEXTS = ["the quick brown fox", "of the CAFÉ", "and and and"]
sys.path.insert(0, os.path.dirname(EMBED))
import embed  # noqa: E402


def out_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def expect(found, wanted, what):
    if found != wanted:
        sys.exit(f"c_test: {what}: found {found!r}, expected {wanted!r}")


def texts_of(*texts):
    encoded = [text.encode() for text in texts]
    return (embed.Text * len(encoded))(*(embed.Text(text, len(text), None, 0) for text in encoded))


def check_programs():
    linked = [line.split()[0] for line in out_of("ldd", CLASSIFY).splitlines()]
    expect([name for name in linked if "torch" in name or "c10" in name], [], "libraries of classify")
    expect(out_of(CLASSIFY, TINY, *TEXTS), out_of(COMPRESS, "predict", TINY, *TEXTS), "the C program")
    wanted = [json.loads(line)["embedding"] for line in out_of(COMPRESS, "predict", SENTENCES, "--json", *TEXTS).splitlines()]
    found = [json.loads(line) for line in out_of(sys.executable, EMBED, LIBRARY, SENTENCES, "--json", *TEXTS).splitlines()]
    expect([len(vector) for vector in found], [len(vector) for vector in wanted], "lengths of vectors")
    if any(abs(x - y) > 1e-6 for own, other in zip(found, wanted) for x, y in zip(own, other)):
        sys.exit(f"c_test: found the vectors {found}, expected {wanted}")
    expect(out_of(sys.executable, EMBED, LIBRARY, SENTENCES, "a", "a", "b").splitlines()[:2], ["1.0000  a", "1.0000  a"], "cosines")
    result = subprocess.run([CLASSIFY, "/nonexistent", "a"], capture_output=True, text=True)
    expect((result.returncode, result.stdout, len(result.stderr.splitlines())), (1, "", 1), "a folder that is not there")


def check_threads(model):
    found = [None] * 4

    def work(i):
        found[i] = [model.vectors(TEXTS) for _ in range(10)][-1]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(found, [model.vectors(TEXTS)] * len(found), "vectors of several threads")


def check_errors(library, model):
    def refused(status, call, part):
        expect(call(), status, part)
        message = library.compress_error().decode()
        if part not in message or len(message.splitlines()) != 1:
            sys.exit(f"c_test: found {message!r}, expected one line with {part!r}")

    place, results = ctypes.c_void_p(), ctypes.c_void_p()
    refused(1, lambda: library.compress_load(None, None, ctypes.byref(place)), "no folder")
    refused(1, lambda: library.compress_load(SENTENCES.encode(), None, None), "no place")
    refused(1, lambda: library.compress_load(SENTENCES.encode(), (ctypes.c_size_t * 4)(8), ctypes.byref(place)), "options.size")
    refused(3, lambda: library.compress_load(b"/nonexistent", None, ctypes.byref(place)), "/nonexistent")
    refused(1, lambda: library.compress_run(None, None, 0, ctypes.byref(results)), "no model")
    refused(1, lambda: library.compress_run(model.model, None, 1, ctypes.byref(results)), "no texts")
    refused(1, lambda: library.compress_set_threads(0), "found 0")
    pair = (embed.Text * 1)(embed.Text(b"a", 1, b"b", 1))
    refused(2, lambda: library.compress_run(model.model, pair, 1, ctypes.byref(results)), "texts:1: found two texts")
    expect((place.value, results.value), (None, None), "what a call that failed leaves")
    expect(library.compress_run(model.model, None, 0, ctypes.byref(results)), 0, "no texts at all")
    expect(library.compress_result_count(results), 0, "results of no texts")
    library.compress_free_results(results)


def check_damaged(library):
    """Files with random bytes changed or cut off: opened and asked, or refused in one line."""
    chance, refused = random.Random(5), 0
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(60):
            copy = os.path.join(folder, str(round_))
            shutil.copytree(TINY, copy)
            file = os.path.join(copy, chance.choice(sorted(os.listdir(copy))))
            with open(file, "rb") as f:
                data = bytearray(f.read())
            for _ in range(chance.randrange(1, 20)):
                data[chance.randrange(min(len(data), 4096))] = chance.randrange(256)
            if round_ % 3 == 0:
                data = data[:chance.randrange(len(data))]
            with open(file, "wb") as f:
                f.write(data)
            model, results = ctypes.c_void_p(), ctypes.c_void_p()
            status = library.compress_load(copy.encode(), None, ctypes.byref(model))
            if status == 0:
                status = library.compress_run(model, texts_of("the quick"), 1, ctypes.byref(results))
            if status != 0:
                refused += 1
                message = library.compress_error()
                if status == 7 or len(message.splitlines()) != 1:
                    sys.exit(f"c_test: {file}: status {status}, found {message!r}, expected one line of what is wrong")
            library.compress_free_results(results)
            library.compress_free(model)
    if refused < 10:
        sys.exit(f"c_test: {refused} of 60 damaged folders were refused, expected 10 or more")


def main():
    check_programs()
    model = embed.Model(LIBRARY, SENTENCES)
    check_threads(model)
    check_errors(model.library, model)
    check_damaged(model.library)


main()
