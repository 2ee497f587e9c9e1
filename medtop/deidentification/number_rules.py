"""Rules of numbers and addresses that have a form of their own or a label before them."""

from medtop.deidentification.rule import NO, SEP, VALUE, has_digit, labelled, pattern_rule, two_digits

_PHONE = (
    r"(?:(?:\+|00)?1[-.\s]{0,2})?(?:\(\s?\d{3}\s?\)|\d{3})[-.\s/]{0,3}\d{3}[-.\s]{1,2}\d{4}"
    r"(?:,?\s*(?:x|ext\.?|extension)\s?\d{1,6})?"
)
_LONG_PHONE = r"\+\d{1,3}(?:[-.\s]?\(?\d{1,4}\)?){2,5}\d(?:,?\s*(?:x|ext\.?|extension)\s?\d{1,6})?"
_ANY_PHONE = (
    rf"(?:{_LONG_PHONE}|{_PHONE}|\(?\d{{3}}\)?[-.\s]?\d{{7}}|\d{{3}}[-.\s]\d{{4}}"
    rf"(?:\s*(?:x|ext\.?)\s?\d{{1,6}})?|\d{{10}})"
)
_LOOSE_PHONE = r"[+(]{0,2}\d(?:[-.\s()/]{0,2}\d){6,14}"
"""Digits in any groups: a phone where the words around say so."""
_FAX_WORD = (
    r"\b(?:fax|facsimile|telefax)(?:\s*(?:no|num|number|#|records?|to|at|it|is|was|"
    r"the|results?|them|sent|:|\.|-))*\s*"
)
_PHONE_WORD = (
    r"\b(?:tel(?:ephone)?|ph(?:one)?|cell|mobile|pager|beeper|call|home|work|contact|reach(?:ed)?|page|pgr|p)"
    r"(?:\s*(?:no|num|number|phone|#|at|is|on|me|him|her|them|:|\.|-))*\s*"
)

