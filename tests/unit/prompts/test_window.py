"""Which contexts fit, against whole prompts tokenized one by one."""

import itertools
import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import check_window
import pandas as pd
import pytest
from fewshot import schemas, storage
from fewshot.adaptation.job import read_job
from fewshot.data.shots import draw_balanced, read_shots
from fewshot.errors import UserError
from fewshot.prompts.patterns import Pattern
from fewshot.prompts.set_queries import SetQueries
from fewshot.prompts.window import WindowChecker, check_cells, check_copies, describe_windows
from job_files import PATTERN, some_rows, write_job
from tiny import tiny_tokenizer

NAME = {"protocol": "fair", "task": "task", "model": "tiny"}
TRAIN = some_rows(60, "train")
SETS = {"task": some_rows(24, "task"), "other": some_rows(11, "other")}


def cell(method="icl", k=4, seeds=(0, 1), uses_context=True, needs_words=True, virtual=0, **other):
    return {
        "method": method, "pattern": "minimal", "k": k, "seeds": list(seeds),
        "uses_context": uses_context, "needs_words": needs_words, "virtual_tokens": virtual,
        "draw": "fair", "truncate": None, **other,
    }  # fmt: skip


def checker(pattern=PATTERN, ks=(2, 4, 8)):
    shots = {("fair", k, s): drawn(TRAIN, k, s) for k in ks for s in (0, 1)}
    return WindowChecker(SetQueries(tiny_tokenizer()), {"minimal": pattern}, SETS, shots)


def drawn(rows: pd.DataFrame, k: int, seed: int, task: str = "task") -> pd.DataFrame:
    """Return the training rows of a draw, in its order."""
    return rows.set_index("id", drop=False).loc[draw_balanced(rows, k, 2, task, seed)["id"]]


def whole(context: str) -> dict[str, int]:
    """Return the tokens of every row's prompt, tokenized whole and alone."""
    return {
        f"{name}/{row.id}": len(tiny_tokenizer()(f"{context}{row.text_a} {row.text_b} ?").input_ids)
        for name, rows in SETS.items()
        for row in rows.itertuples()
    }


def test_lengths_are_those_of_whole_prompts():
    check = checker()
    rows = check_cells(check, NAME, [cell(k=k) for k in (2, 4, 8)], 64)
    assert len(rows) == 6 and {row["status"] for row in rows} == {"ok", "does not fit"}
    for row in rows:
        draw = check.shots["fair", row["k"], row["seed"]]
        context = "".join(
            f"{each.text_a} {each.text_b} ?{PATTERN.words[each.label]}\n\n"
            for each in draw.itertuples()
        )
        lengths = whole(context)
        assert row["longest_tokens"] == max(lengths.values()) == lengths[row["longest_row"]]
        alone = tiny_tokenizer()(context, add_special_tokens=False).input_ids
        assert row["context_tokens"] == len(alone)
        assert row["status"] == ("ok" if row["longest_tokens"] <= 64 else "does not fit")


def test_many_shots_that_do_not_fit_are_told_in_words(caplog):
    caplog.set_level("INFO")
    train = some_rows(256, "train")
    shots = {("fair", 256, 0): drawn(train, 256, 0)}
    check = WindowChecker(SetQueries(tiny_tokenizer()), {"minimal": PATTERN}, SETS, shots)
    [row] = check_cells(check, NAME, [cell(k=256, seeds=[0])], 1024)
    assert row["status"] == "does not fit" and row["context_tokens"] > 1024
    told = f"a prompt has {row['longest_tokens']} tokens, the model reads 1024"
    words = "icl with pattern minimal, k = 256, seed 0: does not fit: "
    assert [record.getMessage() for record in caplog.records] == [words + told]


