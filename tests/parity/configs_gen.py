# SPDX-License-Identifier: Apache-2.0
"""Makes configs.json: what transformers computes for small models of every family under many configurations.

usage: configs_gen.py --out configs.json              the selection that is kept (below)
       configs_gen.py --random 200 --seed 7 --out F   as many random ones, to search for differences with build/tests/parity/test_configs F
Run it where torch and transformers are (those of `made_with`); it needs nothing else.

No weights are stored: every number of every tensor follows from the tensor's name and its place (see weight()), and so do the rows' ids, so that the C
test makes the same model and the same rows. A case keeps its config.json, the float64 logits of its rows, the L2 norm of all gradients of their mean
cross-entropy, and how many tensors and numbers the library's model has. A case that is there because a field changes the result must change it (by more than
1e-4, five times the tolerance, against the family's own case); one marked `same` must not.
"""
import argparse
import copy
import json
import os
import random
import tempfile

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForSequenceClassification

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)

MASK = (1 << 64) - 1
GONE = "gone"  # in a change: the member is left out
LABELS = {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
SIZES = dict(vocab_size=96, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, max_position_embeddings=26,
             layer_norm_eps=1e-3)
BASES = {
    "bert": dict(model_type="bert", **SIZES),
    "roberta": dict(model_type="roberta", **SIZES),
    "xlm-roberta": dict(model_type="xlm-roberta", **SIZES),
    "distilbert": dict(model_type="distilbert", vocab_size=96, dim=24, n_layers=2, n_heads=4, hidden_dim=40, max_position_embeddings=26),
    "electra": dict(model_type="electra", embedding_size=12, **SIZES),
    "mpnet": dict(model_type="mpnet", **SIZES),
    "albert": dict(model_type="albert", embedding_size=12, **{**SIZES, "num_hidden_layers": 4}),
    "deberta-v2": dict(model_type="deberta-v2", relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8, max_relative_positions=-1,
                       share_att_key=True, norm_rel_ebd="layer_norm", position_biased_input=False, **SIZES),
    "modernbert": dict(model_type="modernbert", vocab_size=96, hidden_size=24, num_hidden_layers=4, num_attention_heads=4, intermediate_size=20,
                       max_position_embeddings=26, pad_token_id=2, local_attention=6, norm_eps=1e-3),
}
ACTIVATIONS = ["gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh", "gelu_pytorch_tanh", "hardswish", "laplace",
               "leaky_relu", "linear", "mish", "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu", "sqrtsoftplus", "swish", "tanh"]
MISSING_ACTIVATION = {"distilbert": "activation", "modernbert": "hidden_activation"}

# family, change of its config, does it leave the logits as they are
KEPT = [(f, {}, True) for f in BASES]
KEPT += [("bert", {"hidden_act": a}, a == "gelu_python" or a == "gelu_10") for a in ACTIVATIONS]
KEPT += [
    ("bert", {"layer_norm_eps": 0.05}, False),
    ("bert", {"layer_norm_eps": 0.0}, False),
    ("bert", {"type_vocab_size": 1}, False),
    ("bert", {"type_vocab_size": 5}, False),
    ("bert", {"max_position_embeddings": 9}, False),
    ("bert", {"num_attention_heads": 1}, False),
    ("bert", {"num_attention_heads": 24}, False),
    ("bert", {"num_hidden_layers": 1, "intermediate_size": 7}, False),
    ("bert", {"pad_token_id": None}, True),
    ("bert", {"pad_token_id": 7}, False),
    ("bert", {"num_labels": 5, "id2label": GONE, "label2id": GONE}, False),
    ("bert", {"id2label": GONE, "label2id": GONE}, False),
    ("bert", {"num_labels": 7}, False),  # the number counts, and the names are lost
    ("bert", {"id2label": {"2": "c", "0": "a", "1": "b"}, "label2id": GONE}, True),
    ("bert", {"id2label": {"0": "a", "1": "a", "2": "a"}, "label2id": {"a": 0}}, True),
    ("bert", {"id2label": {"00": "a", "+1": "b", " 2 ": "c"}}, True),
    ("bert", {"torch_dtype": "float16", "classifier_dropout": None, "hidden_dropout_prob": 0.3, "use_cache": False, "tie_word_embeddings": False,
              "chunk_size_feed_forward": 2, "gradient_checkpointing": True, "position_embedding_type": "absolute", "pruned_heads": {},
              "problem_type": "single_label_classification", "output_hidden_states": True, "is_decoder": False, "pooler_type": "first_token_transform",
              "pooler_fc_size": 768, "directionality": "bidi", "finetuning_task": "x", "bos_token_id": 5, "architectures": ["BertForMaskedLM"],
              "transformers_version": "4.6.0", "task_specific_params": None, "initializer_range": 1.0}, True),
    ("bert", {"dtype": "bfloat16", "hidden_dropout_prob": 0, "attention_probs_dropout_prob": 1, "return_dict": False}, True),
    ("roberta", {"pad_token_id": 0}, False),
    ("roberta", {"pad_token_id": 6}, False),
    ("roberta", {"type_vocab_size": 1}, True),  # its tokenizer gives no types, and the one type is 0
    ("roberta", {"hidden_act": "relu", "layer_norm_eps": 1e-2, "classifier_dropout": 0.4}, False),
    ("xlm-roberta", {"pad_token_id": 3, "type_vocab_size": 1, "hidden_act": "silu"}, False),
    ("xlm-roberta", {"vocab_size": GONE, "layer_norm_eps": 0.02, "num_hidden_layers": 3}, False),
    ("distilbert", {"activation": "relu"}, False),
    ("distilbert", {"activation": "quick_gelu", "seq_classif_dropout": 0.5, "qa_dropout": 0, "tie_weights_": True}, False),
    ("distilbert", {"sinusoidal_pos_embds": True}, True),  # the numbers are the checkpoint's
    ("distilbert", {"pad_token_id": None}, True),
    ("distilbert", {"layer_norm_eps": 0.5}, True),  # eps is 1e-12 whatever it says
    ("distilbert", {"dim": GONE, "n_layers": GONE, "n_heads": GONE, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}, True),
    ("distilbert", {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 8}, False),  # the common words win
    ("electra", {"embedding_size": 24}, False),
    ("electra", {"embedding_size": 40, "type_vocab_size": 3}, False),
    ("electra", {"hidden_act": "relu"}, False),
    ("electra", {"summary_type": "mean", "summary_use_proj": False, "summary_activation": "tanh", "summary_last_dropout": 0.9}, True),
    ("mpnet", {"pad_token_id": 0}, True),  # positions and the padding row are 1's whatever it says
    ("mpnet", {"relative_attention_num_buckets": 40}, True),
    ("mpnet", {"max_position_embeddings": 180}, False),
    ("mpnet", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-2}, False),
    ("albert", {"num_hidden_groups": 2}, False),
    ("albert", {"inner_group_num": 2}, False),
    ("albert", {"num_hidden_groups": 2, "inner_group_num": 3}, False),
    ("albert", {"num_hidden_groups": 2, "num_hidden_layers": 5}, False),  # 0 0 0 1 1
    ("albert", {"num_hidden_groups": 3, "num_hidden_layers": 2}, False),  # 0 1, and one that is never used
    ("albert", {"embedding_size": 24, "type_vocab_size": 1}, False),
    ("albert", {"hidden_act": "gelu", "layer_norm_eps": 0.1}, False),
    ("albert", {"classifier_dropout_prob": 0.4, "gap_size": 0, "net_structure_type": 0, "num_memory_blocks": 0, "down_scale_factor": 1}, True),
    ("deberta-v2", {"position_biased_input": True}, False),
    ("deberta-v2", {"position_biased_input": GONE, "relative_attention": False}, False),
    ("deberta-v2", {"position_biased_input": True, "relative_attention": GONE, "pos_att_type": None, "norm_rel_ebd": GONE}, False),
    ("deberta-v2", {"position_biased_input": True, "relative_attention": False, "norm_rel_ebd": "none"}, False),  # pos_att_type still scales
    ("deberta-v2", {"pos_att_type": ["c2p"]}, False),
    ("deberta-v2", {"pos_att_type": ["p2c"]}, False),
    ("deberta-v2", {"pos_att_type": " P2C | c2p "}, True),
    ("deberta-v2", {"pos_att_type": []}, False),
    ("deberta-v2", {"share_att_key": False}, False),
    ("deberta-v2", {"share_att_key": GONE, "pos_att_type": "c2p"}, False),
    ("deberta-v2", {"share_att_key": False, "pos_att_type": "p2c"}, False),
    ("deberta-v2", {"position_buckets": -1}, False),
    ("deberta-v2", {"position_buckets": GONE, "max_relative_positions": 5}, False),
    ("deberta-v2", {"position_buckets": 5, "max_relative_positions": 9}, False),
    ("deberta-v2", {"position_buckets": 2}, False),
    ("deberta-v2", {"position_buckets": 64}, False),
    ("deberta-v2", {"norm_rel_ebd": "none"}, False),
    ("deberta-v2", {"norm_rel_ebd": "None | Layer_Norm"}, True),
    ("deberta-v2", {"type_vocab_size": 2}, False),
    ("deberta-v2", {"embedding_size": 12}, False),
    ("deberta-v2", {"embedding_size": 12, "position_biased_input": True, "type_vocab_size": 3}, False),
    ("deberta-v2", {"conv_kernel_size": 3}, False),
    ("deberta-v2", {"conv_kernel_size": 5, "conv_act": "gelu", "conv_groups": 4}, False),
    ("deberta-v2", {"conv_kernel_size": 1, "conv_groups": 24, "conv_act": "linear"}, False),
    ("deberta-v2", {"pooler_hidden_act": "tanh"}, False),
    ("deberta-v2", {"pooler_hidden_act": "relu", "hidden_act": "gelu_new", "layer_norm_eps": 1e-2}, False),
    ("deberta-v2", {"legacy": False, "z_steps": 2, "pooler_dropout": 0.3, "cls_dropout": 0.2, "pooler_hidden_size": 24, "attention_head_size": 6,
                    "max_position_embeddings": 26, "pad_token_id": None}, True),
    ("modernbert", {"attention_bias": True}, False),
    ("modernbert", {"mlp_bias": True}, False),
    ("modernbert", {"norm_bias": True}, False),
    ("modernbert", {"classifier_bias": True}, False),
    ("modernbert", {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True, "classifier_pooling": "mean",
                    "classifier_activation": "tanh", "hidden_activation": "silu"}, False),
    ("modernbert", {"classifier_pooling": "mean"}, False),
    ("modernbert", {"classifier_activation": "relu"}, False),
    ("modernbert", {"hidden_activation": "relu2"}, False),
    ("modernbert", {"global_attn_every_n_layers": 2}, False),
    ("modernbert", {"layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"], "global_attn_every_n_layers": 2}, False),
    ("modernbert", {"layer_types": ["sliding_attention"] * 3 + ["full_attention"], "local_attention": 3}, False),
    ("modernbert", {"local_attention": 7}, True),
    ("modernbert", {"local_attention": 2}, False),
    ("modernbert", {"sliding_window": 4}, False),
    ("modernbert", {"local_rope_theta": 700.0, "global_rope_theta": 50000}, False),
    ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 900.0},
                                        "sliding_attention": {"rope_type": "default", "rope_theta": 30.0}}, "global_rope_theta": 5}, False),
    ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 900.0}}}, False),
    ("modernbert", {"norm_eps": 0.05}, False),
    ("modernbert", {"layer_norm_eps": 0.05}, True),
    ("modernbert", {"pad_token_id": None, "deterministic_flash_attn": True, "sparse_prediction": True, "reference_compile": False, "decoder_bias": False,
                    "tie_word_embeddings": False, "initializer_cutoff_factor": 3.0, "repad_logits_with_grad": False, "cls_token_id": 9}, False),
]


