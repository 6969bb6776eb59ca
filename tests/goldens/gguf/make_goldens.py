"""Makes the goldens of tests/compress/gguf_test.cpp, in this folder.

Run with Python 3.11, numpy, torch, safetensors 0.8 and gguf 0.19:  python make_goldens.py
"""

from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent
TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def random_blocks(kind, rows, columns, random):
    """Any bits, with scales that are finite: those of the first block are subnormal, those of the second zero."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (rows * columns // block, size), dtype=np.uint8)
    for at in SCALES[kind.name]:
        scales = random.standard_normal(len(blocks)).astype(np.float16)
        scales[:2] = [3e-7, 0]
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def main():
    random = np.random.default_rng(17)
    writer = gguf.GGUFWriter(HERE / "types.gguf", "llama")
    values = {"uint8": 200, "int8": -100, "uint16": 60000, "int16": -30000, "uint32": 4000000000, "int32": -2000000000,
              "uint64": 2**64 - 1, "int64": -2**63, "float32": 1.5, "float64": 0.1, "bool": True}
    for name, value in values.items():
        getattr(writer, f"add_{name}")(f"test.{name}", value)
    writer.add_string("test.string", "größe 漢字")
    writer.add_array("test.strings", ["a", "", "ü"])
    writer.add_array("test.numbers", [1, -2, 3])
    writer.add_array("test.floats", [0.5, -1.25])
    writer.add_array("test.bools", [True, False])
    expected = {}
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        if name in ("F32", "F16"):
            data = random.standard_normal((3, 5)).astype(np.dtype(name.lower().replace("f", "float")))
            writer.add_tensor(name, data)
            expected[name] = data.astype(np.float32)
            continue
        rows, columns = 3, 512
        if name == "BF16":
            data = gguf.quants.quantize(random.standard_normal((rows, columns)).astype(np.float32), kind)
        else:
            data = random_blocks(kind, rows, columns, random)
        writer.add_tensor(name, data, raw_dtype=kind)
        expected[name] = gguf.quants.dequantize(data, kind)
    writer.add_tensor("vector", np.arange(7, dtype=np.float32))
    expected["vector"] = np.arange(7, dtype=np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in expected.items()}, HERE / "types.safetensors")


if __name__ == "__main__":
    main()
