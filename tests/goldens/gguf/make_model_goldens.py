"""Makes model_*.gguf, in this folder: decoders of ../model/decoders as llama.cpp's conversion writes them.

Run with Python 3.11, numpy, safetensors 0.8 and gguf 0.19:  python make_model_goldens.py
"""

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

HERE = Path(__file__).parent
MODELS = {"llama": gguf.MODEL_ARCH.LLAMA, "gemma3": gguf.MODEL_ARCH.GEMMA3}


def turned(weight, heads):
    """Rows of a projection whose rotary positions turn neighbours, not halves."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def main(name, kind):
    folder = HERE.parent / "model" / "decoders" / name
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(HERE / f"model_{name}.gguf", gguf.MODEL_ARCH_NAMES[kind])
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    theta = config["rope_parameters"]
    writer.add_rope_freq_base(theta.get("full_attention", theta)["rope_theta"])
    if name == "gemma3":
        writer.add_key_length(config["head_dim"])
        writer.add_sliding_window(config["sliding_window"])
    names = gguf.get_tensor_name_map(kind, config["num_hidden_layers"])
    for tensor, weight in load_file(folder / "model.safetensors").items():
        if name == "gemma3" and tensor.endswith("norm.weight"):
            weight = weight + 1
        for projection, count in (("q_proj", heads), ("k_proj", kv_heads)):
            if name == "llama" and projection in tensor:
                weight = turned(weight, count)
        writer.add_tensor(names.get_name(tensor, try_suffixes=(".weight", ".bias")), weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def blocks():
    """A Llama of one layer whose matrices are in blocks of 4 bits, its words in 8."""
    writer = gguf.GGUFWriter(HERE / "model_blocks.gguf", "llama")
    for add, value in ((writer.add_context_length, 64), (writer.add_embedding_length, 32), (writer.add_block_count, 1),
                       (writer.add_feed_forward_length, 64), (writer.add_head_count, 4), (writer.add_head_count_kv, 4),
                       (writer.add_layer_norm_rms_eps, 1e-6)):
        add(value)
    random = np.random.default_rng(17)
    matrices = {"attn_q": (32, 32), "attn_k": (32, 32), "attn_v": (32, 32), "attn_output": (32, 32), "ffn_gate": (64, 32),
                "ffn_up": (64, 32), "ffn_down": (32, 64)}
    for name, shape in [("token_embd", (40, 32)), *((f"blk.0.{name}", shape) for name, shape in matrices.items())]:
        kind = gguf.GGMLQuantizationType.Q8_0 if name == "token_embd" else gguf.GGMLQuantizationType.Q4_0
        numbers = random.standard_normal(shape).astype(np.float32)
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(numbers, kind), raw_dtype=kind)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    blocks()
    for each, architecture in MODELS.items():
        main(each, architecture)
