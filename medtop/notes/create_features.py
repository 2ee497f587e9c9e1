"""Texts of admissions -> records of windows: the record maker of `create_notes_features.py`. No TensorFlow here."""

import collections
import dataclasses

import numpy as np

from medtop.data.record_maker import RecordMaker, Settings, only_or_all
from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, at_least, option, share
from medtop.notes.records import describe, examples_of, records_of
from medtop.notes.texts import check_texts, manifest_of, read_texts, split_of
from medtop.text.windows import check_window, first_windows, make_windows
from medtop.text.wordpiece import WordPiece, choose_case, read_vocabulary

DEFAULT_LENGTH = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSettings(Settings):
    """What scripts that make records of texts are asked for."""

    vocab_file: str = option(REQUIRED, "WordPiece vocabulary, one piece a line.", compared=False)
    lower_case: bool | None = option(None, "Lower-case and take accents off. Default: as the vocabulary was made.")
    max_seq_length: int = option(DEFAULT_LENGTH, "Longest record, special tokens included.", rule=at_least(2))
    max_predictions_per_seq: int = option(
        77, "Most pieces masked in a record; a default for the trainer.", rule=at_least(1)
    )
    masked_lm_prob: float = option(0.15, "Share of pieces masked; a default for the trainer.", rule=share())


class TextMaker(RecordMaker):
    """What makers of records of texts share.

    Attributes:
        tokenizer: `WordPiece`, after `open`.
    """

    expects = "texts (.parquet or .csv)"
    tokenizer = None

    def describe(self, inputs, *, flags=None, **others):
        """Opens the vocabulary; the data set's description, see `medtop.notes.records.describe`."""
        settings = self.settings
        self.tokenizer = open_tokenizer(settings.vocab_file, settings.lower_case)
        names = ("max_seq_length", "max_predictions_per_seq", "masked_lm_prob", "random_seed")
        return describe(
            self.tokenizer,
            {name: getattr(settings, name) for name in names},
            flags={"vocabulary": self.tokenizer.vocabulary.hash, **self.tokenizer.settings, **(flags or {})},
            source_manifest=only_or_all(map(manifest_of, inputs)),
            **others,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoteSettings(TextSettings):
    """What the feature script for notes is asked for."""

    input_file: str = option(
        REQUIRED,
        "Texts of one split (.parquet, or .csv with TEXT, ID, Label): a file, a glob or a comma list.",
        compared=False,
    )
    vocab_file: str = option(
        REQUIRED, "WordPiece vocabulary, one piece a line (vocab.txt of a model or a run).", compared=False
    )
    lower_case: bool | None = option(
        None,
        "Lower-case and take accents off. Default: as tokenizer_config.json beside the vocabulary says, else whether "
        "the vocabulary has no capital letters.",
    )
    max_seq_length: int = option(DEFAULT_LENGTH, "Longest window, [CLS] and [SEP] included.", rule=at_least(2))
    max_predictions_per_seq: int = option(
        77, "Most pieces masked in a window; a default for the trainer.", rule=at_least(1)
    )
    window_overlap: int = option(0, "Pieces that neighbouring windows of a text share.")
    legacy: bool = option(False, "Keep the first window of each text only, as ClinicalBERT's code.")


class WindowMaker(TextMaker):
    """Windows of the texts of admissions, each with its admission's label.

    Counted beside the usual: `pieces`, `unknown_pieces` ([UNK]), `pieces_cut` (dropped by `legacy`). `examples_in` are
    texts, of which those without a word are left out as `no_words`.
    """

    expects = "texts of admissions (.parquet or .csv)"
    reasons = ("no_words",)
    counts = ("pieces", "unknown_pieces", "pieces_cut")

    def check(self):
        """See `RecordMaker.check`."""
        settings = self.settings
        check_window(settings.max_seq_length, settings.window_overlap)
        if settings.legacy and settings.window_overlap:
            raise DataError("--window_overlap has no effect with --legacy, which keeps one window: leave it out")

    def open(self, inputs):
        """See `RecordMaker.open`."""
        for path in inputs:
            check_texts(path)
        splits = {split_of(path) for path in inputs}
        about = self.describe(inputs)
        if len(splits) > 1:
            raise DataError(
                f"--input_file: expected files of one split, received {', '.join(sorted(map(str, splits)))}; "
                "make one dataset of each"
            )
        return about | {"split": splits.pop()}

    def examples(self, inputs, about):
        """See `RecordMaker.examples`."""
        for path in inputs:
            numbers = collections.Counter()  # windows of each admission so far: a CSV has several texts of one
            for batch in read_texts(path):
                yield self._examples(batch, numbers, about["tasks"])

    def _examples(self, batch, numbers, tasks):
        """The `Examples` of the windows of some texts; `numbers` counts on."""
        settings, tokenizer = self.settings, self.tokenizer
        pieces = tokenizer.tokenize(batch.texts)
        make = first_windows if settings.legacy else make_windows
        windows = make(pieces, settings.max_seq_length, tokenizer.cls_id, tokenizer.sep_id, settings.window_overlap)
        records = records_of(windows, batch.patient_ids, batch.admission_ids, batch.prediction_times, batch.labels)
        return examples_of(
            dataclasses.replace(records, windows=_numbered(records.admission_ids, windows, numbers)),
            tasks,
            examples_in=len(batch.texts),
            dropped={"no_words": int((pieces.counts == 0).sum())},
            counts={
                "pieces": len(pieces.ids),
                "unknown_pieces": int((pieces.ids == tokenizer.unk_id).sum()),
                "pieces_cut": len(pieces.ids) - int((windows.counts - 2).sum()) if settings.legacy else 0,
            },
        )


def _numbered(admission_ids, windows, numbers):
    """Window numbers that go on from one text of an admission to its next: int64 [S]."""
    numbered = np.empty(len(windows), np.int64)
    for place, admission in enumerate(admission_ids):
        numbered[place] = numbers[admission]
        numbers[admission] += 1
    return numbered


def open_tokenizer(vocab_file, lower_case=None):
    """The `WordPiece` of a vocabulary file; see `choose_case` for `lower_case`."""
    vocabulary = read_vocabulary(vocab_file)
    return WordPiece(vocabulary, choose_case(vocab_file, vocabulary, lower_case))
