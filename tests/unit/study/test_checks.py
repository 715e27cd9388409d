"""What the registries and the study must agree on, each mistake told in one line."""

import re

import pytest
from fewshot.study.catalog import catalog_of
from fewshot.study.checks import RESERVED
from mistakes import told
from project import ROOT
from registries import BLOCK, copy_registries, edit, edit_task, load, message


@pytest.fixture
def folder(tmp_path):
    return copy_registries(tmp_path)


def shared_folders() -> set[str]:
    """Return the folders of results/ that a rule or a module of the package names."""
    files = [*ROOT.glob("rules/*.smk"), *ROOT.glob("scripts/fewshot/**/*.py")]
    named = (re.findall(r'\bresults(?:/|", ")([a-z-]+)["/]', file.read_text()) for file in files)
    return set().union(*named)


def test_every_shared_folder_of_results_is_reserved():
    assert shared_folders() == set(RESERVED)


@pytest.mark.parametrize("name", RESERVED)
def test_a_study_does_not_share_a_folder_of_results(folder, name):
    assert message(folder, study=name).startswith(
        f"config/mine.yaml: study: '{name}' is reserved: results/{name}/ is no study's; not valid: "
    )


def test_the_headline_is_about_a_k_that_is_run(folder):
    assert message(folder, main={"k": 16}) == (
        "config/mine.yaml: main.k: 16 is in no block of the grid; valid: 0, 2"
    )


def test_label_words_are_needed_by_every_method(folder):
    """A classification head reads the pattern's text, which is bound with its words."""
    edit(folder, "tasks", lambda tasks: tasks["rte"].pop("verbalizers"))
    for method in ("vanilla-ft", "in-context"):
        text = message(folder, grid=[{**BLOCK, "methods": [method]}])
        assert "task 'rte' has no verbalizer 'yes-no', which config/patterns.yaml" in text


def test_the_characters_of_label_words_rank_nothing_else(folder):
    edit(folder, "patterns", lambda each: each["minimal"].update(rank_by="characters"))
    assert message(folder, grid=[{**BLOCK, "methods": ["vanilla-ft"]}]).endswith(
        "and method 'vanilla-ft' reads none (head: classification); valid: rank_by: sum or mean"
    )
    load(folder, grid=[{**BLOCK, "methods": ["pattern-ft"]}])
    edit_task(folder, "rte", verbalizers={"yes-no": ["Yes ", "No"]})
    assert "begins or ends in a blank, which would count: ['Yes ', 'No']; valid" in message(folder)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("pattern-ft", "method 'pattern-ft' reads no such prompts; valid: methods in context"),
        ("hidden-state", "method 'hidden-state' reads no such prompts; valid: methods in context"),
    ],
)
def test_texts_behind_label_words_are_scored_in_context(folder, method, said):
    grid = [{"methods": [method], "patterns": ["channel-minimal"], "k": [2]}]
    assert message(folder, grid=grid) == (
        "config/mine.yaml: grid: pattern 'channel-minimal' scores texts behind label words "
        f"(rank_by: channel), and {said}"
    )
    load(folder, grid=[{**grid[0], "methods": ["in-context", "majority"], "k": [0, 2]}])


def test_a_chat_ends_in_the_answer(folder):
    edit(folder, "models", lambda models: models["small"].update(chat="turns"))
    grid = [{**BLOCK, "patterns": ["channel-minimal"]}]
    assert message(folder, grid=grid) == (
        "config/mine.yaml: grid: pattern 'channel-minimal' scores texts behind label words "
        "(rank_by: channel), and model 'small' answers behind texts (chat in config/models.yaml); "
        "valid: an entry without 'chat'"
    )
    load(folder, grid=grid, models=["tiny"])


def test_the_table_of_prompts_shows_the_label_word_in_front(folder):
    study = load(folder, grid=[{**BLOCK, "patterns": ["channel-minimal"]}])
    [shown] = catalog_of(study)["patterns"]["channel-minimal"]["prompts"].values()
    assert shown == {
        "demonstration": "{label}. {text_a} {text_b}\n\n",
        "query": "{label}. {text_a} {text_b}",
        "words": ["Yes", "No"],
    }


