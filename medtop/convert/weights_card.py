"""The model card of exported weights: how the folder is used, and what stayed behind."""

import itertools

from medtop.convert.names import token_type
from medtop.data.layouts import DEFAULT, LAYOUTS
from medtop.reporting.export_card import write_export_card
from medtop.reporting.markdown import code

_KINDS = {
    "huggingface": "HuggingFace's layout",
    "medtop": "medtop's PyTorch module",
    "tf1": "a TensorFlow 1 checkpoint with google-research/bert's names",
}


def write_weights_card(folder, done):
    """Writes `card.json` and `README.md`.

    Args:
        folder: the export.
        done: `medtop.convert.export_weights.Exported`.
    """
    plan, config = done.plan, done.config
    what = "pieces of words" if _of_notes(plan) else "medical codes"
    summary = [
        f"A BERT encoder over {what} ({config.num_hidden_layers} layers, width {config.hidden_size}, "
        f"{config.vocab_size} tokens, embeddings {', '.join(config.embeddings)}), exported by medtop as "
        f"{_KINDS[plan.layout]}: {done.num_arrays} arrays, {done.num_numbers:,} numbers, head {code(plan.head)}."
    ]
    if done.cost:
        summary.append(f"Reduced model: {done.cost}. The results below are the whole model's.")
    notes = [done.parity]
    reasons = {}
    for path, reason in done.left_out.items():
        reasons.setdefault(reason, []).append(path)
    notes += [f"left out ({reason}): {', '.join(paths)}" for reason, paths in reasons.items()]
    write_export_card(
        folder,
        plan.run,
        title="Model card",
        summary=summary,
        usage=_usage(plan, config),
        tasks=list(plan.heads),
        config=config,
        notes=[*notes, *done.notes],
        tags=("medtop", "ehr", "bert") if plan.layout == "huggingface" else (),
        command=plan.command,
    )


def _of_notes(plan):
    """Whether the run was trained on notes."""
    trained = (plan.run.settings().get("data") or {}).get("train") or {}
    return LAYOUTS.get(trained.get("layout"), DEFAULT).has_windows


def _usage(plan, config):
    tokens = (plan.vocabulary.tokens[number] for number in plan.vocabulary.ordinary_ids)
    codes = list(itertools.islice((token for token in tokens if token.split() == [token]), 3))
    if plan.layout == "tf1":
        return [
            "`--init_checkpoint=bert_model.ckpt --bert_config_file=bert_config.json` of google-research/bert; ids are "
            "line numbers of `vocab.txt`, from 0.",
        ]
    if plan.layout == "medtop":
        return [{"language": "python", "code": "\n".join(_twin_usage(plan, config, codes))}]
    first = 0 if plan.vocabulary.is_medbert else 1
    what = "a text" if _of_notes(plan) else "codes, oldest first"
    lines = [
        f"from transformers import AutoTokenizer, {plan.class_name}",
        "",
        'tokenizer = AutoTokenizer.from_pretrained(".")  # this folder',
        f'model = {plan.class_name}.from_pretrained(".").eval()',
        f'inputs = tokenizer({" ".join(codes)!r}, return_tensors="pt")  # {what}',
    ]
    kind = token_type(config)
    if kind == "visit" or (kind == "segment" and config.segment == "visit"):
        numbers = [0] * first + list(range(1, len(codes) + 1))
        lines += [
            f'inputs["token_type_ids"] = inputs["input_ids"].new_tensor([{numbers}])  # the visit of each code',
        ]
    elif kind == "segment" and config.segment == "alternating":
        numbers = [0] * first + [number % 2 for number in range(1, len(codes) + 1)]
        lines += [f'inputs["token_type_ids"] = inputs["input_ids"].new_tensor([{numbers}])  # visit number modulo 2']
    return [{"language": "python", "code": "\n".join([*lines, "outputs = model(**inputs)"])}]


def _twin_usage(plan, config, codes):
    """Two visits of a made-up patient: ids, and what the config's embeddings read."""
    ids = [plan.vocabulary.ids[code] for code in codes]
    first = [] if plan.vocabulary.is_medbert else [2]
    places = range(len(first) + len(ids))
    example = {
        "token_ids": [*first, *ids],
        "patient_slots": [1 for _ in places],
        "positions": list(places),
        "visits": [*(0 for _ in first), *range(1, len(ids) + 1)],
        "visit_positions": [0 for _ in places],
        "segments": [0 for _ in places],
        "ages": [22000 for _ in places],
        "gaps": [0 for _ in places],
        "stays": [3 for _ in places],
        "recencies": [10 for _ in places],
        "sexes": [1 for _ in places],
    }
    comments = {
        "token_ids": "[CLS] and codes, line numbers of vocab.txt from 0" if first else "codes, line numbers from 0",
        "patient_slots": "0 = padding",
        "visits": "number of the code's visit, from 1",
        "visit_positions": "place within the visit, from 0",
        "segments": f"`segment` is {config.segment}",
        "ages": "days since birth",
        "gaps": "days since the previous discharge",
        "stays": "days from admission to discharge",
        "recencies": "days from the visit's discharge to the prediction time",
        "sexes": "0 unknown, 1 female, 2 male",
    }
    wanted = ["token_ids", "patient_slots", *(key for key in config.inputs if key != "token_ids")]
    return [
        "import torch",
        "from torch_bert import TorchBert  # in this folder; needs torch and safetensors only",
        "",
        'model = TorchBert.from_folder(".").eval()',
        "inputs = {",
        *(
            f'    "{key}": torch.tensor([{example[key]}]),' + (f"  # {comments[key]}" if key in comments else "")
            for key in wanted
        ),
        "}",
        f"outputs = model(inputs)  # {', '.join(task.name for task in plan.heads) or 'sequence_output'}: logits",
    ]
