"""An admission's calibrated risk with this folder alone, for a program to import; it needs transformers, no medtop."""

import json
import math

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def admission_risk(folder, text):
    """The risk of an admission: float. `text`: its notes, cleaned and joined as notes.json says."""
    notes, joining, calibration = (
        json.load(open(f"{folder}/{name}.json", encoding="utf-8")) for name in ("notes", "aggregation", "calibration")
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    pieces = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    size, shared = notes["max_seq_length"] - 2, notes["window_overlap"]
    pieces = pieces[:size] if notes["legacy"] else pieces
    own = max(len(pieces) - shared, 0)  # what windows do not share; their lengths are equal to within one piece
    n = max(math.ceil(own / (size - shared)), 1)
    p = []
    for i in range(n):
        window = pieces[i * own // n : min((i + 1) * own // n + shared, len(pieces))]
        ids = torch.tensor([[tokenizer.cls_token_id, *window, tokenizer.sep_token_id]])
        with torch.no_grad():
            *no, yes = model(input_ids=ids).logits[0].double().tolist()  # one logit, or two of a softmax
        p.append(1 / (1 + math.exp(sum(no) - yes)))
    c, mean = joining["c"], sum(p) / n
    joint = {"max_mean": (max(p) + mean * n / c) / (1 + n / c), "mean": mean, "max": max(p)}[joining["method"]]
    (task,) = calibration.values()
    (fit,) = task["labels"].values()
    z = math.log(joint / (1 - joint)) - math.log(fit["class_weight"])
    return 1 / (1 + math.exp(-(fit["slope"] * z + fit["intercept"])))
