"""Dates in the forms that clinical notes have, and each moved by days in its own form.

`find` gives spans with kind DATE (a day, a month, a holiday) or YEAR (a year alone); `shifted` gives the moved text or
None where a form holds no date that exists (30 February), which then cannot be moved.
"""

import datetime
import re

from medtop.deidentification.scan import Scanner, lowered, matches

MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
            "september sept sep", "october oct", "november nov", "december dec",
        ), 1)
    for name in names.split()
}  # fmt: skip
_NAMES = ("January February March April May June July August September October November December").split()

_M = (
    r"(?P<M>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug"
    r"(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)(?P<dot>\.?)"
    r"(?![a-z])"
)
_D = r"(?P<d>0?[1-9]|[12]\d|3[01])"
_MN = r"(?P<m>0?[1-9]|1[0-2])"
_Y = r"(?P<y>(?:19|20)\d\d)"
_Y2 = r"(?P<y>(?:19|20)\d\d|\d\d)"
_TH = r"(?P<th>\s?(?:st|nd|rd|th)\b)"
_GAP = r"[,\s]{1,3}"
_BEHIND = r"(?=\s*(?:[.,;:)\n]|$|(?:at|and|to|by|with|for|in|on|is|was|when)\b))"
_BEFORE, _AFTER = r"(?<![\w/.-])", r"(?![\w/]|[.-]\d)"
_COMPACT_TEXT = (
    r"(?<![\w/.-])(?P<y>(?:19[3-9]|20[0-4])\d)(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|"
    r"3[01])(?=\d{4,6}\b|T\d|\b)(?![.-]\d)"
)
FORMS = tuple(
    re.compile(text, re.I)
    for text in (
        rf"{_BEFORE}{_Y}\s?(?P<s>[-/.])\s?{_MN}\s?(?P=s)\s?{_D}(?=T\d|{_AFTER})",  # 2014-03-02
        rf"(?<![\w/.-])(?<!\d[ ])(?<!\d[.] ){_MN}\s?(?P<s>[-/.])\s?{_D}\s?(?P=s)\s?{_Y2}(?=T\d|(?![\w/]|"
        rf"[-]\d|[.]\d))",  # 3/2/2014
        rf"(?<![\w/.-]){_D}\s?(?P<s>[-/.])\s?{_MN}\s?(?P=s)\s?{_Y2}{_AFTER}",  # 22.3.2014
        _COMPACT_TEXT,
        rf"(?<![a-z]){_M}\s*{_D}{_TH}?(?:{_GAP}|\s+of\s+){_Y}(?!\d)",  # March 2nd, 2014
        rf"(?<![a-z]){_M}\s*{_D}{_TH}?{_GAP}(?P<tick>['])(?P<y>\d\d)(?!\d)",
        rf"(?<![\w/]){_D}(?:{_TH}|\.)?\s+(?:day\s+)?(?:of\s+)?{_M}[,\s]*{_Y}(?!\d)",  # 2nd of March 2014
        rf"(?<![\w/]){_D}(?P<s>[-/.\s]?){_M}(?P=s)(?:{_Y}|['](?P<y2>\d\d))(?!\d)",  # 2-Mar-2014, 02MAR2014
        rf"(?<![\w/]){_D}(?P<s>[-/.]?){_M}(?P=s)(?P<y>\d\d)(?![\d/])",  # 02-Mar-14, 02MAR14
        rf"(?<![\w/]){_D}\s{_M}\s(?P<y>\d\d){_BEHIND}",  # 2 Mar 14
        rf"(?<![a-z]){_M}-(?P<y>[4-9]\d|3[2-9])(?![\w/%-]|[.]\d)",  # Mar-94
        rf"(?<![\w/.-])(?P<y>[4-9]\d|3[2-9])(?P<s>-)(?P<m>0[1-9]|1[0-2])-(?P<d>0[1-9]|[12]\d|3[01])"
        rf"{_AFTER}",  # 94-03-02
        rf"(?<![a-z]){_M}[-/](?P<d>[12]\d|3[01]|0?[1-9])[-/]{_Y2}(?!\d)",  # Mar-02-2014
        rf"(?<![a-z]){_M}(?:[,\s]+|\s+of\s+|[-/]){_Y}(?!\d)",  # March 2014
        rf"(?<![a-z]){_M}\s?['](?P<y>\d\d)(?!\d)",  # Mar '14
        rf"(?<![\w/]){_MN}(?P<s>/){_Y}(?![\w/])",  # 03/2014
    )
)
"""Forms that are dates wherever they stand."""

