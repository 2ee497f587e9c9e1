"""Each rule finds what it is for and leaves alone what looks like it; clinical terms stay; dates move in their form."""

import datetime as dt

import pytest

from medtop.deidentification import dates
from medtop.deidentification.detect import Detector
from medtop.deidentification.rules import RULES, STRICT_RULES
from medtop.deidentification.views import views

RULED = Detector()

POSITIVE = {
    "DATE": "3/14/2014|03-14-14|2014-03-14|2014/03/14|20140314|14.03.2014|March 14, 2014|Mar 14th 2014|14 March 2014|"
    "14MAR2014|14-Mar-14|March 14|14th of March|March 2014|Mar '14|03/2014|Sept. 3, 2011|1st of June 1923|Christmas|"
    "9. July 2014|Mar-94|94-03-02|2 Mar 14|Sep-15|November",
    "AGE": "91|104",
    "PHONE": "(617) 555-1234|617-555-1234|617.555.1234|617 555 1234|+1 617 555 1234|1-617-555-1234|(617)555-1234 x12|"
    "+44 20 7946 0958|617-555-1234 ext. 99|(020) 74960083|020 7496 0083|+33 (0)3 63 01 66 13|0049 30 1234567|"
    "8 (246) 281-9482|(26)/018-1590|+(370) 26018159|06-55/597 9711|97-5432-3194",
    "EMAIL": "jane.doe@example.org|j_doe99@mail.example.co.uk",
    "URL": "https://a.example.org/x?y=1|www.example.com/page|example.org/~jd|krejcova.cz|example.co.uk|sims.biz|"
    "shop.example.de/cart",
    "ACCOUNT": "GB82WEST12345698765432|GB82 WEST 1234 5698 7654 32|DE89370400440532013000|4539 1488 0343 6467|"
    "3782-822463-10005",
    "IP": "192.168.10.4|fe80:1:2:3:4:5:6:7",
    "SSN": "123-45-6789|123 45 6789",
    "ZIP": "02139-4307|B0J 2H0|SW1A 1AA",
    "VEHICLE": "1HGCM82633A004352",
    "DEVICE": "00:1B:44:11:3A:B7",
    "OTHER_ID": "V5522563|68-1250530",
}
FRAMES = {"DATE": "seen on {}, stable", "AGE": "a {} year old man", "ZIP": "Boston {} area"}

LABELLED = {
    "MRN": ["MRN: 1234567", "MRN 12-34-56", "MR# 0012345", "Medical Record Number: M1234567", "unit no. 445566",
            "MR no. 1234567"],
    "FAX": ["Fax: 617-555-1234", "please fax to (617) 555-1234", "facsimile 617.555.1234"],
    "HEALTH_PLAN": ["member ID XYZ123456789", "Policy # 99-8877-665", "Medicare number 1EG4-TE5-MK72"],
    "ACCOUNT": ["account number 123456789", "Acct #: 1234-5678-9012", "billing account no. 445566778"],
    "LICENSE": ["Driver's license number AB1234567", "DEA # FK1234563", "NPI: 1234567893"],
    "DEVICE": ["serial number ABC123456", "S/N 1234-AB-5678", "pacemaker model no. 44X-9912"],
    "VEHICLE": ["license plate ABC-1234", "the plate number of her car is 7ABC123"],
    "BIOMETRIC": ["fingerprint ID FP-12345678", "retina scan RS123456"],
    "OTHER_ID": ["accession number S12-34567", "Specimen # AB12-345678", "trial ID 4477-A12"],
    "SSN": ["SSN: 123456789", "social security number 123-45-6789"],
    "PHONE": ["pager 31234", "call 555-1234", "Tel: 6175551234"],
    "LOCATION": ["lives at 12 Maple Street, Apt 4", "P.O. Box 991", "from Springfield General Hospital", "12 oak st"],
    "ZIP": ["zip code 02139", "Springfield, MA 02139"],
    "NAME": ["Dr. Quillfeather called", "Mr. Q. Abernathy", "Signed: Zelda Fairbanks, MD", "her daughter Ottilie came",
             "Patient: Fairbanks, Zelda", "Electronically signed by Zelda Fairbanks", "Next of kin: Zelda Fairbanks"],
    "AGE": ["a 93-year-old woman", "97 y/o male", "aged 92", "in her 90s", "ninety-three year old", "95F with"],
}  # fmt: skip
NEGATIVE = (
    "BP 120/80, 2/6 systolic murmur, strength 5/5, pain 3/10, EF 55-60%, 1/2 tablet daily, visual acuity 20/40",
    "metoprolol 25 mg po bid x 10 days, 1-2 tablets q4-6h, WBC 11.2, platelets 210000, 2.5 mg 3 times",
    "Parkinson disease, MS, LA enlargement, Foley catheter, Crohn's disease, Child-Pugh B, MR of the brain",
    "He may take 2 tablets. The wound march of symptoms. A 45 year old man, aged 67, in his 80s, 89 y/o.",
    "type 2 diabetes, L4-L5 fusion, T12 fracture, stage IIIB, C. difficile, H. pylori, vitamin B12, HbA1c 7.2",
    "INR 2.1, O2 sat 95% on 2 L, HR 90-110, temp 98.6, RR 18, 3 cm mass, 1,200,000 copies, 2014 mg",
    "Platelets 398,000, vincristine sulfate 4 mg, OCT of the macula, Ro15-1788, DEC and MAR, licensed 2 of 34, caseous",
    "CC: Progressive memory loss. See as per HPI. Dialysis over the next 3-4 days. The patient, last year, was well.",
    "T3N0M0 with T12 and L5 6TH seen, 4021 3344 5566 7788 copies, Na 137 140 138 K 4.1, since 3/4 strength, in 2/10",
    "Fluid given.The pain.no fever, e.g. i.e. b.i.d., SCH23390, SR141716, exercise 0800 - 1200, 3 x 320 mg, ratio 5:1",
    "Vitals at 0800 and 1930. Given 2000 ml. Dr. recommended rest. Mother and father are well. No known allergies.",
)