def test_what_does_not_fit_is_told_with_how_many_shots_would():
    ks = (2, 4, 8)
    rows = check_cells(
        checker(), NAME, [cell(k=k) for k in ks] + [cell("ft", uses_context=False)], 64
    )
    found = pd.DataFrame(rows).assign(longest_tokens=[30, 40, 60, 70, 99, 100, 9, 9],
                                      context_tokens=[20, 24, 40, 48, 80, 88, 0, 0])  # fmt: skip
    found["status"] = ["ok" if n <= 64 else "does not fit" for n in found["longest_tokens"]]
    assert describe_windows(found) == [
        # 12 tokens a shot at most, and a query of 22.
        "fair, task, tiny, icl, minimal: k = 4 (70 tokens, 1 of 2 seeds), k = 8 (100 tokens) "
        "not within 64; about 3 shots do",
        "2 of 4 cells fit their model's window.",
    ]
    assert describe_windows(found.iloc[:2]) == ["1 of 1 cells fit their model's window."]
    cut = found.iloc[6:].assign(status="does not fit", longest_tokens=99)
    assert describe_windows(cut)[0].endswith("k = 4 (99 tokens) not within 64")


def test_an_ensemble_has_the_tokens_of_its_longest_context():
    check = checker(ks=(8,))
    (row,) = check_cells(check, NAME, [cell(k=8, seeds=[0], shown=2)], 10**6)
    draw = list(check.shots["fair", 8, 0].itertuples())
    texts = [f"{each.text_a} {each.text_b} ?{PATTERN.words[each.label]}\n\n" for each in draw]
    contexts = ["".join(texts[i : i + 2]) for i in range(0, 8, 2)]
    alone = [len(tiny_tokenizer()(each, add_special_tokens=False).input_ids) for each in contexts]
    assert row["context_tokens"] == max(alone) > min(alone)
    assert row["longest_tokens"] == max(max(whole(each).values()) for each in contexts)
    (every,) = check_cells(check, NAME, [cell(k=8, seeds=[0])], row["longest_tokens"])
    assert every["status"] == "does not fit"


def test_retrieved_shots_have_a_bound_that_no_evaluation_row_decides():
    """Behind two cached rows any three of the others may stand."""
    check = checker(ks=(8,))
    given = cell(k=8, seeds=[0], shown=3, cached=2)
    (row,) = check_cells(check, NAME, [given], 10**6)
    draw = check.shots["fair", 8, 0].itertuples()
    texts = [f"{each.text_a} {each.text_b} ?{PATTERN.words[each.label]}\n\n" for each in draw]
    chosen = ["".join(three) for three in itertools.combinations(texts[2:], 3)]
    contexts = ["".join(texts[:2]) + each for each in chosen]
    assert row["longest_tokens"] == max(max(whole(each).values()) for each in contexts)
    alone = [len(tiny_tokenizer()(each, add_special_tokens=False).input_ids) for each in contexts]
    assert row["context_tokens"] == max(alone) > min(alone)


def test_how_many_shots_would_fit_is_not_said_of_several_contexts():
    rows = check_cells(checker(), NAME, [cell(k=8, seeds=[0], shown=2)], 20)
    assert describe_windows(pd.DataFrame(rows), ["icl"])[0].endswith("tokens) not within 20")
    assert "shots do" in describe_windows(pd.DataFrame(rows))[0]


def test_the_window_itself_still_fits():
    longest = check_cells(checker(), NAME, [cell(seeds=[0])], 10**6)[0]["longest_tokens"]
    for window, status in ((longest, "ok"), (longest - 1, "does not fit")):
        assert check_cells(checker(), NAME, [cell(seeds=[0])], window)[0]["status"] == status


def test_no_shots_have_no_context():
    row = check_cells(checker(), NAME, [cell(k=0, seeds=[0])], 64)[0]
    lengths = whole("")
    assert row["context_tokens"] == 0 and row["longest_tokens"] == max(lengths.values())


def test_training_counts_the_shots_and_no_context():
    long = TRAIN.assign(text_b=" ".join(["doctor"] * 90))
    shots = {("fair", 4, 0): drawn(long, 4, 0)}
    check = WindowChecker(SetQueries(tiny_tokenizer()), {"minimal": PATTERN}, SETS, shots)
    row = check_cells(check, NAME, [cell("ft", seeds=[0], uses_context=False)], 90)[0]
    assert row["context_tokens"] == 0 and row["longest_row"].startswith("train/")
    assert row["longest_tokens"] > 90 and row["status"] == "does not fit"


