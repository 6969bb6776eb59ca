"""What the tests of `compress serve` share: a server that is started and stopped, requests byte by byte, and small models for it."""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": str(min(2, len(os.sched_getaffinity(0))))}


def fail(message):
    sys.exit(f"{os.path.basename(sys.argv[0])}: {message}")


def expect(found, wanted, what):
    if found != wanted:
        fail(f"{what}: found {found!r}, expected {wanted!r}")


def expect_close(found, wanted, what, tolerance=1e-4):
    if len(found) != len(wanted) or any(not abs(x - y) <= tolerance for x, y in zip(found, wanted)):
        fail(f"{what}: found {found}, expected {wanted}")


def head_folder(goldens, place, name):
    """A model of goldens/model/heads with the tokenizer of tiny, of which it has the first rows."""
    folder = os.path.join(place, name)
    shutil.copytree(os.path.join(goldens, "model/heads", "bert." + name), folder)
    with open(os.path.join(goldens, "model/tiny/vocab.txt"), encoding="utf-8") as words:
        first = words.readlines()[:40]
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as out:
        out.writelines(first)
    return folder


def rank_folder(goldens, place):
    """The model tiny with the first of its labels alone, which scores pairs."""
    folder = os.path.join(place, "rank")
    shutil.copytree(os.path.join(goldens, "model/tiny"), folder)
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), file.read()
    for name in ("classifier.weight", "classifier.bias"):
        entry = header[name]
        begin, end = entry["data_offsets"]
        entry["data_offsets"] = [len(data), len(data) + (end - begin) // entry["shape"][0]]
        data += data[begin:begin + (end - begin) // entry["shape"][0]]
        entry["shape"][0] = 1
    used = sorted((entry for name, entry in header.items() if name != "__metadata__"), key=lambda entry: entry["data_offsets"])
    packed = b""  # without holes
    for entry in used:
        part = data[slice(*entry["data_offsets"])]
        entry["data_offsets"] = [len(packed), len(packed) + len(part)]
        packed += part
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + packed)
    edit_json(folder, "config.json", {"id2label": {"0": "fits"}, "label2id": {"fits": 0}})
    return folder


def sentence_folder(goldens, place, case):
    """A case of goldens/sentence as a folder of its name, and the vectors that sentence-transformers has of goldens/sentence's texts."""
    folder = os.path.join(place, "sentence")
    shutil.copytree(os.path.join(goldens, "sentence/model"), folder)
    with open(os.path.join(goldens, "sentence/cases.json"), encoding="utf-8") as file:
        cases = json.load(file)
    found, = [each for each in cases["cases"] if each["name"] == case]
    for name, content in found["files"].items():
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(content, file)
    return folder, cases["texts"], found["vectors"]


def edit_json(folder, name, keys):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        content = json.load(file)
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(content | keys, file)


class Server:
    def __init__(self, program, *arguments, log="off"):
        program = [program] if isinstance(program, str) else program
        self.process = subprocess.Popen([*program, *arguments, "--port", "0", "--json", "--access-log", log], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        line = self.process.stdout.readline()
        if not line:
            fail(f"the server did not start: {self.process.stderr.read()}")
        told = json.loads(line)
        self.models = told["models"]
        self.port = int(told["url"].rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def stop(self):
        """Exit code and errors of a server that is asked to stop."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            data = body if body is None or isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            return response.status, response.read(), dict(response.getheaders())

    def post(self, path, body):
        status, text, _ = self.ask("POST", path, body)
        expect(status, 200, f"the status of {path} {body}: {text[:300]}")
        return json.loads(text)

    def get(self, path):
        status, text, _ = self.ask("GET", path)
        expect(status, 200, f"the status of {path}")
        return json.loads(text)

    def raw(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def send_raw(self, data):
        """What comes back, to the end of the connection or of its first answer."""
        with self.raw() as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(data)
            return read_answer(client)


def read_answer(client):
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while True:
            head, _, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            if length and len(body) >= int(length[1]):
                break
            more = client.recv(65536)
            if not more:
                break
            received += more
    return received


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def request_of(path, body, headers=""):
    data = json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(data)}\r\n{headers}\r\n".encode() + data