@pytest.mark.parametrize(
    "key", ["epochs", "gradient_clip", "keep_weights", "curve_epochs", "curve_rows"]
)
def test_what_training_reads_must_be_given(folder, key):
    edit(folder, "methods", lambda methods: methods["pattern-ft"].pop(key))
    named = "'epochs' or 'steps'" if key == "epochs" else f"'{key}'"
    assert f"method 'pattern-ft': {named} is missing for family 'full'" in message(folder)


def test_a_curve_has_epochs_that_are_trained(folder):
    """A variant with fewer epochs inherits the list of its base."""
    brief = {"base": "tiny-pattern-ft", "title": "Brief", "epochs": 10}
    edit(folder, "methods", lambda methods: methods.update(brief=brief))
    assert message(folder) == (
        "config/methods.yaml: method 'brief': curve_epochs: 20 is none of the epochs; "
        "valid: 1 to 10"
    )


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "curve_epochs",
            "all",
            "give exactly one of: each or last; a number of epochs; a list of epochs",
        ),
        ("curve_epochs", 0, "0 is too small; valid: 1 or more"),
        ("curve_rows", "each", "give exactly one of: all; a number of rows"),
        ("curve_rows", 0, "0 is too small; valid: 1 or more"),
    ],
)
def test_what_a_curve_may_be_is_said(folder, key, value, said):
    edit(folder, "methods", lambda methods: methods["pattern-ft"].update({key: value}))
    assert message(folder).endswith(f"pattern-ft.{key}: {said}")


def test_an_oracle_needs_sets_out_of_domain(folder):
    main = {"k": 2, "selection": "best-out-of-domain"}
    assert load(folder, main=main)
    edit_task(folder, "rte", out_of_domain=[])
    assert message(folder, main=main) == (
        "config/mine.yaml: main.selection: best-out-of-domain needs out-of-domain sets, and task "
        "'rte' has none; valid: last, best-in-domain"
    )


def test_the_headlines_checkpoint_is_one_that_the_study_has(folder):
    assert load(folder, best_epoch="held-out", main={"k": 2, "selection": "held-out"})
    for best, chosen, other in (
        ("in-domain", "held-out", "best-in-domain"),
        ("held-out", "best-in-domain", "held-out"),
    ):
        needed = "in-domain" if best == "held-out" else "held-out"
        main = {"k": 2, "selection": chosen}
        assert message(folder, best_epoch=best, main=main) == (
            f"config/mine.yaml: main.selection: {chosen} needs best_epoch: {needed}, and it is "
            f"{best}; valid: last, {other}, best-out-of-domain"
        )
    edit_task(folder, "rte", out_of_domain=[])
    main = {"k": 2, "selection": "best-out-of-domain"}
    assert message(folder, best_epoch="held-out", main=main).endswith("valid: last, held-out")


def test_lora_needs_targets_for_every_family_it_adapts(folder):
    edit(folder, "models", lambda models: models["small"].update(family="bloom"))
    assert load(folder), "the family is unknown to LoRA only"
    assert message(folder, grid=[{**BLOCK, "methods": ["lora"]}]) == (
        "config/methods.yaml: method 'lora': targets: no entry for family 'bloom' of model "
        "'small'; valid: opt, pythia, llama, qwen, gemma, smollm, olmo, mistral"
    )


def test_a_job_is_told_the_targets_of_its_own_model_only(folder):
    """Another family's entry would run every LoRA cell again."""
    study = load(folder)
    assert study.method_settings("lora", "pythia-410m")["targets"] == ["query_key_value"]
    assert study.method_settings("lora", "tiny")["targets"] == ["q_proj", "v_proj"]
    edit(folder, "methods", lambda methods: methods.update(odd={"base": "lora", "family": "full"}))
    assert "targets" not in load(folder).method_settings("odd", "tiny")


def test_a_job_is_told_no_settings_that_its_family_and_head_do_not_read(folder):
    def add(methods):
        methods["odd"] = {"base": "prefix-tuning", "family": "bitfit"}
        methods["words"] = {"base": "vanilla-ft", "head": "language-model"}

    edit(folder, "methods", add)
    study = load(folder)
    bitfit, odd = (study.method_settings(name, "tiny") for name in ("bitfit", "odd"))
    assert odd == {**bitfit, "learning_rate": 1e-2}
    assert study.method_settings("words", "tiny") == study.method_settings("pattern-ft", "tiny")
    assert study.method_settings("prefix-tuning", "tiny")["virtual_tokens"] == 20
    assert study.method_settings("vanilla-linear-ft", "tiny")["classifier"] == "linear"
    assert study.method_settings("dora", "tiny")["dora"] is True
    assert study.method_settings("in-context", "tiny") == {
        "family": "in_context",
        "head": "language-model",
    }