# ---- numbers that follow from names ----

def fnv(text):
    h = 0xcbf29ce484222325
    for b in text.encode():
        h = (h ^ b) * 0x100000001b3 & MASK
    return h


def mixed(seed, n):
    """SplitMix64's n numbers from a seed, as 24 bits each: in [0, 1), exact in float32."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9e3779b97f4a7c15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / (1 << 24)


def weight(name, shape):
    """Spread evenly around 0, or around 1 for a norm's weight; wider for tables than for products."""
    n = int(np.prod(shape))
    v = mixed(fnv(name), n) - 0.5
    if len(shape) == 1:
        v = v * 0.5 + (1.0 if name.endswith("weight") else 0.0)
    else:
        v = v * (2.0 if "embedding" in name or "relative" in name else 0.6)
    return torch.from_numpy(v.astype(np.float32).reshape(shape))


def rows_of(longest, vocab, pad, types):
    """Six rows: as long as the model allows, one token, and between; the second-longest has the padding token between others."""
    lengths = [longest, 1, longest - 1, 2, max(1, longest // 2), min(5, longest)]
    ids, second = [], []
    for r, n in enumerate(lengths):
        row = [int(3 + u * (vocab - 3)) for u in mixed(fnv(f"ids {r}"), n)]
        if r == 2 and n > 4:
            row[3] = pad
        ids.append(row)
        second.append([int(u * types) for u in mixed(fnv(f"types {r}"), n)])
    return ids, second


# ---- a case ----

def changed(family, change):
    config = copy.deepcopy({**BASES[family], **LABELS})
    for key, value in change.items():
        if value == GONE:
            config.pop(key, None)
        else:
            config[key] = value
    return config


def longest_of(config):
    after_pad = {"roberta": config.pad_token_id, "xlm-roberta": config.pad_token_id, "mpnet": 1}.get(config.model_type)
    return config.max_position_embeddings - (0 if after_pad is None else after_pad + 1)


def run(written):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(written, f)
        config = AutoConfig.from_pretrained(folder)
        config.attention_probs_dropout_prob = min(getattr(config, "attention_probs_dropout_prob", 0), 0.5)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa" if config.model_type == "modernbert" else "eager",
                                                           dtype=torch.float32).double().eval()
    state = model.state_dict()
    with torch.no_grad():
        for name, t in state.items():
            t.copy_(weight(name, tuple(t.shape)))
    types = getattr(config, "type_vocab_size", 0)
    typed = config.model_type in ("bert", "electra", "albert", "deberta-v2") and types > 0
    pad = 0 if config.pad_token_id is None else config.pad_token_id
    longest = min(longest_of(config), 178)
    ids, second = rows_of(longest, config.vocab_size, 1 if config.model_type == "mpnet" else pad, types if typed else 1)
    width = max(map(len, ids))
    batch = dict(input_ids=torch.tensor([r + [pad] * (width - len(r)) for r in ids]),
                 attention_mask=torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in ids]))
    if typed:
        batch["token_type_ids"] = torch.tensor([r + [0] * (width - len(r)) for r in second])
    out = model(**batch, return_dict=True).logits
    loss = torch.nn.functional.cross_entropy(out, torch.arange(len(ids)) % config.num_labels)
    loss.backward()
    norm = sum(float(p.grad.norm()) ** 2 for p in model.parameters() if p.grad is not None) ** 0.5
    return dict(logits=[[float(f"{x:.10g}") for x in row] for row in out.detach().tolist()], gradient_norm=float(f"{norm:.10g}"),
                longest=longest, tensors=len(state), numbers=sum(t.numel() for t in state.values()))


