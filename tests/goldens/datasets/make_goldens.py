#!/usr/bin/env python3
"""Writes hard CSV files and what Python's csv module reads from each.

usage: make_goldens.py        (writes beside itself; the files are committed)

NAME.csv or NAME.tsv is read by tests/datasets/goldens.cpp, which expects the examples of NAME.expected.jsonl:
{"text", "pair", "label", "line"}.
"""
import csv
import io
import json
import random
from pathlib import Path

HERE = Path(__file__).parent

HARD_TEXTS = [
    "plain", "a, comma", 'a "quoted" word', '"', '""', ",", "two\nlines", "three\n\nlines\n", "\n", "", " spaces around ",
    'ends with "', '"starts', "tab\there", "back\\slash \\n \\\"", "it's", "#no comment", "naïve café — “curly”",
    "日本語、テキスト", "😀 emoji", "crlf\r\ninside", "a lone \r return", "\u2028 separator", "e\u0301 combining", "=1+1",
    "x" * 500, ",,,,", '",",\n"', "null", "0",
]


def rows():
    for i, text in enumerate(HARD_TEXTS):
        yield text, HARD_TEXTS[-1 - i], ["good", "bad, really", 'so "so"', "0"][i % 4]
    random_source = random.Random(1)
    for _ in range(100):
        make = lambda: "".join(random_source.choice(['"', ",", "\n", "\r\n", "a", "é", " ", "😀", "'"])
                               for _ in range(random_source.randrange(12)))
        yield make(), make(), random_source.choice(["good", "bad"])


def read(path, **dialect):
    """The examples, with the line that each begins on."""
    text = path.read_bytes().decode("utf-8-sig")
    reader = csv.DictReader(io.StringIO(text, newline=""), **dialect)
    reader.fieldnames  # reads the header
    for row, line in zip(reader, begin_lines(text, **dialect)):
        yield {"text": row["text"], "pair": row["pair"], "label": row["label"], "line": line}


def begin_lines(text, **dialect):
    """The line that each record after the header begins on, from 1."""
    consumed = 0

    def lines():
        nonlocal consumed
        for line in text.split("\n"):
            consumed += 1
            yield line + "\n"

    reader, before = csv.reader(lines(), **dialect), 0
    for number, record in enumerate(reader):
        if record and number > 0:
            yield before + 1
        before = consumed


def write_golden(name, data, **dialect):
    path = HERE / name
    path.write_bytes(data)
    expected = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in read(path, **dialect))
    path.with_suffix(".expected.jsonl").write_text(expected, encoding="utf-8", newline="\n")


def as_csv(line_end, quoting=csv.QUOTE_MINIMAL, columns=("text", "pair", "label")):
    """Written with CRLF, so that fields with either of the two are put in quotes; then with `line_end`."""
    def line(values):
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator="\r\n", quoting=quoting).writerow(values)
        return out.getvalue().removesuffix("\r\n") + line_end

    examples = [dict(zip(("text", "pair", "label"), row)) for row in rows()]
    return line([*columns, "extra"]) + "".join(line([*(e[c] for c in columns), ""]) for e in examples)


def main():
    write_golden("minimal.csv", as_csv("\n").encode())
    write_golden("crlf.csv", as_csv("\r\n").encode())
    write_golden("quote_all.csv", as_csv("\r\n", csv.QUOTE_ALL).encode())
    write_golden("bom.csv", b"\xef\xbb\xbf" + as_csv("\r\n", columns=("label", "text", "pair")).encode())
    write_golden("no_last_line_end.csv", as_csv("\n").removesuffix("\n").encode())
    write_golden("by_hand.csv",
                 b'text,pair,label\n\nin"side,quotes,a\n"",,b\n  "not at the start",x,c\n\n\n"a""b"," ""c""",d\r\n"",""""," e "\n')
    write_golden("quotes_are_plain.tsv",
                 'text\tpair\tlabel\r\n"open\tan "inner" quote\tx\n"all"\t""\ty\n \t\t z\nnaïve, "\tx\ty\n'.encode(),
                 delimiter="\t", quoting=csv.QUOTE_NONE)


if __name__ == "__main__":
    main()
