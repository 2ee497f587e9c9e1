"""A site's key that is the same in each run of the tests: what a surrogate or a shift holds is then no matter of luck.

With a new key each time, a surrogate's four digits or a moved date were, in one run of a hundred, those of another
identifier of the test's notes.
"""

import json

from medtop.files.keys import make_key


def write_key(path):
    """`make_key`, with the bytes 0, 1, ... 31 as its key."""
    make_key(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"key": bytes(range(32)).hex()}))
