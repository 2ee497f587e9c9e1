"""Surrogates: one for a person in all notes of a patient, formats kept, never a value of the roster, no way back."""

import re

import pytest

from medtop.deidentification.detect import Finding
from medtop.deidentification.removal import outside
from medtop.deidentification.roster import Roster
from medtop.deidentification.surrogates import Surrogates
from medtop.files.keys import SecretKey
from medtop.synthetic.identifier_names import FEMALE, MALE, SURNAMES

KEY, OTHER = SecretKey(b"a" * 32), SecretKey(b"b" * 32)


def of(text, kind, patient="p1", key=KEY, roster=None):
    return Surrogates(key, roster or Roster()).of(text, Finding(0, len(text), kind, "rule"), patient)


def test_one_person_has_one_name_and_others_have_others():
    """In any case of letters, with an initial, beside a title; another patient and another key give another name."""
    full = of("Jane Smith", "NAME")
    first, last = full.split()
    assert of("SMITH", "NAME") == last.upper() and of("jane", "NAME") == first.lower()
    assert of("Smith, Jane", "NAME") == f"{last}, {first}" and of("J. Smith", "NAME") == f"J. {last}"
    assert first[0] == "J" and last[0] == "S" and (first, last) != ("Jane", "Smith")
    others = {of("Jane Smith", "NAME", f"p{number}") for number in range(50)}
    assert len(others) > 20 and len({of("Jane Smith", "NAME", key=key) for key in (KEY, OTHER)}) == 2


def test_the_sex_of_a_known_name_is_kept():
    for names in (FEMALE, MALE):
        known = {name.lower() for name in names}
        made = [of(name, "NAME").lower() for name in names if name.isalpha()]
        assert sum(name in known for name in made) > 0.7 * len(made)  # others are made of syllables


def test_never_a_value_of_the_roster():
    """Not even where the roster holds every name of the lists, and numbers that the key would have given."""
    people = [{"first_name": name} for name in (*FEMALE, *MALE, *SURNAMES)]
    first = of("617-555-1234", "PHONE")
    roster = Roster([*people, {"phone": first}])
    for name in (*FEMALE, *MALE, *SURNAMES):
        if name.isalpha():
            assert of(name, "NAME", roster=roster).lower() not in roster.names
    assert of("617-555-1234", "PHONE", roster=roster) not in ("617-555-1234", first)


@pytest.mark.parametrize(
    ("kind", "text", "form"),
    [
        ("PHONE", "(617) 555-1234 ext. 99", r"\(\d{3}\) \d{3}-\d{4} ext\. \d\d"),
        ("MRN", "M-00123", r"[A-Z]-\d{5}"),
        ("SSN", "123-45-6789", r"\d{3}-\d{2}-\d{4}"),
        ("VEHICLE", "1HGCM82633A004352", r"[A-Z0-9]{17}"),
        ("ZIP", "02139-4307", r"\d{5}-\d{4}"),
        ("EMAIL", "j.smith@clinic.edu", r"[a-z]{8}@example\.org"),
        ("URL", "http://x.org/a?b=1", r"https://example\.org/[a-z]{8}"),
        ("IP", "10.1.2.3", r"203\.0\.113\.\d{1,3}"),
        ("IP", "fe80::1:2", r"2001:db8::[0-9a-f]{1,4}"),
        ("AGE", "93", r"90\+"),
        ("LOCATION", "12 Oak Street, Apt 4", r"\d\d [A-Z][a-z]+ Street, Apt \d"),
        ("LOCATION", "Springfield General Hospital", r"[A-Z][a-z]+ General Hospital"),
    ],
)
def test_formats_are_kept(kind, text, form):
    new = of(text, kind)
    assert re.fullmatch(form, new) and new != text and new == of(text, kind)
    digits = re.sub(r"\D", "", text)
    assert kind in ("AGE", "LOCATION") or len(digits) < 4 or digits not in re.sub(r"\D", "", new)


def test_outside():
    assert outside(5, []) == [(0, 5)] and outside(5, [(0, 5)]) == [(0, 0), (5, 5)]
