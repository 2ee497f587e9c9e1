"""How the values of any input are read and judged; filled from flags, the same for all sources."""

import dataclasses
import datetime

from medtop.files.errors import DataError
from medtop.files.options import at_least, compared, option
from medtop.sources.after_death import GRACE_DAYS
from medtop.sources.choices import Choices
from medtop.sources.code_forms import CODE_SYSTEMS, check_code_options
from medtop.sources.dates import DateRules
from medtop.sources.observation import FOR_COLUMN


@dataclasses.dataclass(frozen=True)
class Rules:
    """Rules for all sources; docs/sources.md says what each does."""

    dates: DateRules = dataclasses.field(default_factory=DateRules)  # flags of their own
    choices: Choices = dataclasses.field(default_factory=Choices)  # flags of their own
    code_system: str | None = option(
        None,
        "What codes without a mark (ICD10_...) are: icd9, icd10, auto (ICD-10 where nearly all look so), verbatim (no "
        "code is changed). Default auto; verbatim for medbert_tsv and --layout=medbert.",
        choices=CODE_SYSTEMS,
    )
    code_separator: str | None = option(None, "What stands between the codes of a cell that holds several, such as ;")
    observation_end: str | None = option(
        None,
        "Day until which patients are observed, YYYY-MM-DD, or column: the table's own column alone. Default: what the "
        "source says, such as the end of the last month with a usual number of admissions.",
    )
    death_grace_days: int = option(
        GRACE_DAYS, "Stays that begin more than so many days after the death are dropped.", rule=at_least(0)
    )
    accept_unusable: tuple = option(
        (), "Columns (or rows) of which more than half cannot be used, and which are taken all the same."
    )

    def __post_init__(self):
        check_code_options(self.code_separator)
        if self.observation_end not in (None, FOR_COLUMN):
            try:
                datetime.date.fromisoformat(self.observation_end)
            except ValueError:
                raise DataError(
                    "--observation_end: expected a day such as 2019-12-31, or column, received "
                    f"{self.observation_end!r}"
                ) from None

    @property
    def settings(self):
        """dict of plain values: what determines the outputs."""
        own = {name: list(value) if isinstance(value, tuple) else value for name, value in compared(self).items()}
        del own["dates"], own["choices"]
        return self.dates.settings | self.choices.settings | own
