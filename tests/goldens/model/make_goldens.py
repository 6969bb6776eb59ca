#!/usr/bin/env python3
"""Golden files of the model, of distillation losses and of importance scores, from transformers and PyTorch.

Run in a development venv with torch, transformers and safetensors:
    python tests/goldens/model/make_goldens.py [models/all-MiniLM-L6-v2 [models/all-mpnet-base-v2]]
Writes beside itself families/NAME/ and families/NAME.safetensors (a random small classifier of each model family, with odd
options, and what it gives), decoders/NAME/ and decoders/NAME.safetensors (the same of decoders, and of those behind an encoder), heads/FAMILY.TASK/ and heads/FAMILY.TASK.safetensors (the same with the other tasks' heads); and with the argument tiny/ (a random 3-layer BERT classifier as transformers saves it),
tiny.safetensors (inputs and what the tiny model, losses and importance give), minilm.safetensors (a head for all-MiniLM-L6-v2
and the logits it gives); with the second mpnet.safetensors (texts, and what all-mpnet-base-v2 makes of them).
"""
import os
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import (AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForQuestionAnswering,
                          AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer, BertConfig,
                          BertForSequenceClassification, BertModel)

HERE = os.path.dirname(os.path.abspath(__file__))


def inputs(vocabulary, batch, length, seed):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, vocabulary, (batch, length), generator=g)
    lengths = torch.randint(3, length + 1, (batch,), generator=g)
    lengths[0] = length
    mask = (torch.arange(length)[None] < lengths[:, None]).long()
    types = ((torch.arange(length)[None] * 2 > lengths[:, None]) & (mask == 1)).long()
    return ids * mask, mask, types


