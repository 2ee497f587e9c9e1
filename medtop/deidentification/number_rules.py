"""Rules of numbers and addresses that have a form of their own or a label before them."""

import re

from medtop.deidentification.rule import (
    NO,
    SEP,
    VALUE,
    has_digit,
    holds,
    holds_form,
    labelled,
    pattern_rule,
    two_digits,
)

_PHONE = (
    r"(?:(?:\+|00)?1[-.\s]{0,2}|[78][- ](?=\(\d{3}\)))?(?:\(\s?\d{3}\s?\)|\d{3})[-.\s/]{0,3}\d{3}[-.\s]{1,2}\d{4}"
    r"(?:,?\s*(?:x|ext\.?|extension)\s?\d{1,6})?"
)
_LONG_PHONE = r"\+\s?\(?\d{1,3}\)?(?:[-.\s/]?\(?\d{1,5}\)?){1,7}\d(?:,?\s*(?:x|ext\.?|extension)\s?\d{1,6})?"
_ANY_PHONE = (
    rf"(?:{_LONG_PHONE}|{_PHONE}|\(?\d{{3}}\)?[-.\s]?\d{{7}}|\d{{3}}[-.\s]\d{{4}}"
    rf"(?:\s*(?:x|ext\.?)\s?\d{{1,6}})?|\d{{10}})"
)
_LOOSE_PHONE = r"[+(]{0,2}\d(?:[-.\s()/]{0,2}\d){6,14}"
"""Digits in any groups: a phone where the words around say so."""


def _digits(least, most):
    """Whether a text has so many digits."""
    return lambda text: least <= sum(sign.isdigit() for sign in text) <= most


_FAX_WORD = (
    r"\b(?:fax|facsimile|telefax)(?:\s*(?:no|num|number|#|records?|to|at|it|is|was|"
    r"the|results?|them|sent|:|\.|-))*\s*"
)
_PHONE_WORD = (
    r"\b(?:tel(?:ephone)?|ph(?:one)?|cell|mobile|pager|beeper|call|home|work|contact|reach(?:ed)?|page|pgr|p)"
    r"(?:\s*(?:no|num|number|phone|#|at|is|on|me|him|her|them|:|\.|-))*\s*"
)

_VEHICLE = re.compile("[0-9a-hj-npr-z]{17}")

_ENDS = "com org net edu gov info health io biz mil".split()
_COUNTRIES = "de fr pl cz hu se dk fi nl ch eu uk jp cn kr br mx es pt gr sk bg lt lv tr ua au nz ca".split()
"""Top level domains that are no English word and no abbreviation beside a point, in lower case."""
_holds_country = holds_form(rf"\.(?:{'|'.join(_COUNTRIES)}|(?:co|com|org|net|ac|gov|edu|kiwi)\.[a-z]{{2}})\b")

