"""Which fields of the records become which inputs of the model. No TensorFlow here."""

from medtop.data.layouts import record_field
from medtop.files.errors import DataError


def sequence_fields(info, config, whole_words=False, more=()):
    """What is read per token.

    Args:
        info: `DatasetInfo`.
        config: `BertConfig`.
        whole_words: whether masks are drawn by whole words.
        more: further keys of the batch that heads read.

    Returns:
        dict key of the batch -> field of the record. `segments` are read where the config wants the records' own; else
        they are made from the visit numbers, or zero.

    Raises:
        DataError: where the config reads what the layout does not hold.
    """
    check_inputs(info, config)
    inputs = info.layout.inputs
    if whole_words and "word_starts" not in inputs:
        raise DataError(
            f"--whole_word_masking: expected records of notes, received codes ({info.names[0]}), which are whole words"
        )
    wanted = {*config.inputs, *info.layout.always} - ({"segments"} if config.segment != "sentence" else set())
    wanted |= {"word_starts"} if whole_words else set()
    if lost := sorted({*more} - {*inputs}):
        raise DataError(f"{info.names[0]}: expected records with {', '.join(lost)}, received {info.layout.title}")
    wanted |= {*more}
    return {key: record_field(field, info.time_gap) for key, field in inputs.items() if key in wanted}


def check_inputs(info, config):
    """Refuses a config whose embeddings or segments the records' layout does not hold.

    Raises:
        DataError: naming the data set, the embeddings and the layout.
    """
    layout = info.layout
    lost = [name for name in config.embeddings if name not in layout.embeddings]
    if config.wide_days and not layout.can_count:
        raise DataError(
            f"{info.names[0]}: expected records with the time of each code (the config's wide_days), "
            f"received {layout.title}"
        )
    if config.head == "retain" and "visits" not in layout.inputs:
        raise DataError(
            f"{info.names[0]}: expected records with visits (the config's head=retain), received {layout.title}"
        )
    if lost:
        raise DataError(
            f"{info.names[0]}: expected records with {', '.join(lost)} (the config's embeddings), "
            f"received {layout.title}, which has {', '.join(layout.embeddings[:-1])} and {layout.embeddings[-1]} only"
        )
    if "segment" in config.embeddings and config.segment not in layout.segments:
        raise DataError(
            f"{info.names[0]}: expected a config with segment {' or '.join(layout.segments)}, "
            f"received segment={config.segment!r}"
        )