def test_a_prompt_that_is_cut_is_no_longer_than_that():
    free = cell("ft", seeds=[0], uses_context=False)
    longest = check_cells(checker(), NAME, [free], 64)[0]["longest_tokens"]
    for limit, length in ((longest - 3, longest - 3), (longest + 3, longest)):
        row = check_cells(checker(), NAME, [{**free, "truncate": limit, "virtual_tokens": 2}], 64)
        assert row[0]["longest_tokens"] == length + 2


def test_label_words_of_several_tokens_count_in_training_as_in_context():
    long = Pattern("minimal", PATTERN.parts, "", (" Yes Yes No", " No"), "\n\n")
    free = cell("ft", seeds=[0], uses_context=False)

    def found(pattern, **other):
        (row,) = check_cells(checker(pattern), NAME, [{**free, **other}], 64)
        return row["longest_tokens"]

    one = found(PATTERN)
    assert found(long) == one + 2 and found(long, end_token=True) == one + 3
    assert found(long, needs_words=False) == one
    for truncate in (one - 2, one + 9):
        assert found(long, truncate=truncate) == min(one, truncate) + 2, "the answer is not cut"
    zero = check_cells(checker(long), NAME, [cell(k=0, seeds=[0])], 64)
    assert zero[0]["longest_tokens"] >= one and zero[0]["longest_tokens"] <= one + 2


def test_two_kinds_of_draw_are_told_apart():
    check = checker(ks=(4,))
    long = TRAIN.assign(text_b=" ".join(["doctor"] * 30))
    check.shots["other", 4, 0] = drawn(long, 4, 0)
    own, other = check_cells(check, NAME, [cell(seeds=[0]), cell(seeds=[0], draw="other")], 64)
    assert own["context_tokens"] < 64 < other["context_tokens"]
    assert (own["status"], other["status"]) == ("ok", "does not fit")


def test_learned_positions_count_towards_the_window():
    free = cell("ft", seeds=[0], uses_context=False)
    longest = check_cells(checker(), NAME, [free], 64)[0]["longest_tokens"]
    for virtual, status in ((64 - longest, "ok"), (65 - longest, "does not fit")):
        row = check_cells(checker(), NAME, [{**free, "virtual_tokens": virtual}], 64)[0]
        assert row["status"] == status and row["longest_tokens"] == longest + virtual
        assert row["context_tokens"] == 0


def test_a_job_counts_what_its_method_learns(tmp_path):
    settings = {"family": "prefix_tuning", "virtual_tokens": 100}
    assert set(read_job(write_job(tmp_path / "a", **settings)).status.values()) == {"ok"}
    settings["virtual_tokens"] = 120
    assert set(read_job(write_job(tmp_path / "b", **settings)).status.values()) == {"does not fit"}


def test_label_words_are_checked_where_they_are_needed():
    odd = Pattern("minimal", PATTERN.parts, "", (" Yes", " Banana"), "\n\n")
    with pytest.raises(UserError, match="label word ' Banana'"):
        check_cells(checker(odd), NAME, [cell()], 64)
    free = cell("vanilla", uses_context=False, needs_words=False)
    assert len(check_cells(checker(odd), NAME, [free], 64)) == 2
    several = Pattern("minimal", PATTERN.parts, "", (" Yes Yes", " No"), "\n\n")
    assert len(check_cells(checker(several), NAME, [cell()], 64)) == 2
    begun = Pattern("minimal", PATTERN.parts, "", (" Yes", " Yes No"), "\n\n")
    free = cell("ft", uses_context=False)
    with pytest.raises(UserError, match="' Yes No' begins with the tokens of ' Yes'"):
        check_cells(checker(begun), NAME, [free], 64)
    assert len(check_cells(checker(begun), NAME, [{**free, "end_token": True}], 64)) == 2