NUMBERS = (
    pattern_rule("EMAIL", "mail address", r"(?<![\w.+-])[\w.+'-]{1,64}\s?@\s?(?:[A-Z0-9-]+\.)+[A-Z]{2,}\b", holds("@")),
    pattern_rule(
        "EMAIL",
        "mail address with blanks",
        r"(?<![\w.+-])[\w.+'-]{1,64}\s?@\s?(?:[A-Z0-9-]+\s?\.\s?)+(?:com|org|net|edu|gov)\b",
        holds("@"),
    ),
    pattern_rule(
        "EMAIL",
        "mail address in words",
        r"(?<![\w.+-])[\w.+-]{1,64}\s?(?:\(at\)|\[at\]| at )\s?[A-Z0-9-]+\s?(?:\(dot\)|"
        r"\[dot\]| dot )\s?(?:com|org|net|edu|gov)\b",
        holds("dot"),
    ),
    pattern_rule(
        "URL", "web address", r"(?:\b(?:https?|ftp)\s?:\s?//|\bwww\.)[^\s<>\"]*[^\s<>\".,;:)]", starts="htt ftp www"
    ),
    pattern_rule(
        "URL",
        "host name",
        rf"(?<![\w@.])(?:[A-Z0-9](?:[A-Z0-9-]*[A-Z0-9])?\.)+(?:{'|'.join(_ENDS)})\b(?:/[^\s<>\"]*[^\s<>\".,;:)])?",
        holds(*(f".{end}" for end in _ENDS)),
    ),
    pattern_rule(
        "URL",
        "host name of a country",
        rf"(?<![\w@.-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*(?:[a-z0-9-]*[a-z]{{3}}[a-z0-9-]*\.(?:{'|'.join(_COUNTRIES)})"
        rf"|[a-z0-9-]{{2,}}\.(?:co|com|org|net|ac|gov|edu|[a-z]{{2,8}}(?<=kiwi))\.[a-z]{{2}})\b(?![.-]\w)(?:/[^\s<>\"]*[^\s<>\".,;:)])?",
        _holds_country,
        flags=0,
    ),
    pattern_rule(
        "IP",
        "version 4",
        r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)" r"(?![\d]|\.\d)",
        starts="#1 #2 #3",
    ),
    pattern_rule(
        "IP",
        "version 6",
        r"(?<![\w:])(?:(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}|(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}"
        r"(?::[0-9a-f]{1,4}){0,6})?)(?![\w:])",
        holds_form(r"::|:[0-9a-f]{1,4}:[0-9a-f]{1,4}:"),
        accepts=lambda text: text.count(":") > 2 or "::" in text and len(text) > 6,
    ),
    pattern_rule(
        "DEVICE",
        "hardware address",
        r"(?<![\w:-])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:-])",
        holds_form(r"[:-][0-9a-f]{2}[:-][0-9a-f]{2}[:-]"),
    ),
    pattern_rule("SSN", "form", r"(?<![\w-])\d{3}(?P<s>[-–\s])\s?\d{2}(?P=s)\s?\d{4}(?![\w-])", starts="#3"),
    pattern_rule(
        "SSN",
        "behind its label",
        rf"\b(?:ssn?|social\s+security)(?:\s+(?:no|number|num|#|card))*\.?{SEP}(?:ending "
        rf"in\s*)?(?P<v>[\dxX*]{{3}}[-\s]?[\dxX*]{{2}}[-\s]?\d{{4}}|\d{{4}})\b",
        starts="ss soc",
    ),
    pattern_rule("FAX", "behind its label", rf"{_FAX_WORD}(?P<v>{_ANY_PHONE})(?![\d])", starts="fax fac tel"),
    pattern_rule("PHONE", "form", rf"(?<![\w+./-]){_PHONE}(?![\w]|[-.]\d)", starts="#1 #3 #4 #6 #7 #9 ( +"),
    pattern_rule(
        "PHONE",
        "international form",
        rf"(?<![\w+]){_LONG_PHONE}(?!\d)",
        starts="+",
        accepts=lambda text: 8 <= sum(c.isdigit() for c in text.partition("x")[0]) <= 15,
    ),
    pattern_rule(
        "PHONE",
        "behind its label",
        rf"{_PHONE_WORD}(?P<v>{_ANY_PHONE})(?![\d])",
        starts="tel ph cel mob pag bee cal hom wor con rea pgr p$ pat pme pnu pno pis pon pth pph",
    ),
    pattern_rule(
        "FAX",
        "any groups, behind its label",
        rf"\b(?:fax|facsimile)(?:\s*(?:no|num|number|#|:|\.))*\s*(?P<v>{_LOOSE_PHONE})(?!\d)",
        starts="fax fac",
    ),
    pattern_rule(
        "PHONE",
        "any groups, behind its label",
        rf"\b(?:tel(?:ephone)?|phone|cell(?:phone)?|mobile|call\w*|dial|text|reach\w*|contact|office|home|work|(?:my|his|her|our|their|your)\s+(?:new\s+)?number)"
        rf"(?:\s*(?:no|num|number|phone|#|at|is|on|me|him|her|them|:|\.))*\s*(?P<v>{_LOOSE_PHONE})(?!\d)",
        starts="tel pho cel mob cal dia tex rea con off hom wor my$ his her our the you",
    ),
    pattern_rule(
        "PHONE",
        "any groups, a few words behind its label",
        rf"\b(?:tele)?(?:phone|mobile)(?:\s+(?:number|no|num)\b\.?)?(?:[,:]?\s+(?!\d)[a-z']+){{1,3}}[,:]?\s+(?P<v>{_LOOSE_PHONE})(?!\d)",
        starts="tel pho mob",
    ),
    pattern_rule(
        "PHONE",
        "any groups, before its label",
        rf"(?<![\w.])(?!\d{{5}}-\d{{4}}\b)(?P<v>{_LOOSE_PHONE})[-\s]{{0,2}}(?:(?:is|was|as)\s+)?(?:(?:my|his|her|our|your|their|the)\s+)?"
        rf"(?:(?:new|old|current|correct)\s+)?\(?(?:office|home|work|mobile|cell|phone|tel|fax)\b",
        holds("office", "home", "work", "mobile", "cell", "phone", "tel", "fax"),
        starts="# ( +",
    ),
    pattern_rule(
        "PHONE",
        "national form with a zero",
        r"(?<![\w./,-])\(?0\d{1,4}\)?(?:[-. ]\d{2,4}){2,4}(?![\w/]|[.,]\d)",
        starts="#2 #3 #4 #5 (",
        accepts=_digits(9, 11),
    ),
    pattern_rule(
        "PHONE",
        "national form with a zero, two groups",
        r"(?<![\w./,-])(?!\d{5}-\d{4}\b)0\d{1,4}[-/ ]{1,2}\d{3,8}(?:[- ]\d{3,4})?(?![\w/]|[-.,]\d)",
        starts="#2 #3 #4 #5",
        accepts=_digits(9, 11),
    ),
    pattern_rule(
        "PHONE",
        "area in brackets",
        r"(?<![\w./,-])(?:[78][- ])?\(0?\d{2,4}\)[-/ ]{0,2}\d{2,9}(?:[- ]\d{2,4}){0,3}(?![\w/]|[-.,]\d)",
        starts="( #1",
        accepts=_digits(9, 13),
    ),
    pattern_rule(
        "PHONE",
        "zeros and a country",
        r"(?<![\w./,-])00[1-9]\d{0,2}(?:[-. /]?\(?\d{2,4}\)?){2,5}(?![\w/]|[.,]\d)",
        starts="#",
        accepts=_digits(11, 15),
    ),
    pattern_rule(
        "PHONE",
        "groups with slash",
        r"(?<![\w./,-])\d\d(?:-\d\d)?/\s?\d{3}[- ]\d{2,4}(?: \d\d)?(?![\w/]|[-.,]\d)",
        starts="#2",
        accepts=_digits(9, 11),
    ),
    pattern_rule("PHONE", "two, four, four", r"(?<![\w./,-])\d{2}-\d{4}-\d{4}(?![\w/]|[-.,]\d)", starts="#2"),
    pattern_rule(
        "PHONE",
        "pager or extension",
        r"\b(?:(?:pager|beeper|bpr|pgr|ext(?:ension|\.)?)\s*(?:no\.?|number|#|:|is)*\s*|(?<!\d )x\s*"
        r"(?:no\.?|number|#|:|is)*\s*(?=\d{4}|(?<=x)\d))(?P<v>\d{3,6})\b(?!\s*(?:mg|mcg|ml|units?\b|%|/))",
        starts="pag bee bpr pgr ext x$ xno xnu xis",
    ),
    labelled(
        "MRN",
        "record number",
        r"m\.?r\.?n\.?|mr(?=\s?(?:#|no\b|num))|med(?:ical)?\.?\s+rec(?:ord)?s?|patient(?=\s*"
        r"(?:id|no|num|#))|pt\.?(?=\s*(?:id|no\b|num|#))|unit(?=\s*(?:no|num|#))|hospital"
        r"(?=\s*(?:no\b|num|#|id))|chart(?=\s*(?:no\b|num|#|id))|record(?=\s*(?:no\b|"
        r"num|#|id))",
        starts="m$ mr med pat pt uni hos cha rec",
    ),
    labelled(
        "HEALTH_PLAN",
        "plan number",
        r"member(?:ship)?|subscriber|insurance|policy(?:\s*holder)?|medicare|medicaid|"
        r"mbi|hicn?|group|beneficiary|(?:health\s+)?plan|payer|payor|insured",
        starts="mem sub ins pol med mbi hic gro ben hea pla pay",
        must=True,
    ),
    labelled(
        "ACCOUNT",
        "account number",
        r"accounts?|acct\.?|billing(?:\s+account)?|encounter|visit(?=\s*(?:no\b|num|"
        r"#|id))|csn|har\b|invoice|guarantor|claim|iban|credit\s+card|card(?=\s*(?:no\b|"
        r"num|#))",
        starts="acc bil enc vis csn har inv gua cla iba cre car",
    ),
    labelled(
        "LICENSE",
        "licence number",
        r"(?:driver'?s?\s+)?licen[sc]e(?!\s+plate)|lic\.?(?=\s*(?:no\b|num|#))|dea|npi|"
        r"upin|certificate|cert\.?(?=\s*(?:no\b|num|#))|passport|registration(?=\s*(?:no\b|"
        r"num|#))|state\s+id|d\.?l\.?(?=\s*(?:no\b|num|#))",
        starts="dri lic dea npi upi cer pas reg sta d$ dl",
    ),
    pattern_rule(
        "VEHICLE",
        "vehicle number",
        r"(?<![\w-])(?=[A-HJ-NPR-Z0-9]*\d[A-HJ-NPR-Z0-9]*\d)(?=[A-HJ-NPR-Z0-9]*[A-HJ-NPR-Z])[A-HJ-"
        r"NPR-Z0-9]{17}(?![\w-])",
        lambda lower: any(len(word) >= 17 and _VEHICLE.search(word) for word in lower.split()),
    ),
    pattern_rule(
        "VEHICLE",
        "vehicle number behind its label",
        rf"\b(?:vin|vehicle\s+id(?:entification)?)(?![a-z]){NO}*{SEP}(?P<v>[A-Z0-9][A-Z0-9 -]{{9,18}}\d)\b",
        starts="vin veh",
    ),
    pattern_rule(
        "VEHICLE",
        "plate",
        rf"\b(?:licen[sc]e\s+plate|plate\b|tag(?=\s*(?:no\b|num|#)))(?:\s+(?:of\s+\w+\s+\w+|"
        rf"registered))?{NO}*(?:\s+of\s+\w+\s+\w+)?{SEP}(?P<v>[A-Z0-9]{{1,4}}[- ]?[A-Z0-9]{{2,5}}"
        rf")\b",
        starts="lic pla tag",
        accepts=has_digit,
    ),
    labelled(
        "DEVICE",
        "serial number",
        r"serial|s/n|(?<![a-z])sn(?=\s*[:#])|(?:device|pacemaker|implant|icd|lead|prosthesis|"
        r"pump|generator|stent|valve|monitor)(?:\s+(?:serial|model|lot))?(?=\s*(?:serial|"
        r"model|lot|no\b|num|#|id\b|s/n))|lot(?=\s*(?:no\b|num|#))|model(?=\s*(?:no\b|"
        r"num|#))|udi|imei",
        starts="ser s$ sn dev pac imp icd lea pro pum gen ste val mon lot mod udi ime",
    ),
    pattern_rule("DEVICE", "device identifier", r"\(01\)\s?\d{14}(?:\s?\(\d{2}\)\s?[A-Z0-9]+)*", starts="("),
    labelled(
        "BIOMETRIC",
        "template",
        r"finger\s*prints?|biometrics?|retina(?:l)?|iris|voice\s*prints?|face(?:\s*template)?|"
        r"facial|palm(?:\s*print)?|hand\s*geometry",
        starts="fin bio ret iri voi fac pal han",
        must=True,
    ),
    pattern_rule(
        "BIOMETRIC",
        "scan",
        rf"\b(?:finger\s*print|retina(?:l)?|iris|voice\s*print|face|facial|palm|biometric)\s+"
        rf"(?:scan|template|hash|record|print|file)s?{NO}*{SEP}{VALUE}",
        starts="fin ret iri voi fac pal bio",
        accepts=two_digits,
    ),
)

