#!/usr/bin/env python3
"""Golden files of what must not depend on which texts share a batch, from transformers and PyTorch in float64, one text at a time.

Run in a development venv with torch, transformers and safetensors:
    python tests/goldens/batches/make_goldens.py
Reads the small models ../model/tiny and ../model/heads/bert.TASK, and writes TASK.safetensors beside this script: texts of very
different lengths, of which one of the token tasks has no label; the loss of a step on all of them, which is the mean over all that is
labelled; its gradient; and the scores of heads, FFN units and hidden dimensions, each the sum over texts of what the gradient of the text's
own mean loss gives.
"""
import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import (AutoModel, BertForMaskedLM, BertForQuestionAnswering, BertForSequenceClassification,
                          BertForTokenClassification)

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = {"classification": (BertForSequenceClassification, "tiny"),
          "token_classification": (BertForTokenClassification, "heads/bert.token_classification"),
          "masked_lm": (BertForMaskedLM, "heads/bert.masked_lm"),
          "question_answering": (BertForQuestionAnswering, "heads/bert.question_answering"),
          "embedding": (AutoModel, "heads/bert.embedding")}
LENGTHS = (3, 4, 22, 19, 9, 5)
UNLABELLED = 0  # the text of the token tasks that has no label


def labels_of(task, classes, g):
    if task == "classification":
        return torch.randint(classes, (len(LENGTHS),), generator=g)
    if task == "embedding":
        return (torch.rand(len(LENGTHS) // 2, generator=g) * 2 - 1).repeat_interleave(2)
    if task == "question_answering":
        ends = [sorted(torch.randint(n, (2,), generator=g).tolist()) for n in LENGTHS]
        return torch.tensor(ends)
    labels = torch.full((len(LENGTHS), max(LENGTHS)), -100)
    for i, n in enumerate(LENGTHS):
        if i != UNLABELLED:
            chosen = torch.rand(n, generator=g) < 0.4
            chosen[1] = True
            labels[i, :n] = torch.where(chosen, torch.randint(classes, (n,), generator=g), -100)
    return labels


def main(task):
    kind, folder = MODELS[task]
    model = kind.from_pretrained(f"{HERE}/../model/{folder}", attn_implementation="eager").eval().double()
    base = model if task == "embedding" else model.bert
    config, layers = model.config, base.encoder.layer
    g = torch.Generator().manual_seed(5)
    ids = [torch.randint(1, config.vocab_size, (n,), generator=g) for n in LENGTHS]
    classes = config.vocab_size if task == "masked_lm" else getattr(config, "num_labels", 2)
    labels = labels_of(task, classes, g)

    def answer(i):
        """Of a text alone, without padding."""
        return model(input_ids=ids[i][None], token_type_ids=torch.zeros_like(ids[i])[None])

    def vector(i):
        return F.normalize(answer(i).last_hidden_state[0].mean(0), dim=0)

    def loss_of(i):
        """Sum and count of what a text adds to the loss; of embedding, of a pair."""
        if task == "classification":
            return F.cross_entropy(answer(i).logits[0], labels[i]), 1
        if task == "embedding":
            return (vector(i) @ vector(i + 1) - labels[i].double()).square(), 1
        if task == "question_answering":
            out = answer(i)
            both = F.cross_entropy(out.start_logits[0], labels[i, 0]) + F.cross_entropy(out.end_logits[0], labels[i, 1])
            return both / 2, 1
        own = labels[i, :LENGTHS[i]]
        return F.cross_entropy(answer(i).logits[0], own, reduction="sum"), int((own != -100).sum())

    units = range(0, len(LENGTHS), 2) if task == "embedding" else [i for i in range(len(LENGTHS)) if loss_of(i)[1] > 0]
    losses = [loss_of(i) for i in units]
    loss = sum(each for each, _ in losses) / sum(count for _, count in losses)
    loss.backward()
    query, intermediate = layers[0].attention.self.query.weight, layers[0].intermediate.dense.weight
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    golden = {"loss": loss, "gradient_norm": norm, "query": query.grad.clone(), "intermediate": intermediate.grad.clone()}

    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    masks = []

    def fresh_masks(text):
        """Masks of ones; those of `text` are variables, others' are not."""
        masks[:] = [torch.ones(n, dtype=torch.float64, requires_grad=True)
                    for _ in layers for n in (heads, config.intermediate_size)]
        masks.append(torch.ones(config.hidden_size, dtype=torch.float64, requires_grad=True))
        masked.clear()
        masked.append(text)

    masked, current = [], [None]
    on = lambda: masked and current[0] in masked
    for i, layer in enumerate(layers):
        layer.attention.output.dense.register_forward_pre_hook(
            lambda _, x, i=i: (x[0] * masks[2 * i].repeat_interleave(width),) if on() else None)
        layer.output.dense.register_forward_pre_hook(lambda _, x, i=i: (x[0] * masks[2 * i + 1],) if on() else None)
    times = lambda out: (out[0] * masks[-1], *out[1:]) if isinstance(out, tuple) else out * masks[-1]
    for module in (base.embeddings, *layers):
        module.register_forward_hook(lambda _, __, out: times(out) if on() else None)
    plain = answer

    def answer(i):  # noqa: F811
        current[0] = i
        return plain(i)

    def own_loss(i):
        if task == "embedding":
            return loss_of(i - i % 2)[0]
        total, count = loss_of(i)
        return total / count

    scores = {name: [torch.zeros(len(m)) for m in [*([0] * heads, [0] * config.intermediate_size) * len(layers), [0] * config.hidden_size]]
              for name in ("first_order", "fisher")}
    for i in range(len(LENGTHS)):
        if task in ("token_classification", "masked_lm") and i == UNLABELLED:
            continue
        fresh_masks(i)
        for g_, a, b in zip(torch.autograd.grad(own_loss(i), masks), scores["first_order"], scores["fisher"]):
            a += g_.abs().float()
            b += g_.square().float()
    for name, groups in scores.items():
        for i, each in enumerate(groups[:-1]):
            golden[f"{name}.{i}"] = each
        golden[f"{name}.hidden"] = groups[-1]

    texts = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    for i, each in enumerate(ids):
        texts[i, :len(each)] = each
    mask = torch.stack([(torch.arange(max(LENGTHS)) < n).long() for n in LENGTHS])
    golden |= {"input_ids": texts, "attention_mask": mask, "token_type_ids": torch.zeros_like(texts),
               "labels": labels.float() if task == "embedding" else labels}
    save_file({k: (v.detach().float() if v.is_floating_point() else v).contiguous().clone() for k, v in golden.items()},
              f"{HERE}/{task}.safetensors")
    print(task, float(loss), float(norm))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in MODELS:
        main(each)
