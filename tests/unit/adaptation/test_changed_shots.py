"""Both sides see the shots that factors of the data made: in the context, and in training."""

from pathlib import Path

import fine_tune
import pandas as pd
import pytest
import run_in_context
from fewshot import schemas, storage
from fewshot.data.shots import draw_changed, write_draw
from job_files import LONG, write_job

pytestmark = pytest.mark.slow

SIDES = {"in_context": run_in_context, "full": fine_tune}
FLIPPED = {"flip": 0.5}
AUGMENTED = {"duplicate": 2, "augment": {"swap": 1.0}}


def changed(smk, settings: dict) -> pd.DataFrame:
    """Change the draw of a job's only seed; return what is drawn."""
    rows = storage.read_table(smk.input.train)
    drawn = draw_changed(rows[rows["id"] != LONG], 8, ["a", "b"], "task", 0, settings)
    write_draw(smk.input.shots[0], drawn, settings)
    return drawn


def with_rows_of(smk, drawn: pd.DataFrame) -> None:
    """Give a job the plain draw of training rows that have the changed labels themselves."""
    rows = storage.read_table(smk.input.train)
    given = drawn.set_index("id")["given"]
    rows["label"] = rows["id"].map(given).fillna(rows["label"]).astype("int16")
    storage.write_table(smk.input.train, rows, schemas.ROWS)
    plain = drawn[["position", "id"]].assign(label=drawn["given"])
    write_draw(smk.input.shots[0], plain, {})


def run(smk, family: str) -> pd.DataFrame:
    SIDES[family].main(smk)
    return storage.read_table(smk.output.predictions)


@pytest.mark.parametrize("family", SIDES)
def test_wrong_labels_are_those_that_are_shown_and_trained_on(tmp_path, family):
    plain, flipped, own = (
        write_job(tmp_path / name, seeds=(0,), family=family, epochs=4)
        for name in ("plain", "flipped", "own")
    )
    drawn = changed(flipped, FLIPPED)
    assert (drawn["given"] != drawn["label"]).sum() == 4
    with_rows_of(own, drawn)
    found = {name: run(smk, family) for name, smk in
             (("plain", plain), ("flipped", flipped), ("own", own))}  # fmt: skip
    pd.testing.assert_frame_equal(found["flipped"], found["own"])
    assert not found["plain"]["logprob_0"].equals(found["flipped"]["logprob_0"])
    manifest = storage.read_json(flipped.output.manifest)
    assert manifest["checksums"]["factors"] == FLIPPED
    told = storage.frame_checksum(drawn.itertuples(index=False))
    assert manifest["checksums"]["shots"] == {"0": told}
    assert "factors" not in storage.read_json(plain.output.manifest)["checksums"]
    # Evaluation rows keep their labels.
    for name in ("task", "other"):
        rows = storage.read_table(
            str(Path(flipped.input.evaluation[0]).with_name(f"{name}.parquet"))
        )
        scored = found["flipped"].query(f"evaluation_set == '{name}'").drop_duplicates("id")
        assert scored.set_index("id")["label"].to_dict() == rows.set_index("id")["label"].to_dict()


@pytest.mark.parametrize("family", SIDES)
def test_augmented_texts_are_those_that_are_shown_and_trained_on(tmp_path, family):
    copied, augmented = (
        write_job(tmp_path / name, seeds=(0,), family=family) for name in ("copied", "augmented")
    )
    changed(copied, {"duplicate": 2})
    drawn = changed(augmented, AUGMENTED)
    assert (drawn["words_a"] != "").sum() == 4 and drawn["id"].nunique() == 4
    found = [run(smk, family) for smk in (copied, augmented)]
    assert not found[0]["logprob_0"].equals(found[1]["logprob_0"])


def test_batches_are_drawn_by_the_bases_name(tmp_path):
    first, same, other = (
        write_job(tmp_path / name, seeds=(0,), family="full", epochs=2)
        for name in ("first", "same", "other")
    )
    same.wildcards.task, other.params.task = "changed", "changed"
    scores = [run(smk, "full")["logprob_0"] for smk in (first, same, other)]
    assert scores[0].equals(scores[1]) and not scores[0].equals(scores[2])
