"""The label words of a pattern as a tokenizer reads them, checked for the method that uses them."""

from ..errors import UserError
from .patterns import Pattern
from .tokenize import Queries, Words, encode


def label_words(tokenizer, pattern: Pattern, probe: str) -> Words:
    """Return the tokens of each label word as it continues a prompt such as `probe`.

    Raises UserError, naming pattern and word, for a word unknown to the tokenizer, and for one
    that another begins with or equals: it could never be the less probable.
    """
    where = _where(tokenizer, pattern)
    queries = Queries(tokenizer, [probe], words=pattern.words, words_alone=pattern.words_alone)
    (words,) = queries.prompts("").words
    for word, tokens in zip(pattern.words, words, strict=True):
        unknown = tokenizer.unk_token_id in tokens and tokenizer.unk_token_id is not None
        if unknown or not tokens:
            raise UserError(f"{where}: label word {word!r} has no tokens of its own")
        for other, longer in zip(pattern.words, words, strict=True):
            if other != word and longer[: len(tokens)] == tokens:
                raise UserError(
                    f"{where}: label word {other!r} begins with the tokens of {word!r}, which is "
                    "therefore never less probable; choose other words"
                )
    return words


def label_word_ids(tokenizer, pattern: Pattern, probe: str) -> list[int]:
    """Return the token of each label word as it continues a prompt such as `probe`.

    Raises UserError as `label_words` does, and for a word of several tokens or one that merges
    with the prompt's last token: fine-tuning asks for one token.
    """
    where = _where(tokenizer, pattern)
    words = label_words(tokenizer, pattern, probe)
    prompt = encode(tokenizer, [probe])[0]
    for word, tokens in zip(pattern.words, words, strict=True):
        merges = encode(tokenizer, [probe + word])[0][: len(prompt)] != prompt
        if merges and not pattern.words_alone:
            raise UserError(
                f"{where}: label word {word!r} merges with the end of the prompt, which "
                "fine-tuning cannot ask for"
            )
        if len(tokens) != 1:
            pieces = tokenizer.convert_ids_to_tokens(tokens)
            raise UserError(
                f"{where}: label word {word!r} must be one token for fine-tuning but is "
                f"{len(pieces)}: {pieces}"
            )
    return [token for (token,) in words]


def _where(tokenizer, pattern: Pattern) -> str:
    name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
    return f"patterns.yaml: pattern '{pattern.name}', tokenizer of '{name}'"
