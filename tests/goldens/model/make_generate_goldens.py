"""Makes generated.json beside this script, which tests/compress/generate_test.cpp reads: how transformers continues prompts of different
lengths, padded on the left, with the decoders of decoders/ (make_goldens.py), greedily.

Run with Python 3.11, torch 2.13 and transformers 5.24: python make_generate_goldens.py
"""
import json
import pathlib

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

HERE = pathlib.Path(__file__).parent
PROMPTS = [[7, 11, 13, 5, 31, 22, 6, 18, 9, 40, 12], [33], [21, 8, 8, 55, 14]]
WORDS = 12

goldens = {}
for folder in sorted(path for path in (HERE / "decoders").iterdir() if path.is_dir() and not path.name.startswith("bart")):
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    longest = max(map(len, PROMPTS))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in PROMPTS])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in PROMPTS])
    config = GenerationConfig(max_new_tokens=WORDS, do_sample=False, pad_token_id=0, eos_token_id=None, bos_token_id=None)
    model.generation_config = config
    with torch.no_grad():
        together = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, longest:].tolist()
        alone = [model.generate(input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                                generation_config=config)[0, len(prompt):].tolist() for prompt in PROMPTS]
    goldens[folder.name] = {"prompts": PROMPTS, "together": together, "alone": alone}
with open(HERE / "generated.json", "w", encoding="utf-8") as file:
    file.write(json.dumps(goldens) + "\n")
