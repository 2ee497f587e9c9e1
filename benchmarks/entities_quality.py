"""Strict F1 on open sets of entities: a dictionary, a CRF with hand-made features, and their learning curves.

  python benchmarks/entities_quality.py --data_dir=open_data --sets=ncbi_disease,bc5cdr --seeds=0,1,2

Train on the training split, score the test split; nothing is tuned on either. --shares gives a learning curve; the seed
chooses which training sentences a smaller share holds (with all of them, both rivals are deterministic).
"""

import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.entities import evaluate
from medtop.entities.crf_tagger import CrfTagger
from medtop.entities.dictionary import Dictionary
from medtop.entities.documents import Tally
from medtop.entities.formats import FORMATS
from medtop.entities.reading import input_files
from medtop.entities.tagging import predict, training_sentences
from medtop.files.atomic import write_json
from medtop.files.options import REQUIRED, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which sets and systems are compared."""

    data_dir: str = option(REQUIRED, "Folder with ncbi_disease/conll and bc5cdr/bio.")
    sets: tuple = option(("ncbi_disease", "bc5cdr"), "Which sets.")
    shares: tuple[float, ...] = option((1.0,), "Shares of the training sentences.")
    seeds: tuple[int, ...] = option((0,), "Seeds of the choice of sentences.")
    output_file: str | None = option(None, "JSON file of the results.")


flags.define(Options)

FOLDERS = {"ncbi_disease": "conll", "bc5cdr": "bio"}


def documents(data_dir, name, split):
    """The documents of one split of a set."""
    path = Path(data_dir) / name / FOLDERS[name] / f"{split}.tsv.gz"
    return list(FORMATS["conll"].read(input_files(path, ()), Tally()))


def main(_):
    """Trains, scores, prints."""
    options, rows = flags.read(Options), []
    for name in options.sets:
        train, test = (documents(options.data_dir, name, split) for split in ("train", "test"))
        for share in options.shares:
            for seed in options.seeds if share < 1 else options.seeds[:1]:
                chosen = train
                if share < 1:
                    order = np.random.default_rng(seed).permutation(len(train))[: round(share * len(train))]
                    chosen = [train[place] for place in order]
                sentences = list(training_sentences(chosen, Tally()))
                for rival in ("dictionary", "crf"):
                    begin = time.process_time()
                    with tempfile.TemporaryDirectory() as folder:
                        if rival == "dictionary":
                            tagger = Dictionary.learn(sentences)
                        else:
                            tagger = CrfTagger.learn(sentences, Path(folder) / "crf.bin")
                        found = [predict(document, tagger.tag) for document in test]
                    result = evaluate.evaluate(test, found).result["scores"]["strict"]
                    f1 = result["micro"]["f1"]
                    rows.append({"set": name, "share": share, "seed": seed, "system": rival, "scores": result})
                    print(
                        f"{name} {share:g} seed {seed} {rival:<10} strict F1 {f1['value']:.3f} [{f1['low']:.3f}, "
                        f"{f1['high']:.3f}]  {time.process_time() - begin:.0f} CPU-s",
                        flush=True,
                    )
    if options.output_file:
        write_json(options.output_file, rows)
        print(json.dumps({"written": options.output_file}))


if __name__ == "__main__":
    commands.run(main)
