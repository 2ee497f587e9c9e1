"""Strict F1 of taggers on open sets of entities: a dictionary, a CRF with hand-made features, the encoder from scratch,
and encoder and CRF together; several seeds, learning curves, and what each embedding of a word adds.

  python benchmarks/entities_quality.py --data_dir=open_data --work_dir=checkpoints/entities --seeds=0,1,2,3,4
  python benchmarks/entities_quality.py --data_dir=open_data --work_dir=checkpoints/entities --sets=ncbi_disease \
      --shares=0.05,0.25
  python benchmarks/entities_quality.py --data_dir=open_data --work_dir=checkpoints/entities --sets=ncbi_disease \
      --without=prefix+suffix+short_suffix,gazetteer,neighbour_layers

Every run is run_entities.py's own: trained on the training split, its best weights and the weights of the stack chosen
on the validation split, scored on --eval_split. What is done is not done again. The seed draws the weights and, with a
share below 1, the training documents (these sets have a sentence each).
"""

import dataclasses
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from comparison.left_out import without  # noqa: E402

from medtop.cli import commands, flags  # noqa: E402
from medtop.entities.tables import table_paths  # noqa: E402
from medtop.files.atomic import write_json  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.files.options import REQUIRED, option  # noqa: E402

FOLDERS = {"ncbi_disease": "conll", "bc5cdr": "bio"}
SYSTEMS = ("dictionary", "crf", "encoder", "stack")
CONFIG = ROOT / "medtop/configs/entities.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which sets and systems are compared."""

    data_dir: str = option(REQUIRED, "Folder with ncbi_disease/conll and bc5cdr/bio.")
    work_dir: str = option(REQUIRED, "Folder for tables and runs.")
    sets: tuple = option(tuple(FOLDERS), "Which sets.")
    shares: tuple[float, ...] = option((1.0,), "Shares of the training sentences.")
    seeds: tuple[int, ...] = option((0,), "Seeds.")
    without: tuple = option(
        (), "Besides, encoders without these: embeddings joined by +, or a number of the configuration set to 0."
    )
    eval_split: str = option("test", "Which split is scored.", choices=("test", "valid"))
    bert_config_file: str = option(str(CONFIG), "Configuration of the encoder.")
    trainer_flag: tuple = option((), "A further flag of the trainer.", repeated=True)


flags.define(Options)


def call(script, *arguments):
    """Runs one of the project's scripts; its output goes to standard error.

    Raises:
        DataError: when it failed.
    """
    code = subprocess.run([sys.executable, str(ROOT / script), *map(str, arguments)], stdout=sys.stderr).returncode
    if code:
        raise DataError(f"{script}: expected exit code 0, received {code}")


def prepare(options, name):
    """Tables of a set; returns (their prefix, number of training documents)."""
    folder = Path(options.data_dir) / name / FOLDERS[name]
    prefix = Path(options.work_dir) / name / "tables"
    if not Path(f"{prefix}.manifest.json").is_file():
        prefix.parent.mkdir(parents=True, exist_ok=True)
        files = (("train", "train"), ("valid", "devel"), ("test", "test"))
        given = ",".join(f"{split}={folder / file}.tsv.gz" for split, file in files)
        call("preprocessing/convert_entities.py", "--from=conll", f"--input={given}", f"--output_prefix={prefix}")
    documents, *_ = table_paths(prefix, "train")
    import pyarrow.parquet as pq

    return prefix, pq.read_metadata(documents).num_rows


def train(options, name, share, seed, left_out):
    """`metrics.json` of one run, which is made where it is not there."""
    prefix, count = prepare(options, name)
    run = prefix.parent / f"share{share:g}_seed{seed}{'_without_' + left_out if left_out else ''}"
    if not (run / f"{options.eval_split}.json").is_file():
        config = json.loads(Path(options.bert_config_file).read_text(encoding="utf-8"))
        config_file = prefix.parent / f"{run.name}.config.json"
        write_json(config_file, without(config, left_out) if left_out else config)
        call(
            "run_scripts/run_entities.py",
            "--do_train",
            "--do_eval",
            "--model=stack",
            f"--input_prefix={prefix}",
            f"--output_dir={run}",
            f"--bert_config_file={config_file}",
            f"--seed={seed}",
            f"--eval_split={options.eval_split}",
            f"--train_documents={0 if share == 1 else round(share * count)}",
            *options.trainer_flag,
        )
        (run / "metrics.json").replace(run / f"{options.eval_split}.json")
    return json.loads((run / f"{options.eval_split}.json").read_text(encoding="utf-8"))["systems"]


def show(name, share, seed, left_out, systems):
    """Prints a line for each system."""
    for system in SYSTEMS:
        scores = systems[system]
        f1 = scores["scores"]["strict"]["micro"]["f1"]
        text = (
            f"{name} {share:g} seed {seed} {system:<10} strict F1 {f1['value']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}]"
        )
        if system in ("encoder", "stack"):
            other = scores["comparison"]["strict"]["micro"]
            text += f"  minus CRF {other['difference']:+.3f} [{other['low']:+.3f}, {other['high']:+.3f}]"
        print(text + (f"  without {left_out}" if left_out else ""), flush=True)


def main(_):
    """Trains, scores, prints."""
    options = flags.read(Options)
    for name in options.sets:
        if name not in FOLDERS:
            raise DataError(f"--sets: expected some of {', '.join(FOLDERS)}, received {name!r}")
        for share in options.shares:
            for left_out in ("", *options.without):
                values = {system: [] for system in SYSTEMS}
                for seed in options.seeds:
                    systems = train(options, name, share, seed, left_out)
                    show(name, share, seed, left_out, systems)
                    for system in SYSTEMS:
                        values[system].append(systems[system]["scores"]["strict"]["micro"]["f1"]["value"])
                if len(options.seeds) > 1:
                    means = ", ".join(
                        f"{system} {statistics.mean(some):.3f} (SD {statistics.stdev(some):.3f})"
                        for system, some in values.items()
                    )
                    print(f"{name} {share:g} {len(options.seeds)} seeds: {means}", flush=True)


if __name__ == "__main__":
    commands.run(main)
