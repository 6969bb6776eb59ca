"""Distillation losses, computed with PyTorch on small random tensors: writes losses.safetensors beside this script.

    python tests/goldens/distill/make_goldens.py

Needs torch, safetensors. Each loss is written out here as its paper has it, one row at a time where that is plainer.
"""
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

BATCH, LENGTH, CLASSES = 3, 7, 5
LENGTHS = (7, 4, 1)


def relation_loss(student, teacher, heads):
    """MiniLMv2 (arXiv 2012.15828), equation 5, over a text at a time without its padding."""
    rows = []
    for i, n in enumerate(LENGTHS):
        def relation(x):
            head = x[i, :n].reshape(n, heads, -1).permute(1, 0, 2)
            return torch.softmax(head @ head.mT / math.sqrt(head.shape[-1]), dim=-1)
        rows.append(F.kl_div(relation(student).log(), relation(teacher), reduction="none").sum(-1).mean(0))
    return torch.cat(rows).mean()


def over_tokens(per_token):
    return torch.cat([per_token[i, :n] for i, n in enumerate(LENGTHS)]).mean()


def attention(heads):
    maps = torch.zeros(BATCH, heads, LENGTH, LENGTH)
    for i, n in enumerate(LENGTHS):
        maps[i, :, :, :n] = torch.softmax(2 * torch.randn(heads, LENGTH, n), dim=-1)
    return maps


def over_queries(per_query):
    return torch.cat([per_query[i, :, :n].flatten() for i, n in enumerate(LENGTHS)]).mean()


def main():
    torch.manual_seed(3)
    mask = torch.zeros(BATCH, LENGTH, dtype=torch.long)
    for i, n in enumerate(LENGTHS):
        mask[i, :n] = 1
    out = {"mask": mask}
    s, t = torch.randn(BATCH, CLASSES), 2 * torch.randn(BATCH, CLASSES)
    out |= {"logits.student": s, "logits.teacher": t, "logits.mse": F.mse_loss(s, t),
            "logits.cross_entropy.2": 4 * F.cross_entropy(s / 2, torch.softmax(t / 2, -1))}
    s, t = torch.randn(BATCH, LENGTH, 8), torch.randn(BATCH, LENGTH, 8)
    out |= {"hidden.student": s, "hidden.teacher": t,
            "hidden.normalized_mse": over_tokens(F.mse_loss(s, t, reduction="none").mean(-1) / t.square().mean(-1)),
            "hidden.cosine": over_tokens(F.cosine_embedding_loss(s.reshape(-1, 8), t.reshape(-1, 8),
                                                                 torch.ones(BATCH * LENGTH), reduction="none")
                                         .reshape(BATCH, LENGTH))}
    s, t = attention(2), attention(2)
    divergence = torch.where(t > 0, t * (t.clamp_min(1e-30).log() - s.clamp_min(1e-30).log()), 0).sum(-1)
    out |= {"attention.student": s, "attention.teacher": t, "attention.kl": over_queries(divergence),
            "attention.cosine": over_queries(1 - F.cosine_similarity(s, t, dim=-1))}
    s, t = torch.randn(BATCH, LENGTH, 12), torch.randn(BATCH, LENGTH, 24)
    out |= {"relation.student": s, "relation.teacher": t, "relation.4": relation_loss(s, t, 4),
            "relation.6": relation_loss(s, t, 6)}
    student = s.clone().requires_grad_()
    relation_loss(student, t, 4).backward()
    out["relation.4.gradient"] = student.grad
    save_file({name: value.contiguous() for name, value in out.items()}, Path(__file__).parent / "losses.safetensors")
    tasks(mask)


def kl(student, teacher, t):
    return F.kl_div(F.log_softmax(student / t, -1), F.softmax(teacher / t, -1), reduction="batchmean") * t * t


def tasks(mask):
    """Losses of the tasks' logits; T = 2."""
    torch.manual_seed(4)
    out = {"mask": mask}
    s, t = torch.randn(BATCH, CLASSES), 2 * torch.randn(BATCH, CLASSES)
    out |= {"text.student": s, "text.teacher": t, "regression": F.mse_loss(s, t),
            "multi_label": 4 * F.binary_cross_entropy_with_logits(s / 2, torch.sigmoid(t / 2))}
    s, t, wide = (F.normalize(torch.randn(4, width), dim=-1) for width in (6, 6, 9))
    out |= {"embedding.student": s, "embedding.teacher": t, "embedding.wide": wide,
            "embedding": 2 * (1 - F.cosine_similarity(s, t)).mean(), "embedding.widths": F.mse_loss(s @ s.T, wide @ wide.T)}
    s, t = torch.randn(BATCH, LENGTH, CLASSES), 2 * torch.randn(BATCH, LENGTH, CLASSES)
    labels = torch.where((torch.rand(BATCH, LENGTH) < 0.5) & (mask == 1), 1, -100)
    labels[0, 0] = 2
    chosen = labels != -100
    out |= {"token.student": s, "token.teacher": t, "token.labels": labels, "token_classification": kl(s[chosen], t[chosen], 2),
            "token_classification.unlabelled": kl(s[mask == 1], t[mask == 1], 2)}
    s, t = torch.randn(BATCH, LENGTH, 2), 2 * torch.randn(BATCH, LENGTH, 2)
    each = [kl(s[i, :n, end][None], t[i, :n, end][None], 2) for i, n in enumerate(LENGTHS) for end in (0, 1)]
    out |= {"span.student": s, "span.teacher": t, "question_answering": torch.stack(each).mean(),
            "question_answering.mse": F.mse_loss(s[mask == 1], t[mask == 1])}
    save_file({name: value.contiguous() for name, value in out.items()}, Path(__file__).parent / "task_losses.safetensors")


if __name__ == "__main__":
    main()