NUMBERS = (
    pattern_rule("EMAIL", "mail address", r"(?<![\w.+-])[\w.+'-]{1,64}\s?@\s?(?:[A-Z0-9-]+\.)+[A-Z]{2,}\b", ("@",)),
    pattern_rule(
        "EMAIL",
        "mail address with blanks",
        r"(?<![\w.+-])[\w.+'-]{1,64}\s?@\s?(?:[A-Z0-9-]+\s?\.\s?)+(?:com|org|net|edu|gov)\b",
        ("@",),
    ),
    pattern_rule(
        "EMAIL",
        "mail address in words",
        r"(?<![\w.+-])[\w.+-]{1,64}\s?(?:\(at\)|\[at\]| at )\s?[A-Z0-9-]+\s?(?:\(dot\)|"
        r"\[dot\]| dot )\s?(?:com|org|net|edu|gov)\b",
        ("dot",),
    ),
    pattern_rule(
        "URL", "web address", r"(?:\b(?:https?|ftp)\s?:\s?//|\bwww\.)[^\s<>\"]*[^\s<>\".,;:)]", ("www", "://", ": //")
    ),
    pattern_rule(
        "URL",
        "host name",
        r"(?<![\w@.])(?:[A-Z0-9](?:[A-Z0-9-]*[A-Z0-9])?\.)+(?:com|org|net|edu|gov|info|"
        r"health|io)\b(?:/[^\s<>\"]*[^\s<>\".,;:)])?",
        (".com", ".org", ".net", ".edu", ".gov", ".info", ".health", ".io"),
    ),
    pattern_rule(
        "IP",
        "version 4",
        r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)" r"(?![\d]|\.\d)",
    ),
    pattern_rule(
        "IP",
        "version 6",
        r"(?<![\w:])(?:(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}|(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}"
        r"(?::[0-9a-f]{1,4}){0,6})?)(?![\w:])",
        (":",),
        accepts=lambda text: text.count(":") > 2 or "::" in text and len(text) > 6,
    ),
    pattern_rule("DEVICE", "hardware address", r"(?<![\w:-])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:-])"),
    pattern_rule("SSN", "form", r"(?<![\w-])\d{3}(?P<s>[-–\s])\s?\d{2}(?P=s)\s?\d{4}(?![\w-])"),
    pattern_rule(
        "SSN",
        "behind its label",
        rf"\b(?:ssn?|social\s+security)(?:\s+(?:no|number|num|#|card))*\.?{SEP}(?:ending "
        rf"in\s*)?(?P<v>[\dxX*]{{3}}[-\s]?[\dxX*]{{2}}[-\s]?\d{{4}}|\d{{4}})\b",
        ("ss", "social"),
    ),
    pattern_rule("FAX", "behind its label", rf"{_FAX_WORD}(?P<v>{_ANY_PHONE})(?![\d])", ("fax", "facsimile")),
    pattern_rule("PHONE", "form", rf"(?<![\w+./-]){_PHONE}(?![\w]|[-.]\d)"),
    pattern_rule(
        "PHONE",
        "international form",
        rf"(?<![\w+]){_LONG_PHONE}(?!\d)",
        ("+",),
        accepts=lambda text: sum(c.isdigit() for c in text) >= 8,
    ),
    pattern_rule("PHONE", "behind its label", rf"{_PHONE_WORD}(?P<v>{_ANY_PHONE})(?![\d])"),
    pattern_rule(
        "FAX",
        "any groups, behind its label",
        rf"\b(?:fax|facsimile)(?:\s*(?:no|num|number|#|:|\.))*\s*(?P<v>{_LOOSE_PHONE})(?!\d)",
        ("fax", "facsimile"),
    ),
    pattern_rule(
        "PHONE",
        "any groups, behind its label",
        rf"\b(?:tel(?:ephone)?|phone|cell(?:phone)?|mobile|call\w*|dial|text|reach\w*|contact|office|home|work)"
        rf"(?:\s*(?:no|num|number|phone|#|at|is|on|me|him|her|them|:|\.))*\s*(?P<v>{_LOOSE_PHONE})(?!\d)",
    ),
    pattern_rule(
        "PHONE",
        "any groups, before its label",
        rf"(?<![\w.])(?P<v>{_LOOSE_PHONE})[-\s]{{0,2}}\(?(?:office|home|work|mobile|cell|phone|tel|fax)\b",
        ("office", "home", "work", "mobile", "cell", "phone", "tel", "fax"),
    ),
    pattern_rule(
        "PHONE",
        "national form with a zero",
        r"(?<![\w./,-])\(?0\d{1,4}\)?(?:[-. ]\d{2,4}){2,4}(?![\w/]|[.,]\d)",
        accepts=lambda text: 9 <= sum(sign.isdigit() for sign in text) <= 11,
    ),
    pattern_rule(
        "PHONE",
        "pager or extension",
        r"\b(?:pager|beeper|bpr|pgr|ext(?:ension|\.)?|x)\s*(?:no\.?|number|#|:|is)*\s*" r"(?P<v>\d{3,6})\b",
        ("pager", "beeper", "bpr", "pgr", "ext", "x"),
    ),
    labelled(
        "MRN",
        "record number",
        r"m\.?r\.?n\.?|mr(?=\s?(?:#|no\b|num))|med(?:ical)?\.?\s+rec(?:ord)?s?|patient(?=\s*"
        r"(?:id|no|num|#))|pt\.?(?=\s*(?:id|no\b|num|#))|unit(?=\s*(?:no|num|#))|hospital"
        r"(?=\s*(?:no\b|num|#|id))|chart(?=\s*(?:no\b|num|#|id))|record(?=\s*(?:no\b|"
        r"num|#|id))",
        ("mr", "m.r", "rec", "patient", "pt", "unit", "hospital", "chart"),
    ),
    labelled(
        "HEALTH_PLAN",
        "plan number",
        r"member(?:ship)?|subscriber|insurance|policy(?:\s*holder)?|medicare|medicaid|"
        r"mbi|hicn?|group|beneficiary|(?:health\s+)?plan|payer|payor|insured",
        ("member", "subscriber", "insur", "policy", "medic", "mbi", "hic", "group", "benefic", "plan", "pay"),
        must=True,
    ),
    labelled(
        "ACCOUNT",
        "account number",
        r"accounts?|acct\.?|billing(?:\s+account)?|encounter|visit(?=\s*(?:no\b|num|"
        r"#|id))|csn|har\b|invoice|guarantor|claim|iban|credit\s+card|card(?=\s*(?:no\b|"
        r"num|#))",
        ("acc", "bill", "encounter", "visit", "csn", "har", "invoice", "guarantor", "claim", "iban", "card"),
    ),
    labelled(
        "LICENSE",
        "licence number",
        r"(?:driver'?s?\s+)?licen[sc]e(?!\s+plate)|lic\.?(?=\s*(?:no\b|num|#))|dea|npi|"
        r"upin|certificate|cert\.?(?=\s*(?:no\b|num|#))|passport|registration(?=\s*(?:no\b|"
        r"num|#))|state\s+id|d\.?l\.?(?=\s*(?:no\b|num|#))",
        ("licen", "lic", "dea", "npi", "upin", "cert", "passport", "registration", "state", "dl", "d.l"),
    ),
    pattern_rule(
        "VEHICLE",
        "vehicle number",
        r"(?<![\w-])(?=[A-HJ-NPR-Z0-9]*\d[A-HJ-NPR-Z0-9]*\d)(?=[A-HJ-NPR-Z0-9]*[A-HJ-NPR-Z])[A-HJ-"
        r"NPR-Z0-9]{17}(?![\w-])",
    ),
    pattern_rule(
        "VEHICLE",
        "vehicle number behind its label",
        rf"\b(?:vin|vehicle\s+id(?:entification)?)(?![a-z]){NO}*{SEP}(?P<v>[A-Z0-9][A-Z0-9 -]{{9,18}}\d)\b",
        ("vin", "vehicle"),
    ),
    pattern_rule(
        "VEHICLE",
        "plate",
        rf"\b(?:licen[sc]e\s+plate|plate\b|tag(?=\s*(?:no\b|num|#)))(?:\s+(?:of\s+\w+\s+\w+|"
        rf"registered))?{NO}*(?:\s+of\s+\w+\s+\w+)?{SEP}(?P<v>[A-Z0-9]{{1,4}}[- ]?[A-Z0-9]{{2,5}}"
        rf")\b",
        ("plate", "tag"),
        accepts=has_digit,
    ),
    labelled(
        "DEVICE",
        "serial number",
        r"serial|s/n|(?<![a-z])sn(?=\s*[:#])|(?:device|pacemaker|implant|icd|lead|prosthesis|"
        r"pump|generator|stent|valve|monitor)(?:\s+(?:serial|model|lot))?(?=\s*(?:serial|"
        r"model|lot|no\b|num|#|id\b|s/n))|lot(?=\s*(?:no\b|num|#))|model(?=\s*(?:no\b|"
        r"num|#))|udi|imei",
        (
            "serial",
            "s/n",
            "sn",
            "device",
            "pacemaker",
            "implant",
            "icd",
            "lead",
            "prosthesis",
            "pump",
            "generator",
            "stent",
            "valve",
            "monitor",
            "lot",
            "model",
            "udi",
            "imei",
        ),
    ),
    pattern_rule("DEVICE", "device identifier", r"\(01\)\s?\d{14}(?:\s?\(\d{2}\)\s?[A-Z0-9]+)*", ("(01)",)),
    labelled(
        "BIOMETRIC",
        "template",
        r"finger\s*prints?|biometrics?|retina(?:l)?|iris|voice\s*prints?|face(?:\s*template)?|"
        r"facial|palm(?:\s*print)?|hand\s*geometry",
        ("finger", "biometric", "retina", "iris", "voice", "face", "facial", "palm", "hand"),
        must=True,
    ),
    pattern_rule(
        "BIOMETRIC",
        "scan",
        rf"\b(?:finger\s*print|retina(?:l)?|iris|voice\s*print|face|facial|palm|biometric)\s+"
        rf"(?:scan|template|hash|record|print|file)s?{NO}*{SEP}{VALUE}",
        ("scan", "template", "hash", "record", "print", "file"),
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
        (
            "accession",
            "specimen",
            "case",
            "study",
            "order",
            "requisition",
            "trial",
            "barcode",
            "token",
            "protocol",
            "sample",
            "isolate",
            "referral",
            "rx",
            "prescription",
            "document",
            "report",
            "job",
            "dictation",
            "confirmation",
            "user",
            "employee",
            "badge",
            "room",
            "id",
        ),
        must=True,
    ),
    pattern_rule(
        "OTHER_ID",
        "identifier behind its label",
        rf"(?<![\w])(?:ID|identifier)\s*[:#=]\s*{VALUE}",
        ("id",),
        accepts=two_digits,
    ),
    pattern_rule("OTHER_ID", "pathology number", r"(?<![\w-])[A-Z]{1,2}\d\d-\d{3,7}(?![\w])", ("-",), flags=0),
    pattern_rule("OTHER_ID", "universal identifier", r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", ("-",)),
    pattern_rule(
        "OTHER_ID",
        "long number",
        r"(?<![\w.,/+-])\d{7,}(?![\w]|[.,/]\d)(?!\s*(?:copies|cells|units|iu\b|cfu|/|" r"per\b|platelets))",
    ),
    pattern_rule(
        "OTHER_ID",
        "number in groups",
        r"(?<![\w.,/+-])(?!\d{4}-\d{4}(?!-?\d))(?:\d{3,}-){1,4}\d{2,}(?:-\d+)*(?![\w]|[.,/]\d)(?!\s*(?:mg|mcg|"
        r"ml|units?|cc|kcal|g\b|cal))",
        accepts=lambda text: sum(c.isdigit() for c in text) >= 7,
    ),
)
"""Tried last: a number that another rule names better is of its type."""