def test_a_classification_head_needs_its_kind(folder):
    edit(folder, "methods", lambda methods: methods["vanilla-ft"].pop("classifier"))
    assert message(folder) == (
        "config/methods.yaml: method 'vanilla-ft': 'classifier' is missing for head: classification"
    )


def test_prompts_start_from_texts_that_there_are(folder):
    block = {**BLOCK, "methods": ["prompt-tuning-labels", "prompt-tuning-pattern"]}
    assert load(folder, grid=[block])
    edit(
        folder, "methods", lambda methods: methods["prompt-tuning-labels"].update(virtual_tokens=1)
    )
    assert message(folder, grid=[block]) == (
        "config/methods.yaml: method 'prompt-tuning-labels': virtual_tokens: 1 are fewer than the "
        "2 label words of task 'rte' to start from (initial_text); valid: 2 or more"
    )
    edit(
        folder, "methods", lambda methods: methods["prompt-tuning-labels"].update(virtual_tokens=2)
    )
    bare = {"template": "{text_a} {text_b}", "answer": " {label}", "verbalizer": "yes-no"}
    edit(folder, "patterns", lambda patterns: patterns.update(bare=bare))
    assert message(folder, grid=[{**block, "patterns": ["bare"]}]) == (
        "config/methods.yaml: method 'prompt-tuning-pattern': initial_text: pattern 'bare' has no "
        "text of its own; valid: label-words, or another pattern"
    )


SHARE = "valid: a whole number of units, or a share of the width, such as 1/16"


@pytest.mark.parametrize(
    ("method", "key", "value", "expected"),
    [
        ("houlsby", "bottleneck", "half", f"'half' does not fit; {SHARE}"),
        ("houlsby", "bottleneck", 0, "0 is too small; valid: 1 or more"),
        ("houlsby", "form", "serial", "unknown value 'serial'; valid: houlsby, pfeiffer, parallel"),
        ("houlsby", "sublayers", [], "0 entries; valid: 1 or more"),
        ("pfeiffer", "initialisation", "zero", "unknown value 'zero'; valid: houlsby, bert, lora"),
        ("pfeiffer", "activation", "swish", "unknown value 'swish'; valid: relu, gelu, silu, tanh"),
        ("p-tuning", "encoder", "gru", "unknown value 'gru'; valid: mlp, lstm"),
        ("mix-and-match", "scale", 0, "0 is too small; valid: more than 0"),
        ("prefix-tuning-mlp", "encoder_width", "2/1", f"'2/1' does not fit; {SHARE}"),
        (
            "prompt-tuning-labels",
            "initial_text",
            "task",
            "unknown value 'task'; valid: label-words, pattern",
        ),
    ],
)
def test_wrong_settings_of_added_modules_are_named(folder, method, key, value, expected):
    edit(folder, "methods", lambda methods: methods[method].update({key: value}))
    assert told(load, folder) == f"{folder}/methods.yaml: {method}.{key}: {expected}"


def test_learned_prompts_need_their_number_of_tokens(folder):
    edit(folder, "methods", lambda methods: methods["prompt-tuning"].pop("virtual_tokens"))
    assert message(folder) == (
        "config/methods.yaml: method 'prompt-tuning': 'virtual_tokens' is missing for family "
        "'prompt_tuning'"
    )


@pytest.mark.parametrize(
    ("registry", "change"),
    [
        ("tasks", lambda tasks: tasks["rte"].update(out_of_domain=["rte"])),
        ("tasks", lambda tasks: tasks["rte"].pop("verbalizers")),
        ("models", lambda models: models["small"].update(config={"model_type": "opt"})),
        ("methods", lambda methods: methods["vanilla-ft"].pop("classifier")),
        ("patterns", lambda patterns: patterns["minimal"].update(answer="none")),
        ("figures", lambda figures: figures["tables"]["headline"].update(function="none")),
    ],
)
def test_the_file_that_is_named_is_the_one_that_was_read(folder, registry, change):
    edit(folder, registry, change)
    assert f"{folder}/{registry}.yaml: " in told(load, folder)


