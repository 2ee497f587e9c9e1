"""Rules of places: streets, towns, ZIP codes, institutions. States may stay, and are no place here."""

import re

from medtop.deidentification.ambiguous import NO_NAME
from medtop.deidentification.name_rules import CAP, CAPS, is_name
from medtop.deidentification.rule import SEP, holds, holds_form, pattern_rule

_STREET_KIND = (
    r"(?:street|st|avenue|ave|road|rd|drive|dr|boulevard|blvd|lane|ln|court|ct|terrace|"
    r"ter|way|place|pl|square|sq|circle|"
    r"cir|parkway|pkwy|highway|hwy|route|rte|turnpike|crescent|alley|trail|loop|heights)"
)
_FLAT = r"(?:[,\s]*\s(?:apt|apartment|unit|suite|ste|floor|fl|room|rm|bldg|#)\.?\s*#?\s*[\w-]{1,6})?"
_STATE = (
    r"(?:AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|"
    r"MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|"
    r"OR|PA|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|PR|Alabama|Alaska|Arizona|Arkansas|"
    r"California|Colorado|Connecticut|Delaware|"
    r"Florida|Georgia|Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana|"
    r"Maine|Maryland|Massachusetts|Michigan|"
    r"Minnesota|Mississippi|Missouri|Montana|Nebraska|Nevada|New\s+Hampshire|New\s+Jersey|New\s+Mexico|New\s+York|"
    r"North\s+Carolina|North\s+Dakota|Ohio|Oklahoma|Oregon|Pennsylvania|Rhode\s+Island|South\s+Carolina|South\s+Dakota|"
    r"Tennessee|Texas|Utah|Vermont|Virginia|Washington|West\s+Virginia|Wisconsin|Wyoming)"
)
_PLACE_KIND = (
    r"(?:Hospital|Medical\s+(?:Center|Centre|Group|Associates)|General\s+Hospital|"
    r"Memorial\s+Hospital|Clinic|Nursing\s+Home|"
    r"Rehabilitation(?:\s+(?:Center|Hospital))?|Rehab(?:\s+Center)?|Health\s+(?:Center|"
    r"Care\s+Center)|Healthcare|Hospice|"
    r"Assisted\s+Living|Skilled\s+Nursing(?:\s+Facility)?|University|College|High\s+School|"
    r"Elementary\s+School|Infirmary)"
)

_IS_STATE = re.compile(_STATE)
_NO_STREET = re.compile(
    r"\b(?:mg|ml|mcg|days?|weeks?|hours?|hrs?|years?|months?|tabs?|po|bid|tid|qid|" r"daily|times|lbs?|kg|cm|mm)\b",
    re.I,
)
_NO_INSTITUTION = re.compile(
    r"^(?:the|a|an|our|this|another|nearest|outlying|day|endocrine|outside|local|his|her|pain|eye|heart|diabetes|"
    r"renal|follow(?:ed)?|discharge|state|admitted|"
    r"acute|inpatient|outpatient|surgery|surgical|cardiology|neurology|oncology|"
    r"orthopedic|urgent|wound|memory|coumadin|"
    r"anticoagulation|primary|continuing|community|general|the\s+general|physical|"
    r"cardiac|pulmonary|home|referring)\s+(?:care\s+)?"
    r"(?:Hospital|Clinic|Nursing|Rehab\w*|Hospice|Medical|Health\w*|Assisted|Skilled|"
    r"University|College|Infirmary|High|Elementary)",
    re.I,
)


def _institution(text):
    return not _NO_INSTITUTION.search(text.strip())


_STATE_BEFORE = re.compile(rf"(?:,\s*|\b(?!(?-i:in|me|hi|oh|ok)\b)){_STATE}\.?,?\s+$", re.I)
_BEFORE = 24


def _behind_a_state(text, place):
    return _STATE_BEFORE.search(text[max(0, place - _BEFORE) : place])