_MONTH_DAY = re.compile(
    rf"(?<![a-z]){_M}(?:\s*|-){_D}{_TH}?(?![\d/:%]|[.]\d|\s?(?:mg|mcg|ml|tab|cap|unit|puff|"
    rf"time|hour|week|day|drop))",
    re.I,
)
_DAY_MONTH = re.compile(rf"(?<![\w/.]){_D}(?:{_TH}(?:\s+of)?|\s+of|(?P<s>[-/ ]))\s*{_M}(?![-/]?\d)", re.I)
_MONTH_ALONE = re.compile(
    rf"\b(?:in|since|during|last|this|next|until|till|by|early|late|mid|of|through|"
    rf"from|to|before|after)[\s-]+{_M}(?![\s,]*\d)",
    re.I,
)
_MONTH_IN_FULL = re.compile(
    r"(?P<M>January|February|April|June|July|August|September|October|November|December)(?![A-Za-z]|[\s,]*\d)"
)
"""A month alone, with a capital; `May` and `March` are verbs at a sentence's beginning."""
_SHORT = re.compile(rf"(?:(?<![\w/.+-])|(?<=\d/\d-)|(?<=\d/\d\d-)){_MN}(?P<s>[/]){_D}(?![\w/%]|[.]\d)")
_SHORT_DASH = re.compile(rf"(?<![\w/.-]){_MN}(?P<s>-){_D}(?![\w/-]|[.]\d)")
_SHORT_YEAR = re.compile(
    r"\b(?:since|in|dated|from|until|till|(?P<card>exp(?:\.|ir\w*)?|valid(?:\s+(?:thru|through|until|to))?))"
    r"\s*(?:date|on|in)?\s*:?\s*$",
    re.I,
)
_MONTH_YEAR = re.compile(rf"(?<![\w/.+-]){_MN}(?P<s>/)(?P<y>\d\d)(?![\w/%]|[.-]\d)")
_DATE_WORDS = re.compile(
    r"(?:\b(?:on|since|from|until|till|thru|through|by|dated?|before|after|between|and|of|to|admit(?:ted)?|admission|"
    r"discharge(?:d)?|d/c(?:'?d)?|seen|due|start(?:ed|ing)?|stop(?:ped)?|last|next|"
    r"dob|born|birth(?:day)?|as of|dos|visit|"
    r"surgery|performed|drawn|repeat|echo|ct|mri|cxr|x-?ray|culture|labs?|appt|appointment|ending|week of|lmp|edc|edd)"
    r"\s*(?:date)?\s*[:(=-]?\s*|[0-9]/[0-9]{1,2}\s?(?:-|to|and|&|,)\s?)$",
    re.I,
)
_NOT_DATE = re.compile(
    r"\s*(?:-?\s*(?:\d/\d{1,2})?\s*)(?:strength|murmur|sem\b|systolic|diastolic|"
    r"hsm|pain|power|motor|tab|tsp|cup|pills?|visual|vision|reflex|pulses?|"
    r"blasts|positive|bottles|sets|strips|mmt|throughout|in (?:all|both|upper|lower)|"
    r"bilat|scale|words?|objects?|items?|lobes?|of the|"
    r"ppd|pack|ounce|oz|inch|mg|ml|ns\b|normal saline|dose|strong|edema|crackles|"
    r"points?|criteria|nodes?|stenosis|"
    r"days?|weeks?|months?|hours?|hrs?|times|years?|minutes?|cm\b|mm\b|inches|episodes?|beers?|"
    r"drinks?|cigarettes?|units?)",
    re.I,
)
_YEAR = re.compile(
    r"(?:(?<![\w/.$#:-])|(?<=(?<!\d)(?:19|20)\d\d-))(?P<y>19[2-9]\d|20[0-4]\d)(?:s\b)?"
    r"(?!-(?!(?:19|20)\d\d(?![\d-]))\d|[\w/:%]|\.\d|\s?(?:mg|"
    r"mcg|ml|cc|kcal|cal|units?|hours?|hrs?|grams?|g\b|meq|iu\b|steps|copies|cells|"
    r"h\b|mm|x\d))"
)
_CLOCK = re.compile(r"(?:\bat|@|~|\btime:?|\b0\d{3}\s?-)\s*(?:\d{4}\s*(?:,|and|to|&|-)\s*)*$", re.I)
_HOLIDAY = re.compile(
    r"\b(?:Christmas(?: Eve| Day)?|Thanksgiving|New Year'?s(?: Eve| Day)?|Fourth "
    r"of July|4th of July|Memorial Day|Labor Day|"
    r"Halloween|Mother'?s Day|Father'?s Day|Valentine'?s Day|Veterans Day|Columbus "
    r"Day|Presidents'? Day|Easter Sunday)\b",
    re.I,
)
_ANY = re.compile(r"\d[-/.]\s?\d|(?:19|20)\d\d|\d{6}")
_MONTH = re.compile(_M, re.I)
_COMPACT = next(form for form in FORMS if form.pattern == _COMPACT_TEXT)
_PARTED = re.compile(r"\d{1,4}\s?[-/.]")
_WITH_MONTH_FIRST = (*(form for form in FORMS if form.pattern.startswith(rf"(?<![a-z]){_M}")), _MONTH_DAY)
_WITH_MONTH_BEHIND = tuple(form for form in FORMS if "(?P<M>" in form.pattern and form not in _WITH_MONTH_FIRST)
_OF_NUMBERS = tuple(form for form in FORMS if "(?P<M>" not in form.pattern)
STARTS = {
    "month": "jan feb mar apr may jun jul aug sep oct nov dec",
    "word": "in$ sin dur las thi nex unt til by$ ear lat mid of$ thr fro to$ bef aft",
    "holiday": "chr tha new fou mem lab hal mot fat val vet col pre eas #1",
    "day": "#1 #2",
    "year": "#4",
    "compact": "#8 #9",
}
"""With what the forms begin, see `medtop.deidentification.scan.begins`: a month's name, a word before one, ..."""
_SCANNER = Scanner(list(STARTS.values()))


