"""Hidden state: logistic regression on what the frozen model's readout reads behind a prompt."""

import numpy as np
from sklearn.preprocessing import StandardScaler

from .fitted import Fitted
from .logistic import fit_logistic


def fit(states: np.ndarray, gold: np.ndarray, labels: int, settings: dict) -> Fitted:
    """Fit a linear classifier to the shots' hidden states [shots, width] and labels `gold`.

    Each dimension is standardised over the shots alone, as scikit-learn's StandardScaler does:
    evaluation rows are looked at one by one. The representation is the one that fine-tuning of a
    linear head starts from (Alain and Bengio 2017 call such classifiers probes).
    """
    scaler = StandardScaler()
    shots = scaler.fit_transform(states.astype(np.float64))

    def features(rows: np.ndarray) -> np.ndarray:
        return scaler.transform(rows.astype(np.float64))

    return fit_logistic(shots, gold, labels, settings, features, 2 * states.shape[1])
