"""Every rule declares, as `code`, all modules that its script imports."""

import ast
import re
from collections import Counter

import pytest
from fewshot import codeversion
from fewshot.planning.requests import WITHOUT_MODEL
from fewshot.study.families import FAMILIES
from project import DOWNLOADS, ROOT

# What is downloaded depends on its pinned revision alone; the others always run.
UNDECLARED = DOWNLOADS | {
    *("report_partial", "import_predictions", "push_adapters", "export_tracking", "clean"),
    "check_site",
}
ANALYSIS = {"compare_methods", "make_table", "plot_figure", "write_report"}
ADAPTING = {"run_in_context", "fine_tune", "fit_baseline", "cross_validate", "score_unadapted"}
BEHAVIOUR = {"behaviour", "measure_behaviour"}
TRAINED = tuple(name for name, family in FAMILIES.items() if family.trains)


def declared() -> dict[str, set[str]]:
    """Return script name → modules named in its rule's code_version(...)."""
    found = {}
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for rule in re.split(r"^rule ", path.read_text(), flags=re.M)[1:]:
            script = re.search(r'"\.\./scripts/(\w+)\.py"', rule)
            calls = re.findall(r"code_version\((.*?)\)", rule, re.S)
            if script:
                names = re.findall(r'(?<!f)"([\w.]+)"', " ".join(calls))
                found[script[1]] = set(names)
    return found


