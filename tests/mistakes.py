"""What users are told of their mistakes."""

import pytest
from fewshot.errors import UserError


def told(action, *given, **named) -> str:
    """Return the one line of the UserError that a call raises."""
    with pytest.raises(UserError) as error:
        action(*given, **named)
    assert "\n" not in str(error.value)
    return str(error.value)