def test_a_draw_from_other_rows_is_an_error(tmp_path):
    smk = write_job(tmp_path, k=4, family="in_context")
    draw = storage.read_table(smk.input.shots[0])
    for other in (draw.assign(id=draw["id"] + 1000), draw.assign(label=1 - draw["label"])):
        checksum = storage.frame_checksum(other.itertuples(index=False))
        storage.write_table(smk.input.shots[0], other, schemas.SHOTS, checksum=checksum)
        with pytest.raises(UserError, match="drawn from other rows than those of"):
            read_shots(smk.input.train, {"a": smk.input.shots[0]})


def test_a_draw_whose_rows_were_exchanged_is_an_error(tmp_path):
    smk = write_job(tmp_path, k=4, family="in_context")
    draw = storage.read_table(smk.input.shots[0])
    checksum = storage.frame_checksum(draw.itertuples(index=False))
    other = draw.assign(id=draw["id"].to_numpy()[::-1], label=draw["label"].to_numpy()[::-1])
    storage.write_table(smk.input.shots[0], other, schemas.SHOTS, checksum=checksum)
    with pytest.raises(UserError, match="its rows are not those that were drawn"):
        read_shots(smk.input.train, {"a": smk.input.shots[0]})


def test_evaluation_rows_that_were_shown_are_counted():
    check = checker()
    shots = check.shots["fair", 4, 0]
    copied = pd.concat([SETS["task"], shots.iloc[[0, 0, 2]]])
    check.evaluation = {"task": copied, "other": pd.concat([SETS["other"], shots.iloc[[3]]])}
    rows = check_cells(check, NAME, [cell(k=0, seeds=[0]), cell(k=4)], 10**6)
    seen = {(row["k"], row["seed"]): row["shown_rows"] for row in rows}
    assert seen[0, 0] == 0 and seen[4, 0] == 4
    ids = set(shots.iloc[[0, 2, 3]]["id"])
    again = check.shots["fair", 4, 1]["id"]
    assert (seen[4, 1] > 0) == bool(ids & set(again))


def test_a_set_that_repeats_the_training_rows_is_refused(caplog):
    check_copies(TRAIN, SETS)
    assert not caplog.text
    check_copies(TRAIN, {"task": pd.concat([SETS["task"], TRAIN.head(2)])})
    assert "set 'task': 2 of 26 rows are training rows too" in caplog.text
    with pytest.raises(UserError, match="evaluation set 'task': each of its 60 rows is a training"):
        check_copies(TRAIN, {"task": TRAIN.sample(frac=1, random_state=0)})


def test_the_script_writes_a_row_per_cell_and_seed(tmp_path):
    smk = write_job(tmp_path, k=4)
    smk.params = SimpleNamespace(
        protocol="fair", task="task", evaluation_sets=["task", "other"], window=128,
        cells=[cell(), cell("ft", uses_context=False), cell(k=0, seeds=[0])],
        patterns={"minimal": json.loads(json.dumps(asdict(PATTERN)))},
        shots={f"fair/4/{seed}": path for seed, path in enumerate(smk.input.shots)},
    )  # fmt: skip
    smk.wildcards = SimpleNamespace(study="s", task="task", model="tiny")
    smk.output = SimpleNamespace(windows=str(tmp_path / "windows2.parquet"))
    check_window.main(smk)
    frame = storage.read_table(smk.output.windows)
    assert frame[["method", "k", "seed"]].astype(str).agg("/".join, axis=1).tolist() == [
        "icl/4/0", "icl/4/1", "ft/4/0", "ft/4/1", "icl/0/0",
    ]  # fmt: skip
    assert (frame["status"] == "ok").all() and (frame["window"] == 128).all()


def test_rte_with_32_shots_fits_no_2048_tokens(shared_data, real):
    rows = [
        pd.read_json(shared_data / f"rte_{split}.jsonl", lines=True).rename(
            columns={"sentence1": "text_a", "sentence2": "text_b", "idx": "id"}
        )
        for split in ("train", "validation")
    ]
    shots = {("fair", 32, seed): drawn(rows[0], 32, seed, "rte") for seed in range(10)}
    check = WindowChecker(SetQueries(real), {"minimal": PATTERN}, {"rte": rows[1]}, shots)
    found = check_cells(check, NAME, [cell(k=32, seeds=range(10))], 2048)
    assert {row["status"] for row in found} == {"does not fit"}