def gap(a, b):
    a, b = np.array(a["logits"]), np.array(b["logits"])
    return float(np.abs(a - b).max()) if a.shape == b.shape else float("inf")


def kept():
    own, cases, wrong = {}, [], []
    for family, change, same in KEPT:
        written = changed(family, change)
        try:
            got = run(written)
        except Exception as e:
            wrong.append((family, change, f"the library refuses it: {e!r}"[:200]))
            continue
        own.setdefault(family, got)
        distance = gap(got, own[family])
        print(family, change, f"differs by {distance:.2g}", f"largest {np.abs(got['logits']).max():.2g}", flush=True)
        if (distance < 1e-9) != same or not (same or distance > 1e-4):
            wrong.append((family, change, distance))
        cases.append(dict(family=family, change=change, config=written, **got))
    assert not wrong, f"cases that test nothing, or not what they say: {wrong}"
    return cases


def draw(rng):
    """A random configuration of a random family: every field of interest with its own odds."""
    family = rng.choice(list(BASES))
    heads, size = rng.choice([1, 2, 3, 4, 6]), rng.choice([2, 4, 6, 8])
    hidden, layers = heads * size, rng.choice([1, 2, 3, 4, 5])
    c = dict(hidden_act=rng.choice(ACTIVATIONS + ["gelu"] * 5), vocab_size=rng.randint(40, 200), intermediate_size=rng.randint(1, 60),
             layer_norm_eps=rng.choice([1e-12, 1e-7, 1e-5, 1e-3, 0.1]), max_position_embeddings=rng.randint(10, 60), hidden_size=hidden,
             num_attention_heads=heads, num_hidden_layers=layers, pad_token_id=rng.choice([0, 1, 2, 5]), type_vocab_size=rng.choice([1, 2, 4]),
             num_labels=rng.randint(2, 6), id2label=GONE, label2id=GONE)
    if family in ("bert", "electra", "albert", "deberta-v2", "distilbert", "modernbert") and rng.random() < 0.2:
        c["pad_token_id"] = None
    if family in ("electra", "albert"):
        c["embedding_size"] = rng.choice([hidden, 5, 16, 50])
    if family == "albert":
        c.update(num_hidden_groups=rng.randint(1, layers + 1), inner_group_num=rng.randint(1, 3))
    if family == "distilbert":
        c = dict(dim=c["hidden_size"], n_heads=heads, n_layers=layers, hidden_dim=c["intermediate_size"], activation=c["hidden_act"],
                 sinusoidal_pos_embds=rng.choice([True, False]),
                 **{k: c[k] for k in ("vocab_size", "max_position_embeddings", "pad_token_id", "num_labels", "id2label", "label2id")})
    if family == "mpnet":
        c.update(relative_attention_num_buckets=rng.choice([32, 33, 50]), max_position_embeddings=rng.choice([12, 40, 170]))
    if family == "deberta-v2":
        c.update(type_vocab_size=rng.choice([0, 0, 1, 3]), relative_attention=rng.random() < 0.85, position_biased_input=rng.random() < 0.4,
                 pos_att_type=rng.choice([["c2p"], ["p2c"], ["p2c", "c2p"], "p2c|c2p", "c2p", [], None]), share_att_key=rng.random() < 0.5,
                 norm_rel_ebd=rng.choice(["none", "layer_norm"]), position_buckets=rng.choice([-1, 0, 2, 3, 6, 8, 16, 64]),
                 max_relative_positions=rng.choice([-1, 0, 12, 40, 60]), conv_kernel_size=rng.choice([0, 0, 0, 1, 3, 5]),
                 conv_groups=rng.choice([1, 1, heads]), conv_act=rng.choice(["tanh", "gelu", "relu"]), pooler_hidden_act=rng.choice(["gelu", "tanh", "mish"]))
        if rng.random() < 0.3:
            c["embedding_size"] = rng.choice([7, 16])
    if family == "modernbert":
        c.update(hidden_activation=c.pop("hidden_act"), norm_eps=c.pop("layer_norm_eps"), local_attention=rng.randint(1, 30),
                 global_attn_every_n_layers=rng.randint(1, 4), attention_bias=rng.random() < 0.5, mlp_bias=rng.random() < 0.5,
                 norm_bias=rng.random() < 0.5, classifier_bias=rng.random() < 0.5, classifier_pooling=rng.choice(["cls", "mean"]),
                 classifier_activation=rng.choice(ACTIVATIONS), local_rope_theta=rng.choice([10.0, 10000.0]), global_rope_theta=rng.choice([50.0, 160000.0]))
        if rng.random() < 0.3:
            c["layer_types"] = [rng.choice(["full_attention", "sliding_attention"]) for _ in range(layers)]
        c.pop("type_vocab_size")
    return family, c


def search(n, seed):
    rng, cases = random.Random(seed), []
    while len(cases) < n:
        family, change = draw(rng)
        written = changed(family, change)
        try:
            got = run(written)
        except Exception as e:
            print("the library refuses", family, change, repr(e)[:200])
            got = dict(refused=repr(e)[:300])
        cases.append(dict(family=family, change=change, config=written, **got))
    return cases


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", required=True)
    ap.add_argument("--random", type=int, default=0)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    cases = search(a.random, a.seed) if a.random else kept()
    with open(a.out, "w") as f:
        f.write('{"made_with": ' + json.dumps(dict(torch=torch.__version__, transformers=transformers.__version__)) + ',\n"cases": [\n')
        f.write(",\n".join(json.dumps(c) for c in cases) + "\n]}\n")


if __name__ == "__main__":
    main()
