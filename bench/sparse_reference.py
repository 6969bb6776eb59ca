#!/usr/bin/env python3
"""SparseML's recipe for sparse transformers, re-made in PyTorch, to hold ours against at equal density and equal epochs.

    python bench/sparse_reference.py TEACHER DATA OUT --density 0.1 --epochs 19 [--block 4] [--seed 17] [--learning-rate 2e-4]

TEACHER is a BERT folder with a classifier, such as a finetune stage's; DATA holds train.jsonl and test.jsonl with text and label. The student
begins as the teacher. Weights of its blocks' matrices go by magnitude, in blocks of neighbouring inputs, on a cubic schedule that is followed at each
tenth of an epoch from 10 to 70 % of the training (GMPruningModifier), against the teacher's probabilities alone at temperature 5.5
(DistillationModifier, hardness 1), with AdamW and a rate that falls to 0; what is 0 stays 0. Needs bench/requirements.txt. Writes OUT, a folder as
transformers has it, and prints the density and test accuracy.
"""
import argparse
import copy
import json
import os
import random
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher"), parser.add_argument("data"), parser.add_argument("out")
    parser.add_argument("--density", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--block", type=int, default=4, help="neighbouring inputs that go together")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--temperature", type=float, default=5.5)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--seed", type=int, default=17)
    arguments = parser.parse_args()

    import torch
    import torch.nn.functional as F
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

    torch.manual_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.teacher)
    teacher = AutoModelForSequenceClassification.from_pretrained(arguments.teacher).eval()
    student = copy.deepcopy(teacher)
    splits = {}
    for split in ("train", "test"):
        with open(os.path.join(arguments.data, f"{split}.jsonl"), encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        ids = tokenizer([row["text"] for row in rows], truncation=True, max_length=arguments.max_length)["input_ids"]
        splits[split] = (ids, [teacher.config.label2id[str(row["label"])] for row in rows])

    def batches(split, seed=None, size=32):
        ids, labels = splits[split]
        order = list(range(len(ids)))
        if seed is not None:
            random.Random(seed).shuffle(order)
        chunks = [sorted(order[i:i + 50 * size], key=lambda k: len(ids[k])) for i in range(0, len(order), 50 * size)]
        groups = [chunk[i:i + size] for chunk in chunks for i in range(0, len(chunk), size)]
        if seed is not None:
            random.Random(seed + 1).shuffle(groups)
        for group in groups:
            x = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids[k]) for k in group], batch_first=True)
            lengths = torch.tensor([len(ids[k]) for k in group])
            yield {"input_ids": x, "attention_mask": (torch.arange(x.shape[1])[None] < lengths[:, None]).long()}, torch.tensor([labels[k] for k in group])

    layers = [module for module in student.base_model.encoder.modules() if isinstance(module, torch.nn.Linear)]
    masks = [torch.ones_like(layer.weight) for layer in layers]

    @torch.no_grad()
    def prune(density):
        for layer, mask in zip(layers, masks):
            scores = layer.weight.reshape(layer.out_features, -1, arguments.block).square().sum(-1)
            kept = scores.flatten().topk(round(density * scores.numel())).indices
            chosen = torch.zeros(scores.numel()).scatter_(0, kept, 1.0).reshape(scores.shape)
            mask.copy_(chosen.repeat_interleave(arguments.block, 1))
            layer.weight.mul_(mask)

    steps = sum(1 for _ in batches("train"))
    total = arguments.epochs * steps
    optimizer = torch.optim.AdamW(student.parameters(), lr=arguments.learning_rate, weight_decay=0.01)
    schedule = get_linear_schedule_with_warmup(optimizer, int(0.06 * total), total)
    begin, step = time.time(), 0
    first, last = 0.1 * total, 0.7 * total
    for epoch in range(arguments.epochs):
        student.train()
        for inputs, _ in batches("train", arguments.seed + epoch):
            if step % max(1, steps // 10) == 0 and step >= first:
                way = min(1.0, (step - first) / (last - first))
                prune(1.0 - (1.0 - arguments.density) * (1.0 - (1.0 - way) ** 3))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = student(**inputs).logits.float()
                with torch.no_grad():
                    wanted = teacher(**inputs).logits.float()
            t = arguments.temperature
            loss = F.kl_div(F.log_softmax(logits / t, -1), F.softmax(wanted / t, -1), reduction="batchmean") * t * t
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step(), schedule.step(), optimizer.zero_grad()
            with torch.no_grad():
                for layer, mask in zip(layers, masks):
                    layer.weight.mul_(mask)
            step += 1
    student.eval()
    with torch.inference_mode():
        right = sum((student(**inputs).logits.argmax(-1) == labels).sum().item() for inputs, labels in batches("test"))
    stay = sum(layer.weight.count_nonzero().item() for layer in layers) / sum(layer.weight.numel() for layer in layers)
    student.save_pretrained(arguments.out), tokenizer.save_pretrained(arguments.out)
    print(f"density {stay:.4f}, test accuracy {100 * right / len(splits['test'][0]):.2f} %, {time.time() - begin:.0f} s")


if __name__ == "__main__":
    main()
