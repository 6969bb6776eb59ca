#!/usr/bin/env python3
"""Golden files of pruning: scores, and what reconstruction makes of the weights that are left, from transformers and PyTorch.

Run in a development venv with torch, transformers and safetensors:
    python tests/goldens/prune/make_goldens.py
Reads the small classifier ../model/tiny and its inputs, and writes scores.safetensors (every score over the batches of texts 0 to 2
and 3 to 5), hidden.safetensors (those of hidden dimensions) and reconstruct.safetensors (the weights that read the units which stay, fitted by torch.linalg.lstsq).
"""
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
HEADS, WIDTH, UNITS = 4, 8, 48
TEMPERATURE = 2.0
DAMPING = 1e-2
# Heads and FFN units that stay, a pair a layer.
KEPT = [([0, 3], list(range(0, 48, 3))), ([2], list(range(5, 45, 2))), ([1, 2, 3], [7, 8, 30])]


def load():
    model = BertForSequenceClassification.from_pretrained(f"{HERE}/../model/tiny", attn_implementation="eager").eval()
    return model, load_file(f"{HERE}/../model/tiny.safetensors")


def scores():
    model, data = load()
    layers = model.bert.encoder.layer
    texts = {k: data[k] for k in ("input_ids", "attention_mask", "token_type_ids")}
    masks = []
    for layer in layers:
        pair = torch.ones(HEADS, requires_grad=True), torch.ones(UNITS, requires_grad=True)
        masks += pair
        layer.attention.output.dense.register_forward_pre_hook(lambda _, x, h=pair[0]: (x[0] * h.repeat_interleave(WIDTH),))
        layer.output.dense.register_forward_pre_hook(lambda _, x, f=pair[1]: (x[0] * f,))
    logits = lambda rows: model(**{k: t[rows] for k, t in texts.items()}).logits
    on_labels = lambda rows: F.cross_entropy(logits(rows), data["labels"][rows])
    teacher = data["loss.teacher_logits"]
    on_teacher = lambda rows: F.cross_entropy(logits(rows) / TEMPERATURE, F.softmax(teacher[rows] / TEMPERATURE, -1))

    def by_masks(loss, batches, strength):
        total = [torch.zeros_like(m) for m in masks]
        for rows in batches:
            for t, g in zip(total, torch.autograd.grad(loss(rows), masks)):
                t += strength(g)
        return total

    def weights(layer):
        a = layer.attention
        heads = [t for m in (a.self.query, a.self.key, a.self.value) for t in (m.weight, m.bias)]
        return [(heads, a.output.dense.weight, HEADS), ([layer.intermediate.dense.weight, layer.intermediate.dense.bias],
                                                        layer.output.dense.weight, UNITS)]

    def by_unit(rows, column, count):
        """The numbers of each unit, a row a unit."""
        parts = [t.reshape(count, -1) for t in rows] + [column.T.reshape(count, -1)]
        return torch.cat(parts, 1)

    def taylor(batches):
        groups = [g for layer in layers for g in weights(layer)]
        total = [torch.zeros(count) for _, _, count in groups]
        for batch in batches:
            model.zero_grad()
            on_labels(batch).backward()
            for t, (rows, column, count) in zip(total, groups):
                product = by_unit(rows, column, count) * by_unit([r.grad for r in rows], column.grad, count)
                t += product.sum(1).abs().detach()
        return total

    halves, singles = [slice(0, 3), slice(3, 6)], [slice(i, i + 1) for i in range(6)]
    every = {
        "first_order.teacher": by_masks(on_teacher, halves, torch.abs),
        "fisher": by_masks(on_labels, halves, torch.square),
        "first_order.per_text": by_masks(on_labels, singles, torch.abs),
        "fisher.per_text": by_masks(on_labels, singles, torch.square),
        "taylor": taylor(halves),
        "magnitude": [by_unit(*g).norm(dim=1) for layer in layers for g in weights(layer)],
    }
    golden = {f"{name}.{i}": t.detach().clone() for name, groups in every.items() for i, t in enumerate(groups)}
    save_file(golden, f"{HERE}/scores.safetensors")


def hidden():
    """Scores of hidden dimensions, by a mask of the embeddings' and all layers' outputs."""
    model, data = load()
    bert, width = model.bert, model.config.hidden_size
    mask = torch.ones(width, requires_grad=True)
    masked = lambda _, __, out: (out[0] * mask, *out[1:]) if isinstance(out, tuple) else out * mask
    for module in (bert.embeddings, *bert.encoder.layer):
        module.register_forward_hook(masked)
    texts = {k: data[k] for k in ("input_ids", "attention_mask", "token_type_ids")}

    def gradient(rows):
        logits = model(**{k: t[rows] for k, t in texts.items()}).logits
        return torch.autograd.grad(F.cross_entropy(logits, data["labels"][rows]), mask)[0]

    halves, singles = [slice(0, 3), slice(3, 6)], [slice(i, i + 1) for i in range(6)]
    squares = torch.zeros(width)

    def add(weight, dimension):
        squares.add_(weight.detach().square().transpose(0, dimension).flatten(1).sum(1) if weight.dim() > 1
                     else weight.detach().square())

    for table in (bert.embeddings.word_embeddings, bert.embeddings.position_embeddings, bert.embeddings.token_type_embeddings):
        add(table.weight, 1)
    norms, readers, makers = [bert.embeddings.LayerNorm], [bert.pooler.dense, model.classifier], [bert.pooler.dense]
    for layer in bert.encoder.layer:
        a = layer.attention
        norms += [a.output.LayerNorm, layer.output.LayerNorm]
        readers += [a.self.query, a.self.key, a.self.value, layer.intermediate.dense]
        makers += [a.output.dense, layer.output.dense]
    for norm in norms:
        add(norm.weight, 0), add(norm.bias, 0)
    for linear in readers:
        add(linear.weight, 1)
    for linear in makers:
        add(linear.weight, 0), add(linear.bias, 0)
    save_file({"first_order": sum(gradient(rows).abs() for rows in halves),
               "fisher": sum(gradient(rows).square() for rows in halves),
               "first_order.per_text": sum(gradient(rows).abs() for rows in singles),
               "magnitude": squares.sqrt()}, f"{HERE}/hidden.safetensors")