PLACES = (
    pattern_rule(
        "ZIP",
        "behind a state",
        r"\d{5}(?:\s?-\s?\d{4})?(?![\w-]|\s*(?:units?|m?c?g|ml|cells|copies|iu)\b|,\d)",
        starts="#5",
        before=_behind_a_state,
    ),
    pattern_rule(
        "ZIP", "behind its label", rf"\bzip(?:\s*code)?{SEP}(?P<v>\d{{5}}(?:\s?-\s?\d{{4}})?)(?!\w)", starts="zip"
    ),
    pattern_rule(
        "ZIP",
        "British form",
        r"(?<![\w.-])(?:[A-Z]{1,2}\d[A-Z]|[A-Z]{1,2}\d{1,2}) \d(?!ND|ST|RD|TH|MG|ML)[ABD-HJLNP-UW-Z]{2}(?![\w-])",
        flags=0,
        starts="$",
    ),
    pattern_rule(
        "ZIP",
        "Canadian form",
        r"(?<![\w.-])[ABCEGHJ-NPRSTVXY]\d[ABCEGHJ-NPRSTV-Z] \d[ABCEGHJ-NPRSTV-Z]\d(?![\w-])",
        flags=0,
        starts="$",
    ),
    pattern_rule("ZIP", "nine digits", r"(?<![\w-])\d{5}-\d{4}(?![\w-])", starts="#5"),
    pattern_rule(
        "LOCATION",
        "street",
        rf"(?<![\w/.-])\d{{1,6}}[A-Z]?\s+(?:[NSEW]\.?\s+)?(?:(?:[A-Z]\.|St\.|[A-Z][\w'’-]*)\s+){{0,3}}?[A-Z][\w'’"
        rf"-]*\s+(?i:{_STREET_KIND})\b\.?(?i:{_FLAT})(?![\w])",
        starts="#1 #2 #3 #4 #5 #6",
        flags=0,
        accepts=lambda text: not _NO_STREET.search(text),
    ),
    pattern_rule(
        "LOCATION",
        "street, any case",
        rf"(?<![\w/.-])\d{{2,6}}[A-Z]?\s+(?:[a-z'’-]+\s+){{0,2}}?[a-z'’-]{{3,}}\s+{_STREET_KIND}\b"
        rf"(?!\s+(?:elev\w*|depress\w*|segments?|chang\w*|waves?)\b)\.?{_FLAT}(?![\w])",
        starts="#2 #3 #4 #5 #6",
        accepts=lambda text: not _NO_STREET.search(text),
    ),
    pattern_rule("LOCATION", "post box", r"\bp\.?\s?o\.?\s+box\s+\d+", starts="p$ po"),
    pattern_rule(
        "LOCATION",
        "town before a state",
        rf"(?P<v>[A-Z](?<!\S[A-Z])[A-Za-z'’.-]+(?:[ ][A-Z][A-Za-z'’.-]+){{0,2}}),"
        rf"?\s+{_STATE},?\s+\d{{5}}(?!\d)",
        flags=0,
        accepts=lambda text: text.split()[-1].lower() not in NO_NAME,
    ),
    pattern_rule(
        "LOCATION",
        "town before a state, any case",
        rf",\s*(?P<v>[A-Z][A-Z'’.-]+(?:[ ][A-Z'’.-]+){{0,1}}),?\s+{_STATE},?\s+\d{{5}}(?!\d)",
    ),
    pattern_rule(
        "LOCATION",
        "line before a state, any case",
        rf"(?:^|\n)\s*(?P<v>[A-Z][A-Z'’.-]+(?:[ ][A-Z'’.-]+){{0,2}}),\s+{_STATE},?\s+\d{{5}}" rf"(?!\d)",
        starts="^",
    ),
    pattern_rule(
        "LOCATION",
        "town and state",
        rf"(?<![\w])(?P<v>{CAP}(?:[ ]{CAP}){{0,2}}),\s+(?!MD\b|PA\b|MS\b|DE\b){_STATE}\b(?!\s*\d)",
        holds_form(rf",\s+(?:{_STATE.lower()})\b(?!\s*\d)"),
        flags=0,
        accepts=is_name,
    ),
    pattern_rule(
        "LOCATION",
        "institution",
        rf"(?<![\w])(?P<v>(?:(?:St\.?|Saint|Mount|Mt\.?|New|Our|Lady|of|the|and|&|{CAP})[ "
        rf"\n]){{0,4}}(?:{CAP})\s+{_PLACE_KIND})\b",
        holds("hosp", "medic", "clinic", "nursing", "rehab", "health", "assist", "univ", "colleg", "school", "infirm"),
        flags=0,
        accepts=lambda text: _institution(text),
    ),
    pattern_rule(
        "LOCATION",
        "institution, any case",
        rf"\b(?:from|at|to|of|the)\s+(?P<v>(?!the\b|a\b|an\b|our\b|this\b|another\b|outside\b|"
        rf"local\b|his\b|her\b|your\b)[a-z'’.-]+\s+{_PLACE_KIND})\b",
        starts="fro at$ to$ of$ the",
        accepts=lambda text: _institution(text),
    ),
    pattern_rule(
        "LOCATION",
        "line of an institution, any case",
        rf"(?:^|\n)[ ]*(?P<v>(?:[A-Z'’.-]+[ ]){{1,3}}{_PLACE_KIND})[ ]*(?=\n|$)",
        starts="^",
        accepts=lambda text: _institution(text),
    ),
    pattern_rule(
        "LOCATION",
        "behind residence",
        rf"\b(?:lives?|lived|living|resid(?:es|ing|ed)|resident|native|born|moved|raised|"
        rf"grew up|comes|originally|emigrated|travel(?:l?ed|s)?|visiting|trip|returned)\s+"
        rf"(?:in|from|of|to)\s+(?P<v>{CAPS}(?:[ ]{CAPS}){{0,2}})",
        starts="liv res nat bor mov rai gre com ori emi tra vis tri ret",
        flags=0,
        accepts=lambda text: is_name(text) and not _IS_STATE.fullmatch(text),
    ),
)
