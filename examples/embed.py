#!/usr/bin/env python3
"""The vectors of texts, by a model for embedding, in Python by ctypes: no package, no LibTorch. Prints how alike each text is to the first
(the cosine of their vectors), or with --json the vectors, a line each.

usage: embed.py LIBRARY FOLDER [--json] TEXT...        (LIBRARY: libcompress_runtime.so)
"""
import ctypes
import json
import math
import sys


class Text(ctypes.Structure):
    """compress_text"""
    _fields_ = [("text", ctypes.c_char_p), ("bytes", ctypes.c_size_t), ("pair", ctypes.c_char_p), ("pair_bytes", ctypes.c_size_t)]


class Model:
    """A model of a folder; may be used by several threads at once, each run() of which computes without Python's lock."""

    def __init__(self, library, folder):
        self.library = ctypes.CDLL(library)
        self.library.compress_error.restype = ctypes.c_char_p
        self.library.compress_values.restype = ctypes.POINTER(ctypes.c_float)
        self.library.compress_values.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_size_t)]
        self.library.compress_free.argtypes = self.library.compress_free_results.argtypes = [ctypes.c_void_p]
        self.library.compress_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        self.model = ctypes.c_void_p()
        self.check(self.library.compress_load(folder.encode(), None, ctypes.byref(self.model)))

    def check(self, status):
        if status != 0:
            raise ValueError(self.library.compress_error().decode(errors="replace"))

    def vectors(self, texts):
        encoded = [text.encode() for text in texts]
        array = (Text * len(encoded))(*(Text(text, len(text), None, 0) for text in encoded))
        results, count = ctypes.c_void_p(), ctypes.c_size_t()
        self.check(self.library.compress_run(self.model, array, len(encoded), ctypes.byref(results)))
        try:
            found = []
            for i in range(len(encoded)):
                values = self.library.compress_values(results, i, ctypes.byref(count))
                found.append(values[:count.value])
            return found
        finally:
            self.library.compress_free_results(results)

    def __del__(self):
        if getattr(self, "model", None):
            self.library.compress_free(self.model)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    if len(arguments) < 3:
        sys.exit(__doc__.strip())
    try:
        vectors = Model(*arguments[:2]).vectors(arguments[2:])
    except (OSError, ValueError) as error:
        sys.exit(f"embed.py: {error}")
    if "--json" in sys.argv:
        for vector in vectors:
            print(json.dumps(vector))
        return
    for text, vector in zip(arguments[2:], vectors):
        print(f"{cosine(vectors[0], vector):.4f}  {text}")


if __name__ == "__main__":
    main()