def _valid(match):
    """Whether a month and a day of a match can stand together in some year."""
    parts = match.groupdict()
    month = int(parts["m"]) if parts.get("m") else MONTHS[parts["M"].lower()] if parts.get("M") else None
    day = int(parts["d"]) if parts.get("d") else None
    return month is None or day is None or day <= (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]


def find(text, places=None):
    """Yields (start, end, kind, match) of dates; they may overlap, the more certain ones first.

    Args:
        text: a view's text.
        places: for each of `STARTS` a list of places, where they are known.
    """
    if places is None:
        places = _SCANNER.places(lowered(text))
    places = dict(zip(STARTS, places, strict=True))
    if months := [place for place in places["month"] if _MONTH.match(text, place)]:
        yield from _with_months(text, months, places)
    for match in matches(_HOLIDAY, text, places["holiday"]):
        yield match.start(), match.end(), "DATE", match
    if not _ANY.search(text):
        return
    parted = [place for place in sorted(places["day"] + places["year"]) if _PARTED.match(text, place)]
    for form in _OF_NUMBERS:
        for match in matches(form, text, places["compact"] if form is _COMPACT else parted):
            yield match.start(), match.end(), "DATE", match
    for form in (_SHORT, _SHORT_DASH):
        for match in matches(form, text, parted):
            before = text[max(0, match.start() - 20) : match.start()]
            if _valid(match) and _DATE_WORDS.search(before) and not _NOT_DATE.match(text, match.end()):
                yield match.start(), match.end(), "DATE", match
    for match in matches(_MONTH_YEAR, text, parted):
        words = _SHORT_YEAR.search(text[max(0, match.start() - 20) : match.start()])
        if words and (int(match["y"]) > 31 or words["card"]) and not _NOT_DATE.match(text, match.end()):
            yield match.start(), match.end(), "DATE", match
    for match in matches(_YEAR, text, places["year"]):
        if not _CLOCK.search(text[max(0, match.start() - 24) : match.start()]):
            yield match.start("y"), match.end("y"), "YEAR", match


