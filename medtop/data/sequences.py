"""Pickled lists of codes -> records: the record maker of `create_BERTpretrain_EHRfeatures.py`. No TensorFlow here."""

import dataclasses
import itertools
import re

import numpy as np

from medtop.cohort.pickled_lists import read_chunks, read_header, read_medbert_rows
from medtop.cohort.vocabulary import Vocabulary
from medtop.data.layouts import DEFAULT, MEDBERT, record_field
from medtop.data.protobuf import Column
from medtop.data.record_maker import Examples, RecordMaker, Settings, description
from medtop.data.tokens import (
    TIME_GAPS,
    TOKEN_COLUMNS,
    medbert_rows,
    pieces,
    select_masked_rows,
    tokens_of,
)
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, at_least, option, share

DEFAULTS = {
    DEFAULT.name: {"max_seq_length": 512, "max_predictions_per_seq": 77, "masked_lm_prob": 0.15},
    MEDBERT.name: {"max_seq_length": 32, "max_predictions_per_seq": 2, "masked_lm_prob": 0.35},
}
"""Used where a flag is not given: BERT's 15% of 512, and the numbers of Med-BERT's feature script."""

MEDBERT_TASKS = {"long_stay": ["long_stay"]}
"""Med-BERT's one label: whether the longest stay is prolonged. Its records call it `next_sentence_labels`."""

PIECE = 4096
"""Examples that are turned into bytes at a time: bounds the memory, whatever the size of the chunks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureSettings(Settings):
    """What the feature script is asked for; in Med-BERT's layout the numbers of `Settings` shape the records."""

    input_file: str = option(
        REQUIRED, "Pickled lists of one split (.bencs.train ...): a file, a glob or a comma list.", compared=False
    )
    vocab_file: str = option(REQUIRED, "Vocabulary of the same run (.types or .vocab.txt).", compared=False)
    max_seq_length: int | None = option(
        None, "Longest row, [CLS] included. Default 512; Med-BERT's layout 32.", rule=at_least(2)
    )
    max_predictions_per_seq: int | None = option(
        None, "Most codes masked in a row. Default 77; Med-BERT's layout 2.", rule=at_least(1)
    )
    masked_lm_prob: float | None = option(
        None, "Share of codes masked. Default 0.15; Med-BERT's layout 0.35.", rule=share()
    )
    random_seed: int = option(12345, "Seed of the masks.", rule=at_least(0))
    visit_separator: bool = option(False, "End each visit with [SEP].")
    task_name: str = option("outcome", "Of Med-BERT's fine-tuning lists: what their label is called.")
    time_gap: str = option(
        "before", "Days since the previous visit, or to the next one (known only later; Med-BERT's).", choices=TIME_GAPS
    )


class SequenceMaker(RecordMaker):
    """Records of patients' codes, in the default layout or, from Med-BERT's lists, in Med-BERT's."""

    expects = "pickled sequences (.bencs.*)"

    def open(self, inputs):
        """See `RecordMaker.open`."""
        settings, vocabulary = self.settings, Vocabulary.read(self.settings.vocab_file)
        headers = {path: read_header(path) for path in inputs}
        manifests = {path: _manifest(path) for path in inputs}
        layout = _layout(settings, headers, vocabulary)
        for path, header in headers.items():
            _check_vocabulary(settings.vocab_file, vocabulary, path, header, manifests[path])
        headers = {path: header or {"tasks": MEDBERT_TASKS} for path, header in headers.items()}
        tasks = _shared({path: header["tasks"] for path, header in headers.items()}, "tasks")
        split = _shared({path: header.get("split") or _split_of(path) for path, header in headers.items()}, "split")
        same = all(manifest == manifests[inputs[0]] for manifest in manifests.values())  # of one run, or none has any
        defaults = self.defaults(**DEFAULTS[layout.name])
        return description(
            layout.name,
            vocabulary,
            tasks,
            defaults,
            split=split,
            flags={"vocabulary": vocabulary.hash, **defaults},
            source_manifest=manifests[inputs[0]] if same else list(manifests.values()),
            time_gap="after" if layout is MEDBERT else settings.time_gap,
            visit_separator=settings.visit_separator,
        )

    def examples(self, inputs, about):
        """See `RecordMaker.examples`."""
        rng = np.random.default_rng(self.settings.random_seed)
        for path in inputs:
            if about["layout"] == MEDBERT.name:
                rows = read_medbert_rows(path)
                while some := list(itertools.islice(rows, PIECE)):
                    yield medbert_examples(some, about, rng)
            else:
                for chunk in read_chunks(path):
                    yield from chunk_examples(chunk, about)


