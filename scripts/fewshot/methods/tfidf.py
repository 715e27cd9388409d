"""TF-IDF: logistic regression on the words of the texts, without any language model."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from ..errors import UserError
from .fitted import Fitted
from .logistic import fit_logistic


def fit(texts: list[str], gold: np.ndarray, labels: int, settings: dict) -> Fitted:
    """Fit a linear classifier to the shots' `texts` and labels `gold` [shots].

    Words and their weights as scikit-learn's TfidfVectorizer has them where nothing is said: words
    of two letters and up in lower case, counts times ln((1 + n) / (1 + n_word)) + 1 over the n
    shots, each row's weights of norm 1. Words that no shot has count for nothing. Raises UserError
    where the shots have no word.
    """
    vectorizer = TfidfVectorizer()
    try:
        shots = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise UserError(
            f"TF-IDF: the {len(texts)} shots have no word of two letters or more ({error}); leave "
            "the method out for this task"
        ) from None
    known = sum(len(word.encode()) for word in vectorizer.vocabulary_)
    numbers = len(vectorizer.vocabulary_) + -(-known // 8)
    return fit_logistic(shots, gold, labels, settings, vectorizer.transform, numbers)