def _with_months(text, months, places):
    """Forms that name a month; `months`: where a month's name begins."""
    for place in months:
        for form in _WITH_MONTH_FIRST:
            if (match := form.match(text, place)) and (form is not _MONTH_DAY or _is_month(match)):
                yield match.start(), match.end(), "DATE", match
    for form in _WITH_MONTH_BEHIND:
        for match in matches(form, text, places["day"]):
            if match["y"] or match.groupdict().get("y2"):
                yield match.start(), match.end(), "DATE", match
    for match in matches(_DAY_MONTH, text, places["day"]):
        if _is_month(match):
            yield match.start(), match.end(), "DATE", match
    for match in matches(_MONTH_IN_FULL, text, months):
        yield match.start(), match.end(), "DATE", match
    for match in matches(_MONTH_ALONE, text, places["word"]):
        abbreviation = len(match["M"]) == 3 and match["M"].isupper()  # OCT, MAR and DEC are examinations and drugs
        if not abbreviation and (match["M"] != "may" or match[0].startswith(("in ", "since "))):
            yield match.start("M"), match.end("M"), "DATE", match


def _is_month(match):
    """`may` and `march` in lower case are mostly verbs: a day's ending or a comma must follow."""
    if match["M"] in ("may", "march") and not match.groupdict().get("th"):
        return match["M"] == "march" and len(match["d"]) <= 2
    return True


def shifted(match, kind, days, year=None):
    """The text of a match, moved.

    Args:
        match: the match that `find` gave.
        kind: "DATE" or "YEAR".
        days: int.
        year: the year that a form without one is taken for, else a year of 365 days.

    Returns:
        str, or None where the form is no day that exists (the caller puts a tag in its place).
    """
    parts = match.groupdict()
    piece, start = match[0], match.start()
    if kind == "YEAR":
        moved = datetime.date(int(parts["y"]), 7, 1) + datetime.timedelta(days)
        return str(moved.year)
    if "M" not in parts and "m" not in parts:
        return None  # a holiday
    digits = parts.get("y") or parts.get("y2")
    whole_year = int(digits) if digits and len(digits) == 4 else None
    if digits and len(digits) == 2:
        whole_year = 2000 + int(digits) if int(digits) < 50 else 1900 + int(digits)
    month = int(parts["m"]) if parts.get("m") else MONTHS[parts["M"].lower()]
    day = int(parts["d"]) if parts.get("d") else 15
    try:
        moved = datetime.date(whole_year or year or 2001, month, day) + datetime.timedelta(days)
    except (ValueError, OverflowError):
        return None
    compact = parts.get("s") == "" or bool(parts.get("m") and digits and match.start("y") < match.start("m"))
    compact = compact or any((parts.get(name) or "").startswith("0") for name in "md")
    new = {name: _number(parts.get(name), value, compact) for name, value in (("m", moved.month), ("d", moved.day))}
    new["M"] = _month_name(parts["M"], moved.month, parts.get("s")) if parts.get("M") else None
    for name in ("y", "y2"):
        new[name] = parts.get(name) and (str(moved.year) if len(parts[name]) == 4 else f"{moved.year % 100:02}")
    if parts.get("th"):
        gap = parts["th"][: len(parts["th"]) - 2]
        new["th"] = gap + _like(parts["th"][-2:], _ending(moved.day))
    if match.re in (_MONTH_ALONE, _MONTH_IN_FULL):
        return new["M"]
    edits = sorted((match.start(name), match.end(name), text) for name, text in new.items() if text and parts.get(name))
    for begin, end, text in reversed(edits):
        piece = piece[: begin - start] + text + piece[end - start :]
    return piece


def year_of(match):
    """The four-digit year that a match states, or None."""
    digits = match.groupdict().get("y")
    return int(digits) if digits and len(digits) == 4 else None


def _number(old, new, compact):
    """A number with two digits where the old one has a leading zero, or two digits in a form that always has two."""
    return old and (f"{new:02}" if old.startswith("0") or (compact and len(old) == 2) else str(new))


def _month_name(old, number, sign):
    """The whole name, or three letters as the old one; `May` is three letters where a sign is beside it (2-May-14)."""
    full = _NAMES[number - 1]
    whole = len(old) > 4 or old.lower() in ("june", "july") or (old.lower() == "may" and sign in (None, " "))
    new = full if whole else full[:3]
    return _like(old, new)


def _like(old, new):
    """`new` in the case of `old`."""
    if old.isupper():
        return new.upper()
    return new.lower() if old.islower() else new


def _ending(day):
    return "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
