"""Weekdays and times of day: no identifiers under safe harbor, removed by the policy `strict` or where a site asks."""

from medtop.deidentification.rule import pattern_rule

_HALF = r"(?:\s?(?:[ap]\.?\s?m\b\.?))"

CALENDAR = (
    pattern_rule(
        "TIME",
        "hours and minutes",
        rf"(?<![\w:./-])(?:[01]?\d|2[0-4])[:h][0-5]\d(?::[0-5]\d(?:[.,]\d{{1,6}})?)?{_HALF}?(?:\s?(?:h|hrs?|hours|z|utc"
        rf"|gmt|[ecmp][sd]?t)\b)?(?![\w]|:\d)",
        starts="#1 #2",
    ),
    pattern_rule(
        "TIME", "behind a date", r"(?<=\dT)\d\d:\d\d(?::\d\d(?:[.,]\d{1,6})?)?(?:z|[+-]\d\d:?\d\d)?", starts="#2"
    ),
    pattern_rule("TIME", "hour", rf"(?<![\w:./-])(?:0?[1-9]|1[0-2])(?:\.[0-5]\d)?{_HALF}(?!\w)", starts="#1 #2"),
    pattern_rule("TIME", "o'clock", r"(?<![\w:./-])\d{1,2}\s?o'clock\b", starts="#1 #2"),
    pattern_rule(
        "TIME",
        "four digits",
        r"\b(?:at|@|time:?|by|around|until|from)\s*(?P<v>(?:[01]\d|2[0-3])[0-5]\d)(?:\s?(?:h|hrs?|hours)\b)?(?![\w/:%-]|\.\d)",
    ),
    pattern_rule("TIME", "in words", r"\b(?:noon|midnight|midday)\b", starts="noo mid"),
    pattern_rule(
        "WEEKDAY", "in full", r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b", starts="mon tue wed thu fri sat sun"
    ),
    pattern_rule(
        "WEEKDAY",
        "short",
        r"\b(?:Mon|Tues?|Wed|Thurs?|Thu|Fri)\b\.?(?!\s?[:=%])|\b(?<=on )(?:Sat|Sun)\b|"
        r"\b(?:Sat|Sun)(?=[.,]{1,2}\s+(?:\d{1,2}\b|[A-Z][a-z]{2}))",
        flags=0,
        starts="mon tue wed thu fri sat sun",
    ),
)