OTHER_NUMBERS = (
    labelled(
        "OTHER_ID",
        "other number",
        r"accession|specimen|case|study|order|requisition|trial|barcode|token|protocol|"
        r"sample|isolate|referral|rx|prescription|document|report|job|dictation|confirmation|"
        r"user|employee|badge|room(?=\s*(?:no|#))|id|identifier",
        starts="acc spe cas stu ord req tri bar tok pro sam iso ref rx pre doc rep job dic con use emp bad roo id",
        must=True,
    ),
    pattern_rule(
        "OTHER_ID",
        "identifier behind its label",
        rf"(?<![\w])(?:ID|identifier)\s*[:#=]\s*{VALUE}",
        starts="id",
        accepts=two_digits,
    ),
    pattern_rule("OTHER_ID", "pathology number", r"(?<![\w-])[A-Z]{1,2}\d\d-\d{3,7}(?![\w])", starts="$", flags=0),
    pattern_rule(
        "OTHER_ID",
        "universal identifier",
        r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b",
        holds_form(r"-[0-9a-f]{4}-[0-9a-f]{4}-"),
    ),
    pattern_rule(
        "OTHER_ID",
        "letters and a long number",
        r"(?<![\w.,/+-])[A-Z]{1,4}\d{7,}(?![\w]|[.,/]\d)",
        holds_form(r"\d{7}"),
        flags=0,
        starts=" ".join("abcdefghijklmnopqrstuvwxyz"),
    ),
    pattern_rule("OTHER_ID", "two and seven digits", r"(?<![\w.,/+-])\d\d-\d{7}(?![\w-]|[.,/]\d)", starts="#2"),
    pattern_rule(
        "OTHER_ID",
        "long number",
        r"(?<![\w.,/+-])\d{7,}(?![\w]|[.,/]\d)(?!\s*(?:copies|cells|units|iu\b|cfu|/|" r"per\b|platelets))",
        starts="#7 #8 #9",
    ),
    pattern_rule(
        "OTHER_ID",
        "number in groups",
        r"(?<![\w.,/+-])(?!\d{4}-\d{4}(?!-?\d))(?:\d{3,}-){1,4}\d{2,}(?:-\d+)*(?![\w]|[.,/]\d)(?!\s*(?:mg|mcg|"
        r"ml|units?|cc|kcal|g\b|cal))",
        starts="#3 #4 #5 #6 #7 #8 #9",
        accepts=lambda text: sum(c.isdigit() for c in text) >= 7,
    ),
)
"""Tried last: a number that another rule names better is of its type."""