@pytest.mark.parametrize(
    ("changes", "k", "rows"),
    [
        ({"expected": {"train": 21}}, 22, "21 (expected in config/tasks.yaml); valid: mult"),
        (
            {"expected": {"train": {"entailment": 30, "not_entailment": 10}}},
            22,
            "30 of 'entailment', 10 of 'not_entailment' (expected in config/tasks.yaml); valid: mu",
        ),
        (
            {"expected": {}, "subsample": {"rows": 20, "splits": ["train"]}},
            22,
            "20 (subsample in config/tasks.yaml); valid: mult",
        ),
        (
            {
                "expected": {},
                "source": {"synthetic": "rte-like", "sizes": {"train": 20, "validation": 9}},
            },
            22,
            "10 of 'entailment', 10 of 'not_entailment' (sizes in config/tasks.yaml); valid: mult",
        ),
    ],
)
def test_no_more_shots_are_asked_for_than_there_are_known_rows(folder, changes, k, rows):
    edit_task(folder, "rte", **changes)
    grid = [{**BLOCK, "k": [20]}, {**BLOCK, "k": [k]}]
    text = message(folder, grid=grid)
    assert text.startswith(
        f"config/mine.yaml: grid: k = {k} is more than the training rows of task 'rte' allow: "
        f"{rows}"
    )
    assert text.endswith("multiples of 2 up to 20")
    assert load(folder, grid=grid[:1])


def test_a_draw_that_is_not_balanced_may_take_every_row(folder):
    edit_task(folder, "rte", expected={"train": 21})
    grid = [{"methods": ["pattern-ft"], "patterns": ["minimal"], "k": [21]}]
    assert load(folder, protocol="mosbach2023", grid=grid)
    grid[0]["k"] = [22]
    assert message(folder, protocol="mosbach2023", grid=grid).endswith("valid: up to 21")


def test_shots_are_cut_into_whole_contexts(folder):
    block = {**BLOCK, "methods": ["ensemble-4"]}
    assert load(folder, grid=[{**block, "k": [16]}])
    assert message(folder, grid=[{**block, "k": [2, 16]}]) == (
        "config/mine.yaml: grid: k = 2 cannot be cut into contexts of 4 shots, as method "
        "'ensemble-4' has them (shown); valid: multiples of 4"
    )
    assert message(folder, grid=[{**block, "methods": ["ensemble-1"], "k": [0]}]) == (
        "config/mine.yaml: method 'ensemble-1' shows the shots and needs k > 0"
    )
    edit(folder, "methods", lambda methods: methods["ensemble-1"].pop("shown"))
    assert message(folder) == (
        "config/methods.yaml: method 'ensemble-1': 'shown' is missing for family 'ensemble'"
    )


@pytest.mark.parametrize(
    ("method", "setting", "expected"),
    [
        (
            "in-context",
            {"shown": 4},
            "shown: family 'in_context' shows all shots in one context; valid for family: ensemble "
            "or retrieval",
        ),
        (
            "in-context",
            {"cached": 2},
            "cached: family 'in_context' shows all shots in one context; valid for family: "
            "retrieval",
        ),
        (
            "ensemble-1",
            {"similarity": "bm25"},
            "similarity: family 'ensemble' shows the shots in the order of the draw; valid for "
            "family: retrieval",
        ),
    ],
)
def test_a_setting_of_another_way_to_show_shots_is_not_passed_over(
    folder, method, setting, expected
):
    edit(folder, "methods", lambda methods: methods[method].update(setting))
    assert message(folder) == f"config/methods.yaml: method '{method}': {expected}"


def test_more_shots_than_are_drawn_cannot_be_shown(folder):
    block = {**BLOCK, "methods": ["similar-behind-cached"]}
    assert load(folder, grid=[{**block, "k": [12]}])
    assert message(folder, grid=[{**block, "k": [8]}]) == (
        "config/mine.yaml: grid: k = 8 is fewer than the 8 cached shots and 4 others that method "
        "'similar-behind-cached' shows; valid: 12 or more"
    )
    edit(folder, "methods", lambda methods: methods["retrieval-bm25"].update(similarity="words"))
    assert message(folder).endswith("similarity: unknown value 'words'; valid: bm25, states")
