"""The rules that ship: patterns of structured identifiers, and names and places by the words around them.

A rule is a type, a name and a regular expression whose group `v` is the identifier; `tests/deidentification` has
positive and negative examples of each. Words that are clinical terms as well as names stand in `ambiguous`.
"""

from medtop.deidentification.calendar_rules import CALENDAR
from medtop.deidentification.money_rules import ACCOUNTS
from medtop.deidentification.name_rules import NAMES
from medtop.deidentification.number_rules import NUMBERS, OTHER_NUMBERS
from medtop.deidentification.place_rules import PLACES

RULES = (*ACCOUNTS, *NUMBERS, *PLACES, *OTHER_NUMBERS, *NAMES)
"""In the order in which they are tried; where spans overlap they are joined, and the longest one's type stays."""

STRICT_RULES = (*RULES, *CALENDAR)
"""With weekdays and times of day."""
