"""The tokenizers of OPT and GPT-NeoX, where there are real data."""

import pytest
from tiny import tokenizer_in


@pytest.fixture(scope="session", params=["opt", "neox"])
def real(request, shared_data):
    return tokenizer_in(shared_data / f"{request.param}_tokenizer")
