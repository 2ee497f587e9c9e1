"""How patients are split: the options, and which of them go together."""

import dataclasses
import datetime

from medtop.cohort.splits import SPLITS
from medtop.files.errors import DataError
from medtop.files.options import option

SPLIT_BY = ("patient", "time", "site")


def _date(text):
    if text is None:
        return None
    try:
        return datetime.date.fromisoformat(text.strip()).isoformat()
    except ValueError:
        raise ValueError(f"expected a date such as 2016-01-01, received {text!r}") from None


def _names(texts):
    return tuple(dict.fromkeys(name for name in (text.strip() for text in texts or ()) if name))


@dataclasses.dataclass(frozen=True)
class SplitOptions:
    """Which patient is for training, validation and test."""

    splits: str | None = option(
        None,
        "File patient_id,split (train, valid, test), or the name of one split that takes all patients, such as "
        "test for new patients; default 7:1:2 by a seeded hash of the id.",
    )
    split_by: str = option(
        "patient",
        "What sets the splits apart: patient; time (training before --valid_from, test from --test_from on); site.",
        choices=SPLIT_BY,
    )
    valid_from: str | None = option(
        None, "--split_by=time: first day of the validation period, such as 2016-01-01.", parse=_date
    )
    test_from: str | None = option(None, "--split_by=time: first day of the test period.", parse=_date)
    sites: str | None = option(None, "--split_by=site: table with the columns patient_id and site.")
    test_sites: tuple = option((), "--split_by=site: sites for the test.", parse=_names)
    valid_sites: tuple = option(
        (),
        "--split_by=site: sites for validation; without any, an eighth of the patients of the training sites.",
        parse=_names,
    )


def check_split_options(options, index):
    """Refuses options that do not go together.

    Args:
        options: `SplitOptions`.
        index: name of the rule for prediction times.

    Raises:
        DataError: naming the flag.
    """
    needed = {"time": ("valid_from", "test_from"), "site": ("sites", "test_sites")}
    of_site = ("sites", "test_sites", "valid_sites")
    for name in ("valid_from", "test_from", *of_site):
        kind = "site" if name in of_site else "time"
        given = bool(getattr(options, name))
        if given and options.split_by != kind:
            raise DataError(f"--{name} has no effect without --split_by={kind}: leave it out, or split so")
        if not given and name in needed.get(options.split_by, ()):
            raise DataError(f"--split_by={kind}: expected --{name}, received none")
    if options.split_by == "time":
        if options.valid_from >= options.test_from:
            raise DataError(
                f"--test_from: expected a day after --valid_from ({options.valid_from}), received {options.test_from}"
            )
        if options.splits in SPLITS:
            raise DataError(f"--splits={options.splits}: expected a file, or none, with --split_by=time")
        if index == "lineage":
            raise DataError(
                "--index=lineage: expected another rule with --split_by=time; this one looks at outcomes, also at "
                "those after the boundary"
            )
    if options.split_by == "site":
        if options.splits:
            raise DataError("--splits and --split_by=site exclude each other: give one of them")
        if both := set(options.test_sites) & set(options.valid_sites):
            raise DataError(f"--valid_sites: expected other sites than --test_sites, received {min(both)} in both")