def tiny():
    torch.manual_seed(7)
    config = BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
                        max_position_embeddings=40, num_labels=3, id2label={0: "a", 1: "b", 2: "c"},
                        label2id={"a": 0, "b": 1, "c": 2}, initializer_range=0.2)
    model = BertForSequenceClassification(config).eval()
    model.set_attn_implementation("eager")
    for p in model.parameters():  # biases and LayerNorm away from 0 and 1, so that an error in them shows
        if p.dim() == 1:
            p.data += 0.1 * torch.randn_like(p)
    model.save_pretrained(f"{HERE}/tiny")
    with open(f"{HERE}/tiny/vocab.txt", "w") as f:
        f.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [chr(c) for c in range(97, 123)]
                          + ["##" + chr(c) for c in range(97, 123)] + ["the", "and", "of", "in", "to", "is", "it"]) + "\n")
    ids, mask, types = inputs(64, 6, 12, 1)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True, output_attentions=True)
    golden = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "labels": labels, "logits": out.logits}
    golden.update({f"hidden_states.{i}": h for i, h in enumerate(out.hidden_states)})
    golden.update({f"attentions.{i}": a for i, a in enumerate(out.attentions)})

    # Distillation losses, as their papers and torch.nn.functional define them.
    other = torch.randn(6, 3, generator=torch.Generator().manual_seed(3)) * 2
    golden["loss.teacher_logits"] = other
    for t in (1.0, 2.0, 5.0):
        golden[f"loss.logits.{t:g}"] = F.kl_div(F.log_softmax(out.logits / t, -1), F.softmax(other / t, -1),
                                                reduction="batchmean") * t * t
    h1, h2 = out.hidden_states[1], out.hidden_states[3]
    golden["loss.hidden"] = F.mse_loss(h1[mask.bool()], h2[mask.bool()])
    a1, a2 = out.attentions[0], out.attentions[2]
    pairs = (mask[:, None, :, None] * mask[:, None, None, :]).expand_as(a1).bool()
    golden["loss.attentions"] = F.mse_loss(a1[pairs], a2[pairs])

    # First-order importance over two batches: |dLoss/dmask| of each, summed.
    layers, head, masks, hooks = model.bert.encoder.layer, 8, [], []
    for layer in layers:
        h, f = torch.ones(4, requires_grad=True), torch.ones(48, requires_grad=True)
        masks += [h, f]
        hooks.append(layer.attention.output.dense.register_forward_pre_hook(
            lambda _, x, h=h: (x[0] * h.repeat_interleave(head),)))
        hooks.append(layer.output.dense.register_forward_pre_hook(lambda _, x, f=f: (x[0] * f,)))
    totals = [torch.zeros_like(m) for m in masks]
    for rows in (slice(0, 3), slice(3, 6)):
        loss = F.cross_entropy(model(input_ids=ids[rows], attention_mask=mask[rows], token_type_ids=types[rows]).logits, labels[rows])
        for total, gradient in zip(totals, torch.autograd.grad(loss, masks)):
            total += gradient.abs()
    for hook in hooks:
        hook.remove()
    for i in range(3):
        golden[f"importance.heads.{i}"], golden[f"importance.intermediate.{i}"] = totals[2 * i], totals[2 * i + 1]

    # Ten steps of AdamW with clipping, warm-up and linear decay in fp32 without dropout.
    model.train()
    for m in model.modules():
        if isinstance(m, torch.nn.Dropout):
            m.p = 0.0
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}], lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: s / 2 if s < 2 else max(0.0, (10 - s) / 8))
    for _ in range(10):
        F.cross_entropy(model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits, labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(), schedule.step(), optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        golden["trained.logits"] = model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
    save_file({k: v.detach().contiguous().clone() for k, v in golden.items()}, f"{HERE}/tiny.safetensors")


def minilm(path):
    encoder = BertModel.from_pretrained(path, attn_implementation="eager").eval()
    ids, mask, types = inputs(30522, 4, 48, 2)
    g = torch.Generator().manual_seed(5)
    weight, bias = torch.randn(5, 384, generator=g) * 0.1, torch.randn(5, generator=g) * 0.1
    with torch.no_grad():
        out = encoder(input_ids=ids, attention_mask=mask, token_type_ids=types)
        logits = F.linear(out.pooler_output, weight, bias)
    save_file({"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "weight": weight, "bias": bias, "logits": logits,
               "last_hidden_state": out.last_hidden_state[:, :4].contiguous()}, f"{HERE}/minilm.safetensors")


MODERN = dict(pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2)  # in the small vocabularies
FAMILIES = {  # name: model type, and the options that are not the family's defaults
    "roberta": ("roberta", dict(pad_token_id=3, type_vocab_size=1, classifier_dropout=0.3, layer_norm_eps=1e-5, hidden_act="gelu_new")),
    "xlm-roberta": ("xlm-roberta", dict(type_vocab_size=2)),
    "distilbert": ("distilbert", dict(activation="relu", pad_token_id=2)),
    "electra": ("electra", dict(embedding_size=12)),
    "electra_square": ("electra", dict(embedding_size=24)),
    "albert": ("albert", dict(embedding_size=12, num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2)),
    "albert_one": ("albert", dict(embedding_size=24, num_hidden_layers=3, hidden_act="gelu")),
    "mpnet": ("mpnet", dict(relative_attention_num_buckets=33, max_position_embeddings=160)),
    "deberta-v2": ("deberta-v2", dict(  # the options of v3
        relative_attention=True, position_buckets=16, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p",
        position_biased_input=False, max_position_embeddings=160)),
    "deberta-v2_own": ("deberta-v2", dict(
        relative_attention=True, pos_att_type=["c2p"], type_vocab_size=2, max_relative_positions=20, pooler_hidden_act="tanh",
        pooler_dropout=0.2)),
    "deberta-v2_p2c": ("deberta-v2", dict(relative_attention=True, pos_att_type=["p2c"], position_buckets=6, cls_dropout=0.2)),
    "deberta-v2_absolute": ("deberta-v2", dict(type_vocab_size=1)),
    "modernbert": ("modernbert", dict(**MODERN, num_hidden_layers=4, local_attention=8, classifier_dropout=0.2)),
    "modernbert_biases": ("modernbert", dict(**MODERN, norm_bias=True, attention_bias=True, mlp_bias=True, classifier_bias=True,
                                             classifier_pooling="mean", hidden_activation="silu", layer_types=[
                                                 "sliding_attention", "full_attention"], local_attention=6)),
}


def family(name, model_type, options):
    torch.manual_seed(11)
    sizes = dict(vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
                 max_position_embeddings=32, initializer_range=0.2)
    if model_type == "distilbert":
        sizes = {{"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
                  "intermediate_size": "hidden_dim"}.get(k, k): v for k, v in sizes.items()}
    config = AutoConfig.for_model(model_type, **{**sizes, **options}, id2label={0: "a", 1: "b", 2: "c"},
                                  label2id={"a": 0, "b": 1, "c": 2})
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    for p in model.parameters():
        if p.dim() == 1:
            p.data += 0.1 * torch.randn_like(p)
    model.save_pretrained(f"{HERE}/families/{name}")
    ids, mask, types = inputs(60, 4, min(140, config.max_position_embeddings - 8), 1)
    ids = torch.where(mask == 1, ids, config.pad_token_id)
    call = dict(input_ids=ids, attention_mask=mask)
    if getattr(config, "type_vocab_size", 0) > 1:
        call["token_type_ids"] = types
    labels = torch.tensor([0, 1, 2, 0])
    out = model(**call, output_hidden_states=True, output_attentions=True)
    real = mask.unsqueeze(-1)
    loss = F.cross_entropy(out.logits, labels) + sum((h * real).square().mean() for h in out.hidden_states[-2:])
    loss.backward()
    golden = {**call, "labels": labels, "logits": out.logits, "loss": loss}
    golden.update({f"hidden_states.{i}": (h * real)[:, :8] for i, h in enumerate(out.hidden_states)})
    pairs = (mask[:, None, :, None] * mask[:, None, None, :])
    golden.update({f"attentions.{i}": (a * pairs)[:2, :, :12, :12] for i, a in enumerate(out.attentions)})
    for n, p in model.named_parameters():
        if p.grad is not None:  # two numbers that an error would change
            g = p.grad.double().flatten()
            golden[f"gradient.{n}"] = torch.stack([g.norm(), g @ torch.arange(len(g)).double().cos()])
    save_file({k: v.detach().contiguous().clone() for k, v in golden.items()}, f"{HERE}/families/{name}.safetensors")


DECODERS = {  # name: model type, and options
    "llama": ("llama", dict(num_key_value_heads=2, rope_theta=1000.0)),
    "llama_tied": ("llama", dict(num_key_value_heads=4, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)),
    "qwen2": ("qwen2", dict(num_key_value_heads=1, tie_word_embeddings=True)),
    "qwen3": ("qwen3", dict(num_key_value_heads=2, head_dim=10, tie_word_embeddings=False)),
    "gpt2": ("gpt2", dict()),
    "mpt": ("mpt", dict()),
    "mpt_six": ("mpt", dict(n_heads=6)),
    "mistral": ("mistral", dict(num_key_value_heads=2, sliding_window=5, head_dim=6)),
    "opt": ("opt", dict()),
    "opt_after": ("opt", dict(do_layer_norm_before=False, enable_bias=False)),
    "gpt2_inner": ("gpt2", dict(n_inner=40, activation_function="relu")),
    "gemma2": ("gemma2", dict(num_key_value_heads=2, head_dim=6, query_pre_attn_scalar=9, num_hidden_layers=3, sliding_window=4,
                              attn_logit_softcapping=4.0, final_logit_softcapping=3.0)),
    "gemma3": ("gemma3_text", dict(num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=8, num_hidden_layers=6, sliding_window=5)),
    "gemma3_own": ("gemma3_text", dict(num_key_value_heads=1, head_dim=6, query_pre_attn_scalar=7, attention_bias=True, tie_word_embeddings=False,
                                       sliding_window=5, layer_types=["full_attention", "sliding_attention"], rope_parameters={
                                           "full_attention": {"rope_type": "default", "rope_theta": 1000.0},
                                           "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}})),
}


def decoder(name, model_type, options):
    torch.manual_seed(17)
    sizes = dict(vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
                 max_position_embeddings=32, initializer_range=0.2, pad_token_id=None, bos_token_id=1, eos_token_id=2)
    if model_type == "gpt2":
        sizes = {{"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head",
                  "max_position_embeddings": "n_positions"}.get(k, k): v for k, v in sizes.items() if k != "intermediate_size"}
    if model_type == "mpt":
        sizes = {{"hidden_size": "d_model", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
                  "max_position_embeddings": "max_seq_len"}.get(k, k): v for k, v in sizes.items() if k != "intermediate_size"}
    if model_type == "opt":
        sizes = {{"intermediate_size": "ffn_dim", "initializer_range": "init_std"}.get(k, k): v for k, v in sizes.items()} | dict(
            word_embed_proj_dim=24, pad_token_id=1)
    config = AutoConfig.for_model(model_type, **{**sizes, **options})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for p in model.parameters():
        if p.dim() == 1:
            p.data += 0.1 * torch.randn_like(p)
    model.save_pretrained(f"{HERE}/decoders/{name}")
    ids, mask, _ = inputs(60, 4, 20, 1)
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=mask, labels=torch.where(mask == 1, ids, -100))
    golden = {"input_ids": ids, "attention_mask": mask, "logits": out.logits * mask.unsqueeze(-1), "loss": out.loss}
    save_file({k: v.detach().contiguous().clone() for k, v in golden.items()}, f"{HERE}/decoders/{name}.safetensors")


ENCODER_DECODERS = {  # name: model type, and options
    "bart": ("bart", dict()),
    "bart_scaled": ("bart", dict(scale_embedding=True, activation_function="relu", decoder_layers=1)),
}


def encoder_decoder(name, model_type, options):
    torch.manual_seed(19)
    sizes = dict(vocab_size=60, d_model=24, encoder_layers=2, decoder_layers=3, encoder_attention_heads=4,
                 decoder_attention_heads=3, encoder_ffn_dim=40, decoder_ffn_dim=28, max_position_embeddings=32, init_std=0.2)
    config = AutoConfig.for_model(model_type, **{**sizes, **options})
    model = AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager").eval()
    for p in model.parameters():
        if p.dim() == 1:
            p.data += 0.1 * torch.randn_like(p)
    model.save_pretrained(f"{HERE}/decoders/{name}")
    ids, mask, _ = inputs(60, 4, 20, 1)
    decoder_ids, decoder_mask, _ = inputs(60, 4, 9, 2)  # what is made, behind the token that it begins with
    decoder_ids[:, 0] = config.decoder_start_token_id
    call = dict(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder_ids, decoder_attention_mask=decoder_mask)
    following = torch.nn.functional.pad(torch.where(decoder_mask == 1, decoder_ids, -100)[:, 1:], (0, 1), value=-100)
    with torch.no_grad():
        out = model(**call, labels=following)
    golden = {**call, "logits": out.logits * decoder_mask.unsqueeze(-1), "loss": out.loss}
    save_file({k: v.detach().contiguous().clone() for k, v in golden.items()}, f"{HERE}/decoders/{name}.safetensors")


def mpnet(path):
    encoder = AutoModel.from_pretrained(path, attn_implementation="eager").eval()
    texts = ["A short text.", "Which flights go from Boston to Denver on a Monday morning, and what do they cost?", "word",
             " ".join(f"Sentence {i} of a long text that goes on beyond the buckets of relative positions." for i in range(14))]
    call = AutoTokenizer.from_pretrained(path)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = encoder(input_ids=call.input_ids, attention_mask=call.attention_mask).last_hidden_state
    states = states * call.attention_mask.unsqueeze(-1)
    save_file({"input_ids": call.input_ids, "attention_mask": call.attention_mask, "first_states": states[:, :4].contiguous(),
               "every_48th": states[:, :, ::48].contiguous()}, f"{HERE}/mpnet.safetensors")


HEADS = {"token_classification": AutoModelForTokenClassification, "question_answering": AutoModelForQuestionAnswering,
         "masked_lm": AutoModelForMaskedLM, "embedding": AutoModel}


def head(model_type, task):
    """A very small model of a family with a task's head, its logits and its loss."""
    torch.manual_seed(13)
    sizes = dict(vocab_size=40, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                 max_position_embeddings=24, initializer_range=0.3)
    if model_type == "distilbert":
        sizes = {{"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
                  "intermediate_size": "hidden_dim"}.get(k, k): v for k, v in sizes.items()}
    options = {"electra": dict(embedding_size=8), "albert": dict(embedding_size=8), "roberta": dict(type_vocab_size=1, hidden_act="relu"),
               "deberta-v2": dict(relative_attention=True, pos_att_type="p2c|c2p", position_buckets=8, share_att_key=True),
               "modernbert": dict(**MODERN, local_attention=4, num_hidden_layers=2)}
    labels = dict(id2label={0: "B-X", 1: "I-X", 2: "O"}, label2id={"B-X": 0, "I-X": 1, "O": 2}) if task == "token_classification" else {}
    config = AutoConfig.for_model(model_type, **{**sizes, **options.get(model_type, {})}, **labels)
    model = HEADS[task].from_config(config, attn_implementation="eager").eval()
    for p in model.parameters():
        if p.dim() == 1:
            p.data += 0.1 * torch.randn_like(p)
    path = f"{HERE}/heads/{model_type}.{task}"
    model.save_pretrained(path)
    ids, mask, types = inputs(40, 4, 10, 3)
    ids = torch.where(mask == 1, ids, config.pad_token_id)
    call = dict(input_ids=ids, attention_mask=mask)
    if getattr(config, "type_vocab_size", 0) > 1:
        call["token_type_ids"] = types
    g = torch.Generator().manual_seed(4)
    with torch.no_grad():
        if task == "question_answering":
            at = torch.stack([torch.zeros(4, dtype=torch.long), mask.sum(1) - 1], 1)
            out = model(**call)
            golden = {"labels": at, "logits": torch.stack([out.start_logits, out.end_logits], -1)}
            alone = [model(**{k: v[i:i + 1, :mask[i].sum()] for k, v in call.items()}, start_positions=at[i:i + 1, 0],
                           end_positions=at[i:i + 1, 1]).loss for i in range(4)]  # without padding
            golden["loss"] = torch.stack(alone).mean()
        elif task == "embedding":  # as sentence-transformers' Pooling (mean) and Normalize compute it
            hidden, real = model(**call).last_hidden_state, mask.unsqueeze(-1).float()
            golden = {"logits": F.normalize((hidden * real).sum(1) / real.sum(1).clamp(min=1e-9), p=2, dim=1)}
        else:
            count = 3 if task == "token_classification" else 40
            chosen = torch.where((torch.rand(ids.shape, generator=g) < 0.5) & (mask == 1), torch.randint(count, ids.shape, generator=g), -100)
            chosen[:, 0] = -100
            chosen[0, 1] = 2
            out = model(**call, labels=chosen)
            golden = {"labels": chosen, "logits": out.logits, "loss": out.loss}
    save_file({k: v.detach().contiguous().clone() for k, v in {**call, **golden}.items()}, f"{path}.safetensors")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        tiny()
        minilm(sys.argv[1])
    if len(sys.argv) > 2:
        mpnet(sys.argv[2])
    for each, (kind, odd) in FAMILIES.items():
        family(each, kind, odd)
    for each, (kind, odd) in DECODERS.items():
        decoder(each, kind, odd)
    for each, (kind, odd) in ENCODER_DECODERS.items():
        encoder_decoder(each, kind, odd)
    for kind in ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "albert", "mpnet", "deberta-v2", "modernbert"):
        for each in HEADS:
            head(kind, each)
