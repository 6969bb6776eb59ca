#!/usr/bin/env python3
"""DeepSparse 1.8.0 on a model in int8, dense and with zeros in blocks of four inputs: beside bench/sparse.py, which times ours.

    python3 -m venv V && V/bin/pip install "deepsparse==1.8.0" "numpy<2" onnxruntime==1.18.1 "onnx<1.17" ml_dtypes   # Python 3.11
    optimum-cli export onnx --model DIR --library transformers --task feature-extraction FP32           # with optimum, in a venv of its own
    V/bin/python bench/sparse_deepsparse.py FP32/model.onnx --densities 1,0.25,0.1 [--shapes 1x16,1x128,32x128] [--threads 2] [--seconds 3]

Weights go by magnitude, without training: for timing only. int8 is static, as DeepSparse takes it: ONNX Runtime's operators on MatMul alone, with
scales that were calibrated on random tokens. Prints milliseconds a call, medians.
"""
import argparse
import os
import statistics
import tempfile
import time

import numpy
import onnx
from onnx import numpy_helper


def sparse(model, density):
    """Each weight of a MatMul [in, out], of which the blocks of four inputs with the least squares are 0."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        tensor = weights.get(node.input[1]) if node.op_type == "MatMul" else None
        if tensor is None or density >= 1:
            continue
        values = numpy_helper.to_array(tensor)
        if values.ndim != 2 or values.shape[0] % 4:
            continue
        blocks = values.reshape(-1, 4, values.shape[1])
        scores = numpy.square(blocks).sum(1)
        least = numpy.quantile(scores, 1 - density)
        tensor.CopyFrom(numpy_helper.from_array((blocks * (scores >= least)[:, None]).reshape(values.shape), tensor.name))


def inputs_of(names, shape, seed):
    batch, length = (int(part) for part in shape.split("x"))
    generator = numpy.random.default_rng(seed)
    values = {"input_ids": generator.integers(1000, 20000, (batch, length)), "attention_mask": numpy.ones((batch, length)),
              "token_type_ids": numpy.zeros((batch, length))}
    return {name: values[name].astype(numpy.int64) for name in names}


def quantized(path, out, names):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter([inputs_of(names, "4x32", seed) for seed in range(4)])

        def get_next(self):
            return next(self.left, None)

    quantize_static(path, out, Reader(), quant_format=QuantFormat.QOperator, op_types_to_quantize=["MatMul"], per_channel=False,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    model = onnx.load(out)
    model.ir_version = 8
    keep = [each for each in model.opset_import if each.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(keep)
    onnx.save(model, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--densities", default="1,0.25,0.1")
    parser.add_argument("--shapes", default="1x16,1x128,32x128")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    from deepsparse import Engine
    shapes = arguments.shapes.split(",")
    print("| DeepSparse int8 | " + " | ".join(shapes) + " |\n|---|" + "---:|" * len(shapes))
    with tempfile.TemporaryDirectory() as work:
        for density in arguments.densities.split(","):
            model = onnx.load(arguments.model)
            names = [each.name for each in model.graph.input]
            sparse(model, float(density))
            onnx.save(model, f"{work}/sparse.onnx")
            quantized(f"{work}/sparse.onnx", f"{work}/int8.onnx", names)
            cells = []
            for shape in shapes:
                feeds = list(inputs_of(names, shape, 1).values())
                engine = Engine(f"{work}/int8.onnx", batch_size=feeds[0].shape[0], num_cores=arguments.threads, num_streams=1,
                                input_shapes=[list(each.shape) for each in feeds])
                times, until = [], time.monotonic() + arguments.seconds
                while len(times) < 5 or time.monotonic() < until:
                    begin = time.perf_counter()
                    engine.run(feeds)
                    times.append((time.perf_counter() - begin) * 1e3)
                cells.append(f"{statistics.median(times[2:]):.4g}")
            print(f"| density {density} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