def fit(inputs, outputs, weight, bias):
    """Rows are weighted already; the bias is the last input. min |inputs [w b] - outputs|^2 + damping x mean square x |w - weight|^2"""
    n = weight.shape[1]
    pull = (DAMPING * inputs[:, :n].square().sum(0).mean()).sqrt()
    design = torch.cat([inputs, torch.cat([pull * torch.eye(n), torch.zeros(n, 1)], 1)])
    solution = torch.linalg.lstsq(design, torch.cat([outputs, pull * weight.T]), driver="gelsd").solution
    return solution[:n].T, solution[n]


def rescale(inputs, outputs, weight, bias, width):
    n = weight.shape[1] // width
    parts = [inputs[:, i * width:(i + 1) * width] @ weight[:, i * width:(i + 1) * width].T for i in range(n)]
    design = torch.stack([p.flatten() for p in parts], 1)
    pull = (DAMPING * design.square().sum(0).mean()).sqrt()
    target = (outputs - inputs[:, -1:] * bias).flatten()
    design, target = torch.cat([design, pull * torch.eye(n)]), torch.cat([target, pull * torch.ones(n)])
    factors = torch.linalg.lstsq(design, target[:, None], driver="gelsd").solution[:, 0]
    return weight * factors.repeat_interleave(width), bias


def own_values(layer, name, made, kept, x, added):
    """Heads' results or FFN units of the layers that were fitted."""
    if name == "intermediate":
        return layer.intermediate.intermediate_act_fn(F.linear(x, *made["made"]))
    q, k, v = (F.linear(x, *made[part]).unflatten(-1, (-1, WIDTH)).transpose(1, 2) for part in ("query", "key", "value"))
    scores = q @ k.transpose(2, 3) / WIDTH ** 0.5 + added
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


@torch.no_grad()
def reconstruct():
    golden = {}
    for method in ("rescale", "least_squares", "layerwise"):
        model, data = load()
        model.double()
        mask = data["attention_mask"].bool()
        hidden = model.bert.embeddings(input_ids=data["input_ids"], token_type_ids=data["token_type_ids"])
        own = whole = hidden
        added = torch.where(mask, 0.0, torch.finfo(torch.float64).min)[:, None, None, :]
        last = len(KEPT) - 1
        for i, (layer, (heads, units)) in enumerate(zip(model.bert.encoder.layer, KEPT)):
            features = [h * WIDTH + j for h in heads for j in range(WIDTH)]
            blocks = [
                (lambda x: layer.attention.self(x, attention_mask=added)[0], features, WIDTH, layer.attention.output),
                (layer.intermediate, units, 1, layer.output),
            ]
            attention = layer.attention.self
            makers = [{"query": attention.query, "key": attention.key, "value": attention.value}, {"made": layer.intermediate.dense}]
            for name, makes, (values, kept, width, end) in zip(("heads", "intermediate"), makers, blocks):
                made = {}
                if method == "layerwise":
                    read = (lambda t: t[:, 0]) if i == last and name == "intermediate" else (lambda t: t[mask])
                    for part, linear in makes.items():
                        inputs = torch.cat([read(own), torch.ones(len(read(own)), 1)], 1)
                        made[part] = fit(inputs, read(linear(whole))[:, kept], linear.weight[kept], linear.bias[kept])
                        golden[f"layerwise.{part}.{i}.weight"], golden[f"layerwise.{part}.{i}.bias"] = (
                            t.float().contiguous() for t in made[part])
                rows = (lambda t: t[:, 0]) if i == last else (lambda t: t[mask])
                value_of = lambda x: own_values(layer, name, made, kept, x, added) if made else values(x)[..., kept]
                total = end.dense(values(whole)) + whole
                scale = 1 / (rows(total).var(-1, unbiased=False, keepdim=True) + end.LayerNorm.eps).sqrt()
                inputs = rows(value_of(own))
                inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], 1) * scale
                outputs = rows(total - own) * scale
                weight, bias = end.dense.weight[:, kept], end.dense.bias
                if method == "rescale":
                    weight, bias = rescale(inputs, outputs, weight, bias, width)
                else:
                    weight, bias = fit(inputs, outputs, weight, bias)
                whole = end.LayerNorm(total)
                own = end.LayerNorm(F.linear(value_of(own), weight, bias) + own)
                golden[f"{method}.{name}.{i}.weight"] = weight.float().contiguous()
                golden[f"{method}.{name}.{i}.bias"] = bias.float().contiguous()
        first, one, dense, classifier = own[:, 0], torch.ones(len(own), 1), model.bert.pooler.dense, model.classifier
        pooled = torch.tanh(dense(first))
        logits = classifier(pooled)
        if method == "layerwise":
            end = fit(torch.cat([first, one], 1), dense(whole[:, 0]), dense.weight, dense.bias)
            pooled = torch.tanh(F.linear(first, *end))
            end = fit(torch.cat([pooled, one], 1), classifier(torch.tanh(dense(whole[:, 0]))), classifier.weight, classifier.bias)
            logits = F.linear(pooled, *end)
        golden[f"{method}.logits"] = logits.float()
    save_file(golden, f"{HERE}/reconstruct.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    scores()
    hidden()
    torch.set_default_dtype(torch.float64)
    reconstruct()
