"""The formats of entities, one file each: `FORMATS` has them by name."""

from medtop.entities.formats import bioc, brat, conll, i2b2_2010, i2b2_2012, i2b2_2014, jsonl, pubtator
from medtop.files.errors import DataError

FORMATS = {
    module.FORMAT.name: module.FORMAT
    for module in (brat, conll, pubtator, i2b2_2010, i2b2_2012, i2b2_2014, bioc, jsonl)
}


def find_format(name):
    """The `Format` of a name.

    Raises:
        DataError: for a name that is none.
    """
    if name not in FORMATS:
        raise DataError(f"format: expected one of {', '.join(FORMATS)}, received {name!r}")
    return FORMATS[name]
