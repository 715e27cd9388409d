"""A study that measures what is lost elsewhere, from its jobs to what they found."""

import pandas as pd
import pytest
from fewshot.analysis.forgetting import changes

pytestmark = pytest.mark.slow

RUN = "fair/synth-mnli/opt-micro/{}/minimal/k4/seeds8-9"


def test_what_is_lost_elsewhere_is_measured_beside_the_same_predictions(study):
    """Trained runs lie apart and predict the same bytes; nothing else runs again."""

    def asked(content):
        content["forgetting"] = {
            "text": ["synth-documents"], "tasks": ["synth-rte"], "k": [0, 2], "rows": 20
        }  # fmt: skip
        content["tables"], content["figures"] = ["forgetting"], ["forgetting"]

    study.edit("config/config.yaml", asked)
    sizes = {"train": 40, "validation": 30}
    study.edit("config/tasks.yaml", lambda tasks: tasks["synth-rte"]["source"].update(sizes=sizes))
    found = "results/statistics/demo/forgetting.parquet"
    planned = [rule for rule, _ in study.planned(found)]
    assert planned.count("fine_tune") == 2 and planned.count("score_unadapted") == 1
    assert "run_in_context" not in planned and planned.count("sample_shots") == 2
    study.run(found)
    (folder,) = (study.folder / "results/runs-forgetting").iterdir()
    after = []
    for method in ("quick-ft", "quick-lora"):
        run = folder / "runs" / RUN.format(method)
        plain = study.folder / "results/runs" / RUN.format(method)
        assert (run / "predictions.parquet").read_bytes() == (
            plain / "predictions.parquet"
        ).read_bytes()
        after.append(pd.read_parquet(run / "forgetting.parquet"))
    before = pd.read_parquet(study.folder / "results/unadapted/demo/opt-micro.parquet")
    stored = pd.read_parquet(study.folder / found)
    made = changes([before], after)
    assert stored["change"].tolist() == made["change"].tolist() and len(made) == 2 * 3
    texts = made[made["kind"] == "text"].set_index("method")["change"]
    assert texts["quick-ft"] != 0 and texts["quick-lora"] != 0