def chunk_examples(chunk, about):
    """Yields the `Examples` of a `medtop.cohort.pickled_lists.Chunk` in the default layout: un-cut, not masked.

    Args:
        about: dict, see `medtop.data.record_maker.description`.
    """
    for piece in pieces(chunk, PIECE):
        tokens = tokens_of(piece, about["vocabulary"], about["visit_separator"], about["time_gap"])
        columns = [
            Column(record_field(name, about["time_gap"]), "int64", getattr(tokens, name), tokens.counts)
            for name in TOKEN_COLUMNS
        ]
        columns += [
            Column("sex", "int64", piece.sexes),
            Column("prediction_time", "int64", piece.prediction_times),
            Column("patient_id", "bytes", [name.encode() for name in piece.patient_ids]),
        ]
        for task in about["tasks"]:
            columns += [
                Column.of_matrix(f"{task}_labels", "float", piece.labels[task]),
                Column.of_matrix(f"{task}_weights", "float", piece.weights[task]),
            ]
        yield Examples(columns, tokens.counts, piece.patient_ids, piece.labels, piece.weights)


def medbert_examples(rows, about, rng):
    """The `Examples` of Med-BERT's positional rows in Med-BERT's layout: padded, masks drawn once with `rng`.

    Args:
        rows: list, see `medtop.data.tokens.medbert_rows`.
        about: dict, see `medtop.data.record_maker.description`.
        rng: `numpy.random.Generator`.

    Raises:
        DataError: for codes that the vocabulary does not hold.
    """
    vocabulary, defaults = about["vocabulary"], about["defaults"]
    columns, patients, dropped = medbert_rows(rows, defaults["max_seq_length"])
    ids = columns["input_ids"]
    if ids.size and not ((ids < len(vocabulary)) & ((ids > 0) == (columns["input_mask"] > 0))).all():
        raise DataError(
            f"sequences: expected codes from 1 to {len(vocabulary) - 1}, received {ids.min()} to {ids.max()}: "
            "another run's vocabulary?"
        )
    positions, labels, weights, hidden = select_masked_rows(
        ids,
        vocabulary.first_code_id,
        vocabulary.mask_id,
        len(vocabulary),
        defaults["masked_lm_prob"],
        defaults["max_predictions_per_seq"],
        rng,
    )
    long_stay = columns["next_sentence_labels"].astype(np.float32)
    return Examples(
        [
            Column.of_matrix("input_ids", "int64", hidden),
            Column.of_matrix("input_mask", "int64", columns["input_mask"]),
            Column.of_matrix("segment_ids", "int64", columns["segment_ids"]),
            Column.of_matrix("masked_lm_positions", "int64", positions),
            Column.of_matrix("masked_lm_ids", "int64", labels),
            Column.of_matrix("masked_lm_weights", "float", weights),
            Column.of_matrix("next_sentence_labels", "int64", columns["next_sentence_labels"]),
        ],
        columns["input_mask"].sum(axis=1),
        patients,
        {"long_stay": long_stay},
        {"long_stay": np.ones_like(long_stay)},
        examples_in=len(rows),
        dropped=dropped,
    )


def _layout(settings, headers, vocabulary):
    """The `Layout` of the records that the inputs make, checked against the vocabulary's and the flags."""
    layout = _shared({path: MEDBERT if header is None else DEFAULT for path, header in headers.items()}, "layout")
    path = next(iter(headers))
    if (layout is MEDBERT) != vocabulary.is_medbert:
        wanted = "empty_pad first (--layout=medbert)" if layout is MEDBERT else "[PAD] [UNK] [CLS] [SEP] [MASK] first"
        raise DataError(f"{settings.vocab_file}: expected the vocabulary of {path}, {wanted}, received another layout")
    if layout is MEDBERT and (settings.visit_separator or settings.time_gap != "before"):
        raise DataError(
            f"{path}: --visit_separator and --time_gap have no effect with Med-BERT's layout, whose records hold no "
            "separators and no gaps: leave them out"
        )
    return layout


def _shared(values, what):
    """The value that all files share."""
    (first_path, first), *others = values.items()
    for path, value in others:
        if value != first:
            raise DataError(f"{path}: expected the same {what} as {first_path} ({first!r:.80}), received {value!r:.80}")
    return first


def _split_of(path):
    name = re.search(r"\.bencs\.([^.]+)", path.name)
    return name.group(1) if name else None


def _manifest(path):
    """`<prefix>.manifest.json` beside `<prefix>.bencs.*`, or None."""
    name = path.with_name(re.sub(r"\.bencs(\..*)?$", "", path.name) + ".manifest.json")
    if not name.is_file():
        return None
    return read_json(name)


def _check_vocabulary(name, vocabulary, path, header, manifest):
    for source in (header, manifest):
        expected = source.get("vocabulary_hash") if isinstance(source, dict) else None
        if expected and expected != vocabulary.hash:
            raise DataError(
                f"{name}: expected the vocabulary of {path} (hash {expected[:12]}), "
                f"received another run's (hash {vocabulary.hash[:12]})"
            )
