"""How fast does the encoder train, and score, beside HuggingFace BERT in PyTorch? One run, one table.

Each contender lives in a process of its own and takes its turn: a pass over the same patients, with the same dropout,
32 patients a step, then a pass that scores them; all others stand still meanwhile. Rows padded to 512 take the same
time whatever is in them, so of these one step is enough. Real codes per second (padding does not count), as a ratio to
the two peers: (a) as the lineage trains, (b) the strongest fair way.

Example:
  python benchmarks/training_speed.py --models=topbert,medbert --rounds=5
"""

import argparse
import importlib
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speed import turns

from medtop.cli.heavy_imports import prepare_imports

CONTENDERS = {
    # name: (module, settings, steps in a round; None: a pass over all patients)
    "(a) HuggingFace, padded to 512, logits everywhere": ("speed.hugging_face", {"kind": "padded"}, 1),
    "(b) HuggingFace, grouped, masked only, fused": ("speed.hugging_face", {"kind": "grouped"}, None),
    "(b) the same, torch.compile": ("speed.hugging_face", {"kind": "grouped", "compiled": True}, None),
    "(b) the same, bfloat16": ("speed.hugging_face", {"kind": "grouped", "precision": "bfloat16"}, None),
    "(c) medtop, padded": ("speed.ours", {"kind": "padded"}, 1),
    "(c) medtop, bucketed": ("speed.ours", {"kind": "bucketed"}, None),
    "(c) medtop, packed": ("speed.ours", {"kind": "packed"}, None),
    "(c) medtop, packed, XLA": ("speed.ours", {"kind": "packed", "jit_compile": True}, None),
    "(c) medtop, bucketed, bfloat16": ("speed.ours", {"kind": "bucketed", "precision": "bfloat16"}, None),
}


def serve(module, model, settings, count, fixed_length):
    """A contender's process."""
    prepare_imports()
    from speed.data import MODELS, make_patients, useful_flops

    config = MODELS[model]
    patients = make_patients(count, config.vocab_size, fixed_length=fixed_length)

    def about(what, answer):
        done, lengths = answer
        return {"done": done, "flops": sum(useful_flops(config, some, what == "steps") for some in lengths)}

    turns.serve(importlib.import_module(module).Contender(config, patients, **settings), about)


def command(name, model, options):
    """The words that start a contender."""
    module, settings, _ = CONTENDERS[name]
    words = [sys.executable, __file__, "--serve", module, "--models", model, "--settings", json.dumps(settings)]
    words += ["--patients", str(options.patients)]
    return words + (["--fixed_length", str(options.fixed_length)] if options.fixed_length else [])


def matmul_peak():
    """Float32 operations per second of a square matrix product in PyTorch, the machine's measured best."""
    import torch

    left, best = torch.randn(1024, 1024), 0.0
    for _ in range(20):
        started = time.perf_counter()
        left @ left
        best = max(best, 2 * 1024**3 / (time.perf_counter() - started))
    return best


def compare(model, options):
    """Prints the table of one model."""
    names = [
        name
        for name in CONTENDERS
        if any(word in name for word in options.contenders) and not any(word in name for word in options.without)
    ]
    processes = turns.start_all({name: command(name, model, options) for name in names})
    wanted = {name: dict.fromkeys(("steps", "score"), CONTENDERS[name][2] or 0) for name in names}
    peaks = []
    answers = turns.take_turns(processes, wanted, options.rounds, model, lambda: peaks.append(matmul_peak()))
    peak = statistics.median(peaks)
    print(
        f"\n{model}: real codes per second, median of {options.rounds} rounds (least to most); matrix product peak "
        f"{peak / 1e9:.0f} GFLOP/s"
    )
    for what, unit in (("steps", "codes/s"), ("score", "patients/s scored")):
        mine = {name: some for (name, kind), some in answers.items() if kind == what}
        of = {name: turns.rates(some) for name, some in mine.items()}
        for name, (median, ratios) in turns.beside_peers(of, ("(a)", "(b)")).items():
            flops = statistics.median(turns.rates(mine[name], "flops"))
            print(
                f"{name:52} {median:9,.0f} {unit} ({min(of[name]):,.0f} to {max(of[name]):,.0f})  "
                f"{turns.ratio_words(ratios)}  {100 * flops / peak:4.1f}% of peak"
            )


def check(parser, options):
    """Ends with one line where the comparison cannot be made."""
    from speed.data import MODELS

    if unknown := [name for name in options.models.split(",") if name not in MODELS]:
        parser.error(f"--models: expected {', '.join(MODELS)}, received {unknown[0]!r}")
    for flag in ("contenders", "without"):
        for word in filter(None, getattr(options, flag).split(",")):
            if not any(word in name for name in CONTENDERS):
                parser.error(f"--{flag}: expected a part of a contender's name, received {word!r}")
    if min(options.rounds, options.patients // 128) < 1:
        parser.error(f"--rounds, --patients: expected at least 1, 128, received {options.rounds}, {options.patients}")
    if name := turns.missing("torch", "transformers"):
        parser.error(f"expected PyTorch and transformers (the extra [torch]) to compare with, {name} is missing")


def main():
    """Serves, or compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="topbert,medbert")
    parser.add_argument("--contenders", default="(", help="parts of names, comma list; default: all")
    parser.add_argument("--without", default="", help="parts of names of contenders to leave out, comma list")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--patients", type=int, default=2048)
    parser.add_argument("--fixed_length", type=int, default=None, help="all patients fill a row of this length")
    parser.add_argument("--serve", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--settings", default="{}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.models, json.loads(options.settings), options.patients, options.fixed_length)
        return
    check(parser, options)
    options.contenders = options.contenders.split(",")
    options.without = [word for word in options.without.split(",") if word]
    for model in options.models.split(","):
        compare(model, options)


if __name__ == "__main__":
    main()
