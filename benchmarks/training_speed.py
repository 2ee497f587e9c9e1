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
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

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
    """A contender's process: says when it is ready, then does what each line asks for."""
    from speed.data import MODELS, make_patients, useful_flops

    config = MODELS[model]
    patients = make_patients(count, config.vocab_size, fixed_length=fixed_length)
    contender = importlib.import_module(module).Contender(config, patients, **settings)
    print("ready", flush=True)
    for line in sys.stdin:
        what, number = line.split()
        started = time.perf_counter()
        done, lengths = getattr(contender, what)(int(number))
        seconds = time.perf_counter() - started
        flops = sum(useful_flops(config, some, what == "steps") for some in lengths)
        print(json.dumps({"seconds": seconds, "done": done, "flops": flops}), flush=True)


class Process:
    """A contender, spoken to through pipes."""

    def __init__(self, name, model, options):
        module, settings, self.count = CONTENDERS[name]
        words = [
            sys.executable,
            __file__,
            "--serve",
            module,
            "--models",
            model,
            "--settings",
            json.dumps(settings),
            "--patients",
            str(options.patients),
        ]
        if options.fixed_length:
            words += ["--fixed_length", str(options.fixed_length)]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"contender ended with code {self.process.wait()}")
        return line

    def do(self, what, count):
        """Real codes (or patients) per second, useful operations per second."""
        print(what, count or 0, file=self.process.stdin, flush=True)
        found = json.loads(self.answer())
        return found["done"] / found["seconds"], found["flops"] / found["seconds"]

    def end(self):
        self.process.stdin.close()
        self.process.wait()


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
    processes = {}
    for name in names:
        try:
            processes[name] = Process(name, model, options)
        except RuntimeError as error:
            print(f"{name}: not measured, {error}")
    rates = {(name, what): [] for name in processes for what in ("steps", "score")}
    peaks = []
    for number in range(options.rounds + 1):  # the first round warms up
        peaks.append(matmul_peak())
        for name, process in list(processes.items()):
            started = time.perf_counter()
            try:
                found = [process.do(what, process.count) for what in ("steps", "score")]
            except (RuntimeError, BrokenPipeError) as error:
                print(f"{name}: not measured, it ended in round {number}, out of memory perhaps: {error}")
                del processes[name]
                continue
            if number:
                rates[name, "steps"].append(found[0])
                rates[name, "score"].append(found[1])
            seconds = time.perf_counter() - started
            print(f"{model}, round {number}: {name}, {seconds:.0f} s", file=sys.stderr, flush=True)
    peak = statistics.median(peaks)
    print(
        f"\n{model}: real codes per second, median of {options.rounds} rounds (least to most); matrix product peak "
        f"{peak / 1e9:.0f} GFLOP/s"
    )
    for what, unit in (("steps", "codes/s"), ("score", "patients/s scored")):
        medians = {name: statistics.median(rate for rate, _ in rates[name, what]) for name in processes}
        peers = {
            letter: max((m for n, m in medians.items() if n.startswith(letter)), default=None)
            for letter in ("(a)", "(b)")
        }
        for name, median in medians.items():
            found = [rate for rate, _ in rates[name, what]]
            flops = statistics.median(flops for _, flops in rates[name, what])
            ratios = "  ".join(f"{median / peer:7.2f} x {letter}" for letter, peer in peers.items() if peer)
            print(
                f"{name:52} {median:9,.0f} {unit} ({min(found):,.0f} to {max(found):,.0f})  {ratios}  "
                f"{100 * flops / peak:4.1f}% of peak"
            )
    for process in processes.values():
        process.end()


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
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f"expected PyTorch and transformers (the extra [torch]) to compare with, {missing[0]} is missing")


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
