"""What a layout of records is: their fields, what the model can read out of them, what may be done with them.

A new layout is one `Layout` in one place: `LAYOUTS[layout.name] = layout`, from within this package or from outside.
No code asks for a layout's name. No TensorFlow here.
"""

import dataclasses

from medtop.files.errors import DataError
from medtop.model.config import EMBEDDINGS, WORD_CHANNELS

EACH_TOKEN, EACH_RECORD = "token", "record"


@dataclasses.dataclass(frozen=True)
class Field:
    """One feature of the records.

    Attributes:
        name: its key. `gap_days` is stored as `gap_before_days` or `gap_after_days` (`record_field`).
        kind: "int64", "float" or "bytes".
        size: `EACH_TOKEN`: one value per token; `EACH_RECORD`: one value; a number: so many values, or the name of one
            of the data set's defaults that says how many.
    """

    name: str
    kind: str = "int64"
    size: str | int = EACH_TOKEN


def fields(names, kind="int64", size=EACH_TOKEN):
    """Several `Field`s alike, out of their names in one string."""
    return tuple(Field(name, kind, size) for name in names.split())


@dataclasses.dataclass(frozen=True, repr=False)
class Layout:
    """A kind of records.

    Attributes:
        name: as in `dataset.json`.
        title: what messages call such records.
        fields: `Field`s of every record, beside `<task>_labels` and `<task>_weights` [K] of the tasks.
        inputs: key of the batch -> field with one value per token. Where no field is named for `segments`, they are
            made from the visit numbers.
        always: keys of the batch that every model needs, whatever it embeds.
        embeddings: names of `medtop.model.config.CHANNELS` that the records can fill.
        segments: values of the config's `segment` that the records can fill.
        label_fields: task -> field that holds its labels, all known, instead of `<task>_labels`.
        has_patients: whether a record says whose it is and when (`patient_id`, `prediction_time`).
        static_masks: whether records are padded to `max_seq_length` and hold the masks that were drawn for them.
        has_windows: whether a record is a window of a text (`admission_id`, `word_starts`): windows of one text belong
            together, and no window may be cut.
        can_count: whether count baselines can be fitted on the records.
    """

    name: str
    title: str
    fields: tuple
    inputs: dict
    always: tuple = ("token_ids",)
    embeddings: tuple = ("code", "position")
    segments: tuple = ("zero",)
    label_fields: dict = dataclasses.field(default_factory=dict)
    has_patients: bool = True
    static_masks: bool = False
    has_windows: bool = False
    can_count: bool = False

    def __repr__(self):
        return repr(self.name)


DEFAULT = Layout(
    "default",
    "records of codes",
    fields=(
        *fields("token_ids visits visit_positions age_days gap_days stay_days recency_days"),
        *fields("sex prediction_time", size=EACH_RECORD),
        *fields("patient_id", "bytes", EACH_RECORD),
    ),
    inputs={
        "token_ids": "token_ids",
        "visit_positions": "visit_positions",
        "visits": "visits",
        "ages": "age_days",
        "gaps": "gap_days",
        "stays": "stay_days",
        "recencies": "recency_days",
    },
    always=("token_ids", "visits"),
    embeddings=tuple(EMBEDDINGS),
    segments=("zero", "alternating", "visit"),
    can_count=True,
)
MEDBERT = Layout(
    "medbert",
    "Med-BERT's layout",
    fields=(
        *fields("input_ids input_mask segment_ids", size="max_seq_length"),
        *fields("masked_lm_positions masked_lm_ids", size="max_predictions_per_seq"),
        *fields("masked_lm_weights", "float", "max_predictions_per_seq"),
        *fields("next_sentence_labels", size=1),
    ),
    inputs={"token_ids": "input_ids", "visits": "segment_ids"},
    always=("token_ids", "visits"),
    embeddings=("code", "position", "visit", "segment"),
    segments=("zero", "alternating", "visit"),
    label_fields={"long_stay": "next_sentence_labels"},
    has_patients=False,
    static_masks=True,
)
FINETUNING = Layout(
    "medbert_finetuning",
    "Med-BERT's fine-tuning lists",
    fields=(
        *fields("token_ids visits"),
        *fields("prediction_time", size=EACH_RECORD),
        *fields("patient_id", "bytes", EACH_RECORD),
    ),
    inputs={"token_ids": "token_ids", "visits": "visits"},
    always=("token_ids", "visits"),
    embeddings=("code", "position", "visit", "segment"),
    segments=("zero", "alternating", "visit"),
)
NOTES = Layout(
    "notes",
    "records of notes",
    fields=(
        *fields("token_ids segment_ids word_starts"),
        *fields("window window_start window_end prediction_time", size=EACH_RECORD),
        *fields("patient_id admission_id", "bytes", EACH_RECORD),
    ),
    inputs={"token_ids": "token_ids", "segments": "segment_ids", "word_starts": "word_starts"},
    embeddings=("code", "position", "segment"),
    segments=("zero", "sentence"),
    has_windows=True,
)
_CHANNELS = [key for key, _, _ in WORD_CHANNELS.values()]
ENTITIES = Layout(
    "entities",
    "records of words",
    fields=(
        *fields(" ".join(["token_ids", "word_starts", *_CHANNELS])),
        *fields("window prediction_time", size=EACH_RECORD),
        *fields("patient_id document_id", "bytes", EACH_RECORD),
    ),
    inputs={name: name for name in ("token_ids", "word_starts", *_CHANNELS)},
    embeddings=("code", "position", *WORD_CHANNELS),
)
ENTITY_PIECES = Layout(
    "entity_pieces",
    "records of word pieces with tags",
    fields=(
        *fields("token_ids segment_ids word_starts"),
        *fields("window prediction_time", size=EACH_RECORD),
        *fields("patient_id document_id", "bytes", EACH_RECORD),
    ),
    inputs={"token_ids": "token_ids", "segments": "segment_ids", "word_starts": "word_starts"},
    embeddings=("code", "position", "segment"),
    segments=("zero", "sentence"),
)
LAYOUTS = {layout.name: layout for layout in (DEFAULT, MEDBERT, FINETUNING, NOTES, ENTITIES, ENTITY_PIECES)}


def find_layout(name, where):
    """The `Layout` of a name in a data set's or a run's description; `where` is that file, for the message.

    Raises:
        DataError: for a name that is not in `LAYOUTS`.
    """
    if name not in LAYOUTS:
        raise DataError(f"{where}: expected a layout out of {', '.join(LAYOUTS)}, received {name!r}")
    return LAYOUTS[name]


def record_field(name, time_gap):
    """A field's name in the records, which says of the gap whether it lies before or after.

    >>> record_field("gap_days", "after"), record_field("visits", "after")
    ('gap_after_days', 'visits')
    """
    return f"gap_{time_gap}_days" if name == "gap_days" else name
