#!/usr/bin/env python3
"""Golden file of quantization: the scales that observers choose, and a static int8 linear layer in integers.

Run in a development venv with torch, numpy and safetensors:
    python tests/goldens/quantize/make_goldens.py
Writes observers.safetensors. min_max and moving_average are PyTorch's observers. The others are made here in another way than in
observer.cpp: the percentile of all values, the mean squared error of all values over a grid of limits, and the divergence of
distributions that are written out bin by bin.
"""
import os

import numpy as np
import torch
from safetensors.torch import save_file
from torch.ao.quantization.observer import MinMaxObserver, MovingAverageMinMaxObserver

HERE = os.path.dirname(os.path.abspath(__file__))
BINS, PERCENTILE = 4096, 99.0


def batches():
    """Like what LayerNorm makes (few large features), what GELU makes, and what ReLU makes; the range grows with later batches."""
    random = np.random.default_rng(7)
    norm = [random.normal(size=(40, 64)) * np.where(np.arange(64) == 5, 12.0, 1.0) * (1 + i) for i in range(3)]
    x = [random.normal(size=(40, 64)) * 2 for _ in range(3)]
    gelu = [np.asarray(torch.nn.functional.gelu(torch.tensor(t))) for t in x]
    relu = [np.maximum(random.laplace(size=(40, 64)), 0) for _ in range(3)]
    return {name: [t.astype(np.float32) for t in all] for name, all in (("norm", norm), ("gelu", gelu), ("relu", relu))}


def of_pytorch(kind, data):
    observer = kind(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric, quant_min=-127, quant_max=127)
    for t in data:
        observer(torch.tensor(t))
    return float(observer.calculate_qparams()[0])


def error(values, limit):
    step = limit / 127
    return np.mean((np.clip(np.round(values / step), -127, 127) * step - values) ** 2)


def mse(values):
    limits = np.linspace(0.005, 1, 1000) * values.max()
    errors = [error(values, limit) for limit in limits]
    return limits[int(np.argmin(errors))] / 127, min(errors)


def histogram(data):
    """Bins as observer.cpp has them: the range is the power of two above the largest value."""
    values = np.abs(np.concatenate(data)).astype(np.float64).ravel()
    top = 2.0 ** (np.floor(np.log2(values.max())) + 1)
    return np.histogram(values, bins=BINS, range=(0.0, top))[0].astype(np.float64), top / BINS


def entropy(data):
    counts, width = histogram(data)
    counts[0] = counts[1]
    found = []
    for end in range(128, BINS + 1):
        if counts[end - 1] == 0:
            continue
        inside = counts[:end]
        p = inside.copy()
        p[-1] += counts[end:].sum()
        level_of_bin = np.searchsorted(np.arange(1, 129) * end // 128, np.arange(end), side="right")
        sums = np.bincount(level_of_bin, weights=inside, minlength=128)
        occupied = np.bincount(level_of_bin, weights=inside > 0, minlength=128)
        q = np.where(inside > 0, (sums / np.maximum(occupied, 1))[level_of_bin], 0.0)
        p, q = p / p.sum(), q / q.sum()
        there = p > 0
        found.append((np.sum(p[there] * np.log(p[there] / q[there])), end))
    return min(min(found)[1] * width, np.abs(np.concatenate(data)).max()) / 127


def main():
    golden = {}
    for name, data in batches().items():
        values = np.abs(np.concatenate(data)).astype(np.float64).ravel()
        best, least = mse(values)
        scales = {
            "min_max": of_pytorch(MinMaxObserver, data),
            "moving_average": of_pytorch(MovingAverageMinMaxObserver, data),
            "percentile": np.percentile(values, PERCENTILE) / 127,
            "entropy": entropy(data),
            "mse": best,
            "mse_least": least,
        }
        golden[f"{name}.x"] = torch.tensor(np.stack(data))
        golden.update({f"{name}.{key}": torch.tensor([value], dtype=torch.float64) for key, value in scales.items()})

    random = np.random.default_rng(8)
    x = random.normal(size=(9, 33)).astype(np.float32) * 3
    weight = random.integers(-127, 128, size=(7, 33))
    weight_scale = random.uniform(0.001, 0.01, size=(7, 1)).astype(np.float32)
    bias = random.normal(size=7).astype(np.float32)
    input_scale = np.float32(0.05)  # some values are clipped
    q = np.clip(np.rint(x * (np.float32(1) / input_scale)), -128, 127).astype(np.int64)
    y = (q @ weight.T).astype(np.float64) * float(input_scale) * weight_scale[:, 0].astype(np.float64) + bias
    assert (np.abs(x / input_scale) > 128).any()
    golden.update({"linear.x": torch.tensor(x), "linear.weight": torch.tensor(weight, dtype=torch.int8),
                   "linear.weight_scale": torch.tensor(weight_scale), "linear.bias": torch.tensor(bias),
                   "linear.input_scale": torch.tensor([input_scale]), "linear.y": torch.tensor(y)})
    save_file(golden, f"{HERE}/observers.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
