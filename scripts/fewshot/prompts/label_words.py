"""The label words of a pattern as a tokenizer reads them, checked; what they end in."""

from collections.abc import Mapping

from ..errors import UserError
from .patterns import ChannelPattern, Pattern
from .tokenize import Queries, Words, encode


def label_words(tokenizer, pattern: Pattern, probe: str, end: tuple[int, ...] = ()) -> Words:
    """Return the tokens of each label word as it continues a prompt such as `probe`, and `end`.

    Raises UserError, naming pattern and word, for a word unknown to the tokenizer, and for one
    that another begins with or equals: it could never be the less probable.
    """
    where = _where(tokenizer, pattern)
    if isinstance(pattern, ChannelPattern):
        return _channel_words(tokenizer, pattern, where)
    queries = Queries(tokenizer, [probe], words=pattern.words, words_alone=pattern.words_alone)
    (words,) = queries.prompts("").words
    for word, tokens in zip(pattern.words, words, strict=True):
        unknown = tokenizer.unk_token_id in tokens and tokenizer.unk_token_id is not None
        if unknown or not tokens:
            raise UserError(f"{where}: label word {word!r} has no tokens of its own")
    words = tuple((*tokens, *end) for tokens in words)
    for word, tokens in zip(pattern.words, words, strict=True):
        for other, longer in zip(pattern.words, words, strict=True):
            if other != word and longer[: len(tokens)] == tokens:
                raise UserError(
                    f"{where}: label word {other!r} begins with the tokens of {word!r}, which is "
                    "therefore never less probable; choose other words"
                )
    return words


def _channel_words(tokenizer, pattern: ChannelPattern, where: str) -> Words:
    """Return the tokens of the label words that texts are scored behind, each by itself; raises
    UserError for one that is unknown or read as another is. One may begin with another."""
    words = encode(tokenizer, list(pattern.words), special=False)
    for i, (word, tokens) in enumerate(zip(pattern.words, words, strict=True)):
        if not tokens or (tokenizer.unk_token_id is not None and tokenizer.unk_token_id in tokens):
            raise UserError(f"{where}: label word {word!r} has no tokens of its own")
        if tokens in words[:i]:
            other = pattern.words[words.index(tokens)]
            raise UserError(
                f"{where}: label word {word!r} has the tokens of {other!r}; choose other words"
            )
    return tuple(words)


def end_tokens(tokenizer, settings: Mapping, pattern: Pattern | None = None) -> tuple[int, ...]:
    """Return what label words end in by a method's settings: with `end_token` the tokenizer's own,
    or that of a turn in a chat.

    Raises UserError where it has none.
    """
    if not settings.get("end_token"):
        return ()
    if pattern and pattern.answer_end:
        return (tokenizer.convert_tokens_to_ids(pattern.answer_end),)
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"methods.yaml: end_token: the tokenizer of '{_name(tokenizer)}' has no end token "
            "(eos_token of its tokenizer_config.json); leave it out"
        )
    return (tokenizer.eos_token_id,)


def _where(tokenizer, pattern: Pattern) -> str:
    return f"patterns.yaml: pattern '{pattern.name}', tokenizer of '{_name(tokenizer)}'"


def _name(tokenizer) -> str:
    return getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
