"""How fast does an encoder of entities train and tag, beside HuggingFace's token classification? One run, one table.

Each contender lives in a process of its own and takes its turn: steps over the same windows of the same documents with
the same labels, first weights, batch size and dropout, then prediction from the documents' texts to spans; all others
stand still meanwhile. Documents per second, and per second of processor time, as ratios to the two peers: (a) as
HuggingFace's users do it, (b) the strongest fair way.

Example:
  python benchmarks/entities_speed.py --input_prefix=data/cdr --shapes=small --documents=500
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speed import turns

from medtop.cli.heavy_imports import prepare_imports

CONTENDERS = {
    # name: (module, settings)
    "(a) HuggingFace, random batches": ("speed.entities_hugging_face", {"kind": "collated"}),
    "(b) HuggingFace, grouped, fused": ("speed.entities_hugging_face", {"kind": "grouped"}),
    "(b) the same, torch.compile": ("speed.entities_hugging_face", {"kind": "grouped", "compiled": True}),
    "(b) the same, bfloat16": ("speed.entities_hugging_face", {"kind": "grouped", "precision": "bfloat16"}),
    "(c) medtop, bucketed": ("speed.entities_ours", {"kind": "bucketed"}),
    "(c) medtop, bucketed, bfloat16": ("speed.entities_ours", {"kind": "bucketed", "precision": "bfloat16"}),
    "(c) medtop, packed": ("speed.entities_ours", {"kind": "packed"}),
}
TURNS = {"steps": "trained", "predict": "tagged"}


def limit(cores):
    """Keeps this process to so many of the processors that it may use, before a framework counts them."""
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ[name] = str(cores)


def serve(given):
    """A contender's process."""
    import importlib

    limit(given["cores"])
    prepare_imports()
    from speed.entities_data import make_case

    case = make_case(**given["case"])
    turns.serve(importlib.import_module(given["module"]).Contender(case, **given["settings"]))


def contenders(options):
    """Those of `CONTENDERS` that take part."""
    wanted, unwanted = options.contenders, options.without
    return {
        name: about
        for name, about in CONTENDERS.items()
        if any(word in name for word in wanted) and not any(word in name for word in unwanted)
    }


def compare(shape, options, vocab_file, start):
    """Prints the table of one shape of encoder, whose first weights are written to `start`."""
    from speed.entities_data import make_case
    from speed.entities_start import write_start

    case = {
        "prefix": options.input_prefix,
        "split": options.split,
        "documents": options.documents,
        "vocab_file": vocab_file,
        "shape": shape,
        "batch_size": options.batch_size,
        "predict_batch": options.predict_batch,
        "start": start,
    }
    write_start(make_case(**case), start)
    commands = {
        name: [
            sys.executable,
            __file__,
            "--serve",
            json.dumps({"module": module, "settings": settings, "case": case, "cores": options.cores}),
        ]
        for name, (module, settings) in contenders(options).items()
    }
    processes = turns.start_all(commands)
    wanted = {"steps": options.steps, "predict": options.tagged}
    answers = turns.take_turns(processes, dict.fromkeys(processes, wanted), options.rounds, f"entities, {shape}")
    cores = options.cores or len(os.sched_getaffinity(0))
    print(f"\n{shape}: median of {options.rounds} rounds (least to most), {cores} cores; {turns.processor()}")
    for what, done in TURNS.items():
        for per, unit in (("seconds", "documents/s"), ("cpu_seconds", "documents/CPU-s")):
            of = {name: turns.rates(some, per=per) for (name, kind), some in answers.items() if kind == what}
            for name, (median, ratios) in turns.beside_peers(of, ("(a)", "(b)")).items():
                edges = f"({min(of[name]):.2f} to {max(of[name]):.2f})"
                print(f"{done:8} {name:34} {median:8.2f} {unit:15} {edges:20} {turns.ratio_words(ratios)}")
    for name in processes:
        spans = [answer["spans"] for answer in answers.get((name, "predict"), ())]
        print(f"marked   {name:34} {min(spans, default=0):8d} to {max(spans, default=0)} spans")


def main():
    """Serves, or compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input_prefix", help="tables of convert_entities.py")
    parser.add_argument("--split", default="train")
    parser.add_argument("--documents", type=int, default=0, help="so many of the split; 0 = all")
    parser.add_argument("--vocab_file", default=None, help="word pieces; default: learned from the documents")
    parser.add_argument("--vocab_size", type=int, default=8000, help="of the learned ones")
    parser.add_argument("--shapes", default="small", help="small: 192 wide, 6 layers; base: 768 wide, 12 layers")
    parser.add_argument("--contenders", default="(", help="parts of names, comma list; default: all")
    parser.add_argument("--without", default="", help="parts of names of contenders to leave out, comma list")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="steps of a turn; 0 = a pass over all documents")
    parser.add_argument("--tagged", type=int, default=0, help="documents that are tagged in a turn; 0 = all")
    parser.add_argument("--batch_size", type=int, default=32, help="windows in a training step")
    parser.add_argument("--predict_batch", type=int, default=16, help="windows in a batch of prediction")
    parser.add_argument("--cores", type=int, default=0, help="processors that each contender may use; 0 = all")
    parser.add_argument("--serve", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(json.loads(options.serve))
        return
    options.contenders = options.contenders.split(",")
    options.without = [word for word in options.without.split(",") if word]
    check(parser, options)
    prepare_imports()
    from speed.entities_data import read_documents, write_vocabulary

    from medtop.files.errors import DataError
    from medtop.text.wordpiece import read_vocabulary

    with tempfile.TemporaryDirectory() as folder:
        vocab_file = options.vocab_file or str(Path(folder) / "vocab.txt")
        try:
            documents = read_documents(options.input_prefix, options.split, options.documents)
            if not any(document.spans for document in documents):
                parser.error(f"{options.input_prefix}: expected documents with spans, received none")
            if not options.vocab_file:
                write_vocabulary(documents, options.vocab_size, vocab_file)
            read_vocabulary(vocab_file)
        except DataError as error:
            parser.error(str(error))
        for shape in options.shapes.split(","):
            compare(shape, options, vocab_file, str(Path(folder) / f"{shape}.npz"))


def check(parser, options):
    """Ends with one line where the comparison cannot be made."""
    from speed.entities_data import SHAPES

    if not options.input_prefix:
        parser.error("--input_prefix: expected the prefix of convert_entities.py's tables, received none")
    if unknown := [name for name in options.shapes.split(",") if name not in SHAPES]:
        parser.error(f"--shapes: expected {', '.join(SHAPES)}, received {unknown[0]!r}")
    for flag in ("contenders", "without"):
        for word in getattr(options, flag):
            if not any(word in name for name in CONTENDERS):
                parser.error(f"--{flag}: expected a part of a contender's name, received {word!r}")
    if not contenders(options):
        parser.error("--without: expected to leave a contender, received what leaves none")
    ones, zeros = ("rounds", "batch_size", "predict_batch"), ("documents", "steps", "tagged", "cores")
    for name, least in (dict.fromkeys(ones, 1) | dict.fromkeys(zeros, 0)).items():
        if getattr(options, name) < least:
            parser.error(f"--{name}: expected at least {least}, received {getattr(options, name)}")
    if name := turns.missing("torch", "transformers"):
        parser.error(f"expected PyTorch and transformers (the extra [torch]) to compare with, {name} is missing")


if __name__ == "__main__":
    main()
