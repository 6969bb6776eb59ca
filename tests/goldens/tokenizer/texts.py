"""Texts to try tokenizers on."""
import random
import sys
import unicodedata

LITERALS = ["[SEP]", "[CLS]", "[MASK]", "[PAD]", "[UNK]", "[sep]", "[SEP", "##ing", "unaffable", "x" * 99, "y" * 101,
            "Hello, world!", "don't", "e-mail@example.com", "3.14", "\r", "\t", "  ", "\0"]


def _pools():
    by_category, marks = {}, []
    for code_point in range(0x110000):
        if 0xD800 <= code_point < 0xE000:
            continue
        c = chr(code_point)
        by_category.setdefault(unicodedata.category(c), []).append(c)
        if unicodedata.combining(c):
            marks.append(c)

    def span(first, last):
        return [chr(c) for c in range(first, last + 1)]

    ascii_letters = span(0x41, 0x5A) + span(0x61, 0x7A)
    weird = [span(0, 0x1F), span(0x7F, 0xA0), span(0x200B, 0x206F), span(0xFE00, 0xFE0F), span(0xFFF0, 0xFFFF)]
    scripts = [span(0xC0, 0x24F), span(0x370, 0x3FF), span(0x400, 0x52F), span(0x590, 0x5FF), span(0x600, 0x6FF),
               span(0x900, 0x97F), span(0xE00, 0xE7F), span(0x1100, 0x11FF), span(0x1E00, 0x1FFF),
               span(0x2000, 0x2BFF), span(0x3040, 0x30FF), span(0x4E00, 0x9FFF), span(0xAC00, 0xD7A3),
               span(0xF900, 0xFAFF), span(0x1D400, 0x1D7FF), span(0x1F300, 0x1FAFF), span(0x20000, 0x2FA1F)]
    everything = span(0, 0xD7FF) + span(0xE000, 0x10FFFF)
    return ([ascii_letters, ascii_letters, span(0x20, 0x7E), marks, marks, everything, LITERALS] + weird + scripts
            + list(by_category[k] for k in sorted(by_category)))


def random_lines(number, seed):
    """Lines of mixed scripts, without \\n."""
    rng = random.Random(seed)
    pools = _pools()
    lines = []
    for _ in range(number):
        chosen = rng.sample(pools, rng.randint(1, 4))
        length = rng.choice([1, 2, 3, 5, 8, 13, 21, 34, 55])
        pieces = []
        for _ in range(length):
            pieces.append(rng.choice(rng.choice(chosen)))
            if rng.random() < 0.12:
                pieces.append(" ")
        lines.append("".join(pieces).replace("\n", " "))
    return lines


def every_code_point():
    """Each code point but \\n, alone and between letters."""
    for code_point in range(sys.maxunicode + 1):
        if 0xD800 <= code_point < 0xE000 or code_point == 0x0A:
            continue
        yield chr(code_point)
        yield "a" + chr(code_point) + "b"
