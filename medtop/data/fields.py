"""Which fields of the records become which inputs of the model, in each layout. No TensorFlow here."""

from medtop.files.errors import DataError
from medtop.model.config import EMBEDDINGS

SEQUENCE_FIELDS = {
    # key of the batch: field of the record; `gap` stands for `info.gap_feature`
    "token_ids": "token_ids",
    "visit_positions": "visit_positions",
    "visits": "visits",
    "ages": "age_days",
    "gaps": "gap",
    "stays": "stay_days",
    "recencies": "recency_days",
}
NOTE_FIELDS = {"token_ids": "token_ids", "segments": "segment_ids", "word_starts": "word_starts"}

_OFFERED = {"medbert": ("code", "position", "visit", "segment"), "notes": ("code", "position", "segment")}
_NAMES = {"medbert": "Med-BERT's layout", "notes": "records of notes"}


def sequence_fields(info, config, whole_words=False):
    """What is read per token.

    Args:
        info: `DatasetInfo`.
        config: `BertConfig`.
        whole_words: whether masks are drawn by whole words.

    Returns:
        dict key of the batch -> field of the record. `segments` has a field of its own in notes only; elsewhere it is
        made from the visit numbers.

    Raises:
        DataError: where the config reads what the layout does not hold.
    """
    check_inputs(info, config)
    if info.layout == "notes":
        wanted = {"token_ids"} | ({"segments"} if config.segment == "sentence" else set())
        wanted = (wanted & {"token_ids", *config.inputs}) | ({"word_starts"} if whole_words else set())
        return {key: field for key, field in NOTE_FIELDS.items() if key in wanted}
    if whole_words:
        raise DataError(
            f"--whole_word_masking: expected records of notes, received codes ({info.names[0]}), which are whole words"
        )
    wanted = set(config.inputs) | {"token_ids", "visits"}
    return {
        key: info.gap_feature if field == "gap" else field for key, field in SEQUENCE_FIELDS.items() if key in wanted
    }


def check_inputs(info, config):
    """Refuses a config whose embeddings or segments the records' layout does not hold.

    Raises:
        DataError: naming the data set, the embeddings and the layout.
    """
    offered = _OFFERED.get(info.layout, tuple(EMBEDDINGS))
    lost = [name for name in config.embeddings if name not in offered]
    if lost:
        raise DataError(
            f"{info.names[0]}: expected records with {', '.join(lost)} (the config's embeddings), "
            f"received {_NAMES[info.layout]}, which has {', '.join(offered[:-1])} and {offered[-1]} only"
        )
    allowed = ("zero", "sentence") if info.layout == "notes" else ("zero", "alternating", "visit")
    if "segment" in config.embeddings and config.segment not in allowed:
        raise DataError(
            f"{info.names[0]}: expected a config with segment {' or '.join(allowed)}, "
            f"received segment={config.segment!r}"
        )