@pytest.mark.parametrize("kind", POSITIVE)
def test_forms(kind):
    for value in POSITIVE[kind].split("|"):
        text = FRAMES.get(kind, "noted {} today").format(value)
        found = [(item.type, text[item.start : item.end]) for item in RULED.find(text)]
        assert found == [(kind, value)], value


@pytest.mark.parametrize("kind", LABELLED)
def test_behind_labels_in_any_case(kind):
    for text in LABELLED[kind]:
        for written in (text, text.lower()) if kind not in ("NAME",) else (text,):
            found = RULED.find(written)
            assert kind in {item.type for item in found}, written
            if kind not in ("NAME", "LOCATION", "AGE", "ZIP"):  # the number as a whole
                assert written[-1] in written[found[-1].start : found[-1].end], written


@pytest.mark.parametrize("text", NEGATIVE)
def test_left_alone(text):
    assert [text[item.start : item.end] for item in RULED.find(text)] == []


def test_every_rule_is_fast_on_hostile_text():
    """No pattern takes exponential time, and none more than a blink for 6,000 signs of one kind."""
    import time

    for piece in ("a", "A ", "9", "1-", "Aa", "a.", "a@", " ", "\n", "(", "Dr. ", "A-a", "1/1", "name: "):
        text = piece * (6_000 // len(piece))
        begin = time.process_time()
        RULED.find(text)
        assert time.process_time() - begin < 3, piece


SHIFTS = [
    ("3/14/2014", "3/7/2014"), ("03/14/2014", "03/07/2014"), ("3/14/14", "3/7/14"), ("2014-03-14", "2014-03-07"),
    ("20140314", "20140307"), ("14.03.2014", "07.03.2014"), ("March 14, 2014", "March 7, 2014"),
    ("Mar 14th, 2014", "Mar 7th, 2014"), ("MARCH 1st, 2014", "FEBRUARY 22nd, 2014"), ("14 March 2014", "7 March 2014"),
    ("14MAR2014", "07MAR2014"), ("2-jan-14", "26-dec-13"), ("March 14", "March 7"), ("1/3/2014", "12/27/2013"),
    ("3rd of January 2014", "27th of December 2013"), ("March 2014", "March 2014"), ("01/2014", "01/2014"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), SHIFTS)
def test_dates_move_in_their_form(old, new):
    """By seven days into the past, and back to where they were."""
    text = f"seen on {old}, stable"
    (item,) = RULED.find(text)
    assert text[item.start : item.end] == old
    assert dates.shifted(item.date, item.type, -7) == new
    again = f"seen on {new}, stable"
    (item,) = RULED.find(again)
    back = dates.shifted(item.date, item.type, 7)
    assert back == old or old in ("March 14", "March 2014", "01/2014", "14.03.2014", "3/14/14"), back


def test_every_day_of_some_years_in_every_full_form():
    """Moved by a number of days, each form reads as the day that the calendar gives."""
    forms = ("%m/%d/%Y", "%Y-%m-%d", "%d %B %Y", "%B %d, %Y", "%d-%b-%Y", "%Y%m%d", "%d%b%Y")
    for number in range(0, 1500, 7):
        day = dt.date(2011, 1, 1) + dt.timedelta(days=number)
        for form in forms:
            text = day.strftime(form)
            (item,) = RULED.find(f"on {text}.")
            moved = dates.shifted(item.date, item.type, -1001)
            assert dt.datetime.strptime(moved, form).date() == day - dt.timedelta(days=1001), text


def test_days_that_do_not_exist_are_found_and_cannot_be_moved():
    (item,) = RULED.find("seen on 2/30/2014, stable")
    assert item.type == "DATE" and dates.shifted(item.date, "DATE", -7) is None


def test_rules_have_names_of_their_own():
    names = [(rule.type, rule.name) for rule in RULES]
    assert len(set(names)) == len(names)


def test_views_know_where_each_character_comes_from():
    """Look-alikes, invisible characters, hyphens at a line's end: found, and placed on the text itself."""
    for text, piece in (
        ("call ６１７-555-1234 now", "６１７-555-1234"),
        ("call 617\u2013555\u20131234 now", "617\u2013555\u20131234"),
        ("call 617-5\u200b55-12\u00ad34 now", "617-5\u200b55-12\u00ad34"),
        ("seen by Dr. Fair-\nbanks today", "Fair-\nbanks"),
        ("mail jаne@example.org now", "jаne@example.org"),  # a Cyrillic letter
        ("seen on O3/l4/2O14 here", "O3/l4/2O14"),
    ):
        found = [text[item.start : item.end] for item in RULED.find(text)]
        assert found == [piece]
    for view in views("a\u200bb-\nc ４"):
        for place in range(len(view.text)):
            start, end = view.edges(place, place + 1)
            assert end == start + 1


STRICT = Detector(STRICT_RULES)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("TIME", value) for value in ("12:20", "8:05 pm", "08:15:30", "7 a.m.", "noon", "5 o'clock", "23:59 EST")),
        *(("WEEKDAY", value) for value in ("Monday", "thursdays", "Wed", "Tues")),
    ],
)
def test_weekdays_and_times_are_looked_for_where_asked(kind, value):
    text = f"seen {value} again"
    assert [(item.type, text[item.start : item.end]) for item in STRICT.find(text)] == [(kind, value)]
    assert RULED.find(text) == []


