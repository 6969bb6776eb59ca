#!/usr/bin/env python3
"""Asks a server with a model of each kind what schemathesis makes of its own OpenAPI page.
usage: openapi_test.py COMPRESS_SERVE GOLDENS SECONDS"""
import os
import subprocess
import sys
import tempfile

from serving import Server, expect, fail, head_folder, rank_folder, sentence_folder

PROGRAM, GOLDENS, SECONDS = sys.argv[1:]
HERE = os.path.dirname(os.path.abspath(__file__))

with tempfile.TemporaryDirectory() as place:
    folders = [sentence_folder(GOLDENS, place, "a default prompt")[0], os.path.join(GOLDENS, "model/tiny"), rank_folder(GOLDENS, place)]
    folders += [head_folder(GOLDENS, place, name) for name in ("token_classification", "question_answering", "masked_lm")]
    with Server(PROGRAM, *folders) as server:
        command = [os.path.join(os.path.dirname(sys.executable), "schemathesis"), "--config-file", os.path.join(HERE, "schemathesis.toml"), "run",
                   f"http://127.0.0.1:{server.port}/openapi.json", "--max-time", SECONDS, "--continue-on-failure"]
        if subprocess.run(command, cwd=place, check=False).returncode != 0:
            fail("schemathesis: see above")
        expect(server.stop(), (0, ""), "the end")