def test_shots_are_trained_on_with_each_of_several_patterns():
    """The longest with any of them decides; evaluation rows are read with the cell's own alone."""
    long = replace(PATTERN, name="long", parts=(("all " * 9, "text_a"), (" and ", "text_b")))
    check = checker(ks=(4,))
    check.patterns["long"] = long
    own = cell("ft", uses_context=False)
    several = {**own, "train_patterns": ["minimal", "long"], "end_token": True}
    plain = check_cells(check, NAME, [{**own, "end_token": True}], 99)
    rows = check_cells(check, NAME, [several], 99)
    for row, before in zip(rows, plain, strict=True):
        drawn = check.shots["fair", 4, row["seed"]]
        texts = [long.query(each.text_a, each.text_b) for each in drawn.itertuples()]
        lengths = [len(tiny_tokenizer()(text).input_ids) + 1 for text in texts]
        assert row["longest_tokens"] == max(lengths) > before["longest_tokens"]
        assert row["longest_row"].startswith("train/") and row["status"] == "ok"
        assert {**row, "longest_tokens": 0, "longest_row": ""} == {
            **before, "longest_tokens": 0, "longest_row": "",
        }  # fmt: skip
    narrow = min(row["longest_tokens"] for row in rows) - 1
    found = check_cells(check, NAME, [{**own, "end_token": True}, several], narrow)
    assert [row["status"] for row in found] == ["ok", "ok", "does not fit", "does not fit"]
    check.patterns["long"] = replace(long, words=(" Yes", " Nay"))
    with pytest.raises(UserError, match=r"pattern 'long'.*' Nay' has no tokens of its own"):
        check_cells(check, NAME, [several], 99)


def test_shots_are_not_counted_with_a_pattern_that_training_never_reads():
    """The cell's own is for evaluation rows alone."""
    check = checker(ks=(4,))
    long = replace(PATTERN, name="long", parts=(("all " * 9, "text_a"), (" and ", "text_b")))
    check.patterns["long"] = long
    own = {**cell("ft", uses_context=False), "pattern": "long"}
    (row, _) = check_cells(check, NAME, [{**own, "train_patterns": ["minimal"]}], 99)
    texts = [long.query(each.text_a, each.text_b)
             for rows in check.evaluation.values() for each in rows.itertuples()]  # fmt: skip
    assert row["longest_tokens"] == max(len(tiny_tokenizer()(text).input_ids) for text in texts)


def test_a_job_does_not_train_on_what_a_training_pattern_makes_too_long(tmp_path):
    long = replace(PATTERN, name="long", parts=(("all " * 130, "text_a"), (" ", "text_b")))
    smk = write_job(tmp_path, train_patterns=[asdict(PATTERN), asdict(long)])
    assert read_job(smk).status == {0: "does not fit", 1: "does not fit"}
    smk.params.method["train_patterns"] = [asdict(PATTERN)]
    assert read_job(smk).status == {0: "ok", 1: "ok"}


@pytest.mark.parametrize("behind", ["", "others", "all"])
def test_shots_are_counted_behind_those_that_they_are_trained_behind(behind):
    """Each prompt tokenized whole; scored behind the context or not, the longer one counts."""
    check = checker()
    drawn_rows = check.shots["fair", 8, 0]
    texts = []
    for number in range(8):
        before = {"": [], "all": range(8), "others": [i for i in range(8) if i != number]}[behind]
        context = PATTERN.context_of(drawn_rows.iloc[list(before)])
        texts.append(context + PATTERN.queries(drawn_rows.iloc[[number]])[0])
    trained = max(len(tiny_tokenizer()(text).input_ids) for text in texts)
    for shown in (False, True):
        scored = max(whole(PATTERN.context_of(drawn_rows) if shown else "").values())
        asked = cell(k=8, uses_context=shown, trained_behind=behind)
        (row, _) = check_cells(check, NAME, [asked], 512)
        expected = max(scored, trained) if behind or not shown else scored
        assert row["longest_tokens"] == expected
