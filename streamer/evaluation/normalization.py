"""What of a text counts when two are compared.

Owns the named normalisations. Must not know: audio, models, errors.
"""

import re
from collections.abc import Callable

Normalize = Callable[[str], str]


def basic(text: str) -> str:
    """Lower case, a to z, apostrophe and single spaces: what the training texts are made of."""
    return none(re.sub(r"[^a-z' ]+", " ", text.lower()))


def none(text: str) -> str:
    """As it is written, with single spaces."""
    return " ".join(text.split())


NORMALIZATIONS: dict[str, Normalize] = {"basic": basic, "none": none}
DESCRIPTIONS = {
    "basic": "lower case; a to z, apostrophe and single spaces; all else is a space",
    "none": "as it is written, with single spaces",
}