def test_a_date_and_its_time():
    text = "Printed 2014-03-02 12:20:39, 2014-03-02T08:15:00Z at 0830, sat 95%, wed to rest, ratio 1:2"
    found = [(item.type, text[item.start : item.end]) for item in STRICT.find(text)]
    assert found == [
        ("DATE", "2014-03-02"), ("TIME", "12:20:39"), ("DATE", "2014-03-02"), ("TIME", "08:15:00Z"), ("TIME", "0830"),
    ]  # fmt: skip


def test_check_digits():
    """A card number with a wrong digit is none; an IBAN's length of its country is enough."""
    assert [item.type for item in RULED.find("4539 1488 0343 6468 units")] == []
    assert [item.type for item in RULED.find("GB83WEST12345698765432 is hers")] == ["ACCOUNT"]
    assert [item.type for item in RULED.find("GB82 was and then 1234")] == []


def test_policies_decide_on_weekdays_and_times(tmp_path):
    """Safe harbor keeps them, strict removes them, a site's file names them under "remove"."""
    from medtop.deidentification.own_rules import choose_rules
    from medtop.deidentification.policy import POLICIES, read_policy
    from medtop.deidentification.removal import Remover

    text = "Seen Monday 3/14/2014 at 12:20, first in 1999."
    (tmp_path / "own.json").write_text('{"keep": ["DATE", "YEAR"], "remove": ["WEEKDAY"]}')
    (tmp_path / "keep.json").write_text('{"keep": ["DATE"]}')
    expected = {
        "safe_harbor": "Seen Monday [DATE] at 12:20, first in 1999.",
        "strict": "Seen [WEEKDAY] [DATE] at [TIME], first in [YEAR].",
        "limited": text,
        f"{tmp_path}/own.json": "Seen [WEEKDAY] 3/14/2014 at 12:20, first in 1999.",
        f"{tmp_path}/keep.json": "Seen Monday 3/14/2014 at 12:20, first in [YEAR].",
    }
    for name, new in expected.items():
        policy = read_policy(name)
        findings = Detector(choose_rules("default", policy)[0]).find(text)
        assert Remover(policy, "tag").remove(text, findings, "p").text == new, name
    assert set(POLICIES) < set(expected)
