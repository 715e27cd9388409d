"""The published code's draws: against its logs, numpy's generators and Hugging Face's shuffle."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from fewshot.data import shots
from fewshot.data.shots import DRAWS, draw_balanced, draw_shots
from fewshot.errors import UserError
from fewshot.study.cells import DRAWS as NAMES
from fewshot.study.cells import UNBALANCED

# Rows of binary MNLI's training set by label, and its rows in all.
ENTAILMENT, CONTRADICTION = 130899, 130903
MNLI = 392702
LABELS = ("yes", "no")


def rows_of(labels: list[int], first: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"id": np.arange(first, first + len(labels)), "label": labels})


def published_context(rows: pd.DataFrame, k: int, seed: int) -> list[int]:
    """Return the ids that the published steps give, each done by the library it uses."""
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict(rows.to_dict("list"))
    np.random.seed(seed)
    chosen = []
    for label in (0, 1):
        members = data.filter(lambda row, label=label: row["label"] == label)["id"]
        chosen += np.random.choice(list(members), size=k // 2, replace=False).tolist()
    return list(data.filter(lambda row: row["id"] in chosen).shuffle(seed)["id"])


@pytest.mark.parametrize("seed", range(3))
def test_a_context_is_that_of_the_published_steps(seed):
    rows = rows_of((np.random.default_rng(5).random(90) < 0.4).astype(int).tolist(), 1000)
    for k in (2, 16, 32):
        drawn = shots.draw_in_context(rows, k, 2, "rte", seed)
        assert drawn["id"].tolist() == published_context(rows, k, seed)
        assert drawn["position"].tolist() == list(range(k))
        assert drawn["label"].tolist() == rows.set_index("id").loc[drawn["id"], "label"].tolist()
        assert drawn["label"].sum() == k / 2


def mnli_like(anchors: dict[str, dict[int, int]]) -> pd.DataFrame:
    """Return ids and labels of a training set of MNLI's size in which certain positions of each
    label's list have certain ids; the others are spread evenly between them."""
    taken = {number for own in anchors.values() for number in own.values()}
    free = np.setdiff1d(np.arange(MNLI), sorted(taken))
    frames = []
    sizes = {"entailment": ENTAILMENT, "contradiction": CONTRADICTION}
    for label, (name, size) in enumerate(sizes.items()):
        fixed = [(-1, -1), *sorted(anchors[name].items()), (size, MNLI)]
        ids = []
        for (left, low), (right, high) in pairwise(fixed):
            between = free[(free > low) & (free < high)]
            need = right - left - 1
            assert len(between) >= need, "no data set has these ids at these positions"
            ids += between[np.arange(need) * len(between) // max(need, 1)].tolist()
            ids += [high] * (right < size)
        free = np.setdiff1d(free, ids)
        frames.append(pd.DataFrame({"id": ids, "label": label}))
    return pd.concat(frames).sort_values("id", ignore_index=True)


@pytest.fixture(scope="module")
def anchors(shared_data) -> pd.DataFrame:
    path = shared_data.parent / "reference" / "sampling_anchors.csv"
    if not path.is_file():
        pytest.skip(f"no logged draws at {path}")
    return pd.read_csv(path, comment="#").sort_values(["data_seed", "label", "rank"])


def test_all_logged_draws_come_from_one_training_set(anchors):
    """160 ids were logged; a set that holds them where the draws reach is drawn id by id."""
    assert len(anchors) == 5 * 2 * 16
    fixed: dict[str, dict[int, int]] = {"entailment": {}, "contradiction": {}}
    for seed in range(5):
        stream = np.random.RandomState(seed)
        for name, size in (("entailment", ENTAILMENT), ("contradiction", CONTRADICTION)):
            of_label = (anchors["data_seed"] == seed) & (anchors["label"] == name)
            own = anchors.loc[of_label, "glue_idx"]
            places = stream.permutation(size)[:16]
            fixed[name] |= dict(zip(places.tolist(), own.tolist(), strict=True))
    rows = mnli_like(fixed)
    for seed, own in anchors.groupby("data_seed"):
        for k in (2, 32):
            drawn = shots.draw_in_context(rows, k, 2, "mnli", seed)
            logged = own[own["rank"] < k // 2]
            assert sorted(drawn["id"]) == sorted(logged["glue_idx"])
            named = logged.set_index("glue_idx")["label"] == "contradiction"
            assert (named.loc[drawn["id"]].to_numpy() == drawn["label"]).all()


@pytest.mark.parametrize(
    ("seed", "entailment", "contradiction", "mnli", "rte"),
    [
        (0, 96456, 108012, [169805, 99032, 46981, 21580], [2325, 1450, 1047, 2390]),
        (1, 75170, 74254, [97666, 230813, 242780, 87324], [2355, 1406, 403, 916]),
        (2, 78427, 16328, [184966, 8797, 49703, 204413], [1415, 2295, 1825, 1462]),
        (3, 109562, 34934, [206711, 181740, 217266, 201363], [2321, 439, 1210, 2002]),
        (4, 49788, 20859, [182684, 118379, 236038, 77797], [1019, 2021, 852, 1783]),
    ],
)
def test_known_positions(seed, entailment, contradiction, mnli, rte):
    # Ids that tell the position in the label's list, the labels one behind the other.
    rows = rows_of([0] * ENTAILMENT + [1] * CONTRADICTION)
    pair = shots.draw_in_context(rows, 2, 2, "mnli", seed)
    assert sorted(pair["id"]) == [entailment, ENTAILMENT + contradiction]
    assert shots.draw_fine_tuning(rows, 4, 2, "mnli", seed)["id"].tolist() == mnli
    small = rows_of([0, 1] * 1245)
    assert shots.draw_fine_tuning(small, 4, 2, "rte", seed)["id"].tolist() == rte


def test_qqp_is_cut_by_one_stream_for_all_splits():
    sizes, first = [363846, 40430, 390965], []
    for splits in (1, 2, 3):
        positions = shots.cut_of_split(sizes[:splits], 1000, 123)
        assert len(set(positions)) == 1000
        first.append(positions[:5].tolist())
    assert first[0] == [51201, 294185, 287803, 73741, 121150]
    assert first[1] == [927, 38485, 10430, 20304, 6059]
    assert first[2][:2] == [334774, 185703]


def test_published_draws_are_nested():
    rows = rows_of([0, 0, 1] * 100)
    for kind in ("mosbach2023-in-context", "mosbach2023-fine-tuning"):
        small, large = (draw_shots(kind, rows, k, LABELS, "rte", 3) for k in (16, 64))
        assert set(small["id"]) <= set(large["id"])
    whole = draw_shots("mosbach2023-fine-tuning", rows, 64, LABELS, "rte", 3)
    assert small["id"].tolist() == whole["id"].tolist()[:16], "in the order drawn"


def test_a_fine_tuning_draw_need_not_be_balanced():
    rows = rows_of([0] * 95 + [1] * 5)
    drawn = [
        draw_shots("mosbach2023-fine-tuning", rows, 2, LABELS, "rte", seed) for seed in range(10)
    ]
    assert {int(each["label"].sum()) for each in drawn} != {1}


def test_the_two_kinds_of_method_see_other_rows():
    rows = rows_of([0, 1] * 500)
    shown, trained = (
        set(draw_shots(kind, rows, 16, LABELS, "rte", 0)["id"])
        for kind in ("mosbach2023-in-context", "mosbach2023-fine-tuning")
    )
    assert shown != trained


def test_the_order_of_the_rows_matters_to_the_published_draws_alone():
    rows = rows_of([0, 1] * 50)
    for kind, same in (("fair", True), ("mosbach2023-in-context", False)):
        one, other = (draw_shots(kind, each, 8, LABELS, "rte", 0) for each in (rows, rows[::-1]))
        assert one.equals(other) is same


def test_every_named_kind_can_be_drawn():
    assert tuple(DRAWS) == NAMES and set(UNBALANCED) < set(NAMES)
    rows = rows_of([0, 1] * 50)
    assert draw_shots("fair", rows, 8, LABELS, "rte", 1).equals(draw_balanced(rows, 8, 2, "rte", 1))


@pytest.mark.parametrize(
    ("kind", "k", "message"),
    [
        ("mosbach2023-in-context", 3, "k = 3 cannot be balanced over 2 labels; valid: positive"),
        (
            "mosbach2023-in-context",
            12,
            "k = 12 needs 6 training rows of label 'no', but there are only 5; valid: 10 at most",
        ),
        (
            "mosbach2023-fine-tuning",
            13,
            "k = 13 needs 13 training rows, but there are only 12; valid: 12 at most",
        ),
    ],
)
def test_impossible_draws_are_errors(kind, k, message):
    with pytest.raises(UserError, match=f"task 'rte': {message}"):
        draw_shots(kind, rows_of([0] * 7 + [1] * 5), k, LABELS, "rte", 0)