def imported(script: str) -> set[str]:
    """Return the package modules that a script imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / f"scripts/{script}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "fewshot":
            inside = node.module.removeprefix("fewshot").lstrip(".")
            for alias in node.names:
                name = f"{inside}.{alias.name}".lstrip(".")
                path = codeversion.PACKAGE / f"{name.replace('.', '/')}.py"
                found.add(name if path.is_file() else inside)
    return found


def closure(modules: set[str]) -> set[str]:
    seen, todo = set(), list(modules)
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += codeversion.imports(module)
    return seen


@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "scripts").glob("*.py")))
def test_rule_declares_what_its_script_imports(script):
    assert script in declared(), "a script without a rule"
    if script not in UNDECLARED:
        needed = {name for name in imported(script) if not name.startswith("runtime.")}
        assert needed <= closure(declared()[script])


@pytest.mark.parametrize(
    ("module", "scripts"),
    [
        ("report.render", {"plot_figure", "write_report"}),
        ("report.figures.registry", {"plot_figure", "write_report"}),
        ("report.report", {"write_report"}),
        (
            "analysis.metrics",
            ANALYSIS
            | {"compute_metrics", "choose_settings", "export_results", "measure_bias"}
            | {"compare_forgetting"},
        ),
        ("analysis.bias", {*ANALYSIS, "measure_bias"} - {"compare_methods"}),
        ("analysis.choices", ANALYSIS - {"compare_methods"} | {"choose_settings"}),
        ("analysis.comparisons", {"compare_methods"}),
        ("analysis.pairs", ANALYSIS),
        ("analysis.verdicts", ANALYSIS - {"compare_methods"}),
        ("analysis.contrasts", {"compare_methods", "make_table", "write_report"}),
        ("adaptation.in_context", {"run_in_context", "cross_validate", "measure_latency"}),
        ("adaptation.retrieved", {"run_in_context", "cross_validate"}),
        ("adaptation.training", {"fine_tune", "cross_validate"}),
        ("adaptation.held_out", {"cross_validate"}),
        ("study.families", {"estimate"}),
        ("adaptation.baselines", {"fit_baseline"}),
        ("scoring.prefix_attention", {*ADAPTING, *BEHAVIOUR, "measure_latency"}),
        ("exchange.latency", {"measure_latency"}),
    ],
)
def test_an_edited_module_repeats_these_scripts_and_no_others(module, scripts):
    assert {name for name, names in declared().items() if module in closure(names)} == scripts


BUILT_ON = {
    "adapter_fusion": {"adapter"},
    "prompt_from_text": {"prompt_tuning"},
    "p_tuning": {"prompt_tuning"},
    "context_tuning": {"prefix_tuning"},
    "cartridge": {"prefix_tuning"},
    "qlora": {"lora"},
    "reparametrised_prefix": {"prefix_tuning"},
    "mix_and_match": {"adapter", "reparametrised_prefix", "prefix_tuning"},
}
"""Families that are others with something more."""


@pytest.mark.parametrize("family", TRAINED)
def test_a_family_reaches_none_that_it_is_not_built_on(family):
    reached = closure({"adaptation.training", f"methods.{family}"})
    found = {name for name in TRAINED if f"methods.{name}" in reached}
    assert found == {family, *BUILT_ON.get(family, ())}
    assert "adaptation.in_context" not in reached
    assert {"scoring.score", "prompts.tokenize", "adaptation.engines", "models.load"} <= reached


def test_only_retrieval_reaches_what_chooses_shots():
    assert not closure({"adaptation.in_context"}) & {"adaptation.retrieved", "methods.retrieval"}
    assert "methods.retrieval" in closure({"adaptation.retrieved"})


def test_holding_shots_out_in_context_and_in_training_do_not_reach_each_other():
    in_context, trained = (
        closure({f"adaptation.held_out_{name}"}) for name in ("in_context", "training")
    )
    assert not in_context & {"adaptation.training", "adaptation.engines", "adaptation.setup"}
    assert "adaptation.training" in trained and "adaptation.in_context" not in trained


def test_analysis_and_plans_do_not_reach_torch():
    analysis = set.union(*(declared()[script] for script in (*ANALYSIS, "compute_metrics")))
    assert {"analysis.metrics", "analysis.variance", "report.report"} <= analysis
    plans = {
        f"planning.{name}" for name in ("memory_plan", "estimate", "estimate_page", "requests")
    }
    for module in closure(analysis | plans | {"study.job_inputs"}):
        path = codeversion._path(module)
        assert not re.search(
            r"^\s*(import|from) (torch|transformers|peft|deepspeed)", path.read_text(), re.M
        )


RULES = sorted((ROOT / "rules").glob("*.smk"))
GROWING = re.compile(r"^        mem_mb=scaled\((\d+)\),\n        runtime=longer\((\d+)\),$", re.M)


def test_every_rule_that_is_submitted_asks_for_more_with_every_attempt():
    """Those that adapt a model as the memory plan has it; the most that the others ask for is what
    is compared with a cluster."""
    text = "\n".join(path.read_text() for path in RULES)
    rules = {rule.partition(":")[0]: rule for rule in re.split(r"^rule ", text, flags=re.M)[1:]}
    local = {name for name, rule in rules.items() if "    localrule: True" in rule}
    others = {name for name, rule in rules.items() if "    script:" in rule}
    others -= local | ADAPTING | {"measure_latency"}
    assert {"download", "check_site"} < local and {"sample_shots", "plot_figure"} < others
    asked = {name: GROWING.search(rules[name]) for name in others}
    assert [name for name, found in asked.items() if not found] == []
    memory, minutes = (max(int(found[i]) for found in asked.values()) for i in (1, 2))
    assert {"mem_mb": memory, "runtime": minutes} == WITHOUT_MODEL


def test_snakemakes_own_objects_are_read_in_few_places_and_never_written():
    """Its documentation names few of them; each use is one that an update may break."""
    files = [ROOT / "Snakefile", *RULES]
    text = "\n".join(re.sub("#.*", "", path.read_text()) for path in files)
    assert Counter(re.findall(r"\bworkflow\.(?!rst)(\w+)", text)) == {
        "is_main_process": 4,
        "basedir": 1,
        "snakefile": 1,
        "configfiles": 2,
        "overwrite_configfiles": 2,
        "resource_settings": 1,
        "executor_plugin": 1,
        "touch": 1,
    }
    assert not re.search(r"^\s*(del )?workflow\.[\w.\[\]\"']+ *(\||\+)?=[^=]", text, re.M)
    assert "snakemake_executor_plugin" not in text and "snakemake." not in text
