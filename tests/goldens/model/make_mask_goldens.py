#!/usr/bin/env python3
"""Golden file of attention masks with zeros elsewhere than at the end, from transformers.

Run in a development venv with torch, transformers and safetensors, after make_goldens.py:
    python tests/goldens/model/make_mask_goldens.py
Reads the small classifiers tiny/ and families/NAME/, and writes masks.safetensors beside itself: for each model NAME.input_ids,
NAME.attention_mask and NAME.token_type_ids, NAME.logits, and NAME.states, the last hidden states, 0 where the mask is.
"""
import os

import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
LENGTH = 14
# Holes; zeros at the left; at both ends with a hole; the first token alone; nothing.
MASKS = ["11101111100110", "00011111111111", "00110111011100", "01111111111111", "00000000000000"]

golden = {}
for name in ["tiny", *sorted(d for d in os.listdir(f"{HERE}/families") if os.path.isdir(f"{HERE}/families/{d}"))]:
    path = f"{HERE}/tiny" if name == "tiny" else f"{HERE}/families/{name}"
    model = AutoModelForSequenceClassification.from_pretrained(path, attn_implementation="eager").eval()
    g = torch.Generator().manual_seed(9)
    masks = MASKS[:-1] if getattr(model.config, "classifier_pooling", "") == "mean" else MASKS  # nothing has no mean
    call = dict(input_ids=torch.randint(5, 60, (len(masks), LENGTH), generator=g),
                attention_mask=torch.tensor([[int(c) for c in mask] for mask in masks]))
    call["input_ids"][2, -2:] = model.config.pad_token_id  # of others, zeros stand for tokens
    types = torch.randint(0, max(1, getattr(model.config, "type_vocab_size", 0)), (len(masks), LENGTH), generator=g)
    if getattr(model.config, "type_vocab_size", 0) > 0:
        call["token_type_ids"] = types
    with torch.no_grad():
        out = model(**call, output_hidden_states=True)
    call["token_type_ids"] = types
    states = out.hidden_states[-1] * call["attention_mask"].unsqueeze(-1)
    golden.update({f"{name}.{k}": v.contiguous().clone() for k, v in {**call, "logits": out.logits, "states": states}.items()})
save_file(golden, f"{HERE}/masks.safetensors")
