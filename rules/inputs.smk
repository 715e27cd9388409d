# What jobs are made from and told, by their wildcards: plain values, which Snakemake compares.
from collections import namedtuple
from dataclasses import asdict
from pathlib import Path

from scripts.fewshot.codeversion import code_version
from scripts.fewshot.study.figure_needs import WITH_MANIFESTS
from scripts.fewshot.prompts.patterns import bind_pattern


def source_files(wildcards):
    """Return the files of a local source, whose edits must be noticed; else nothing."""
    return sorted(set(STUDY.tasks[wildcards.source]["source"].get("local", {}).values()))


def model_files(wildcards):
    """Return the files of a local model that are loaded: configuration, tokenizer, weights."""
    folder = STUDY.models[wildcards.model].get("local")
    if not folder:
        return []
    kinds = ("*.json", "*.txt", "*.model", "*.safetensors", "*.bin")
    return sorted(str(path) for kind in kinds for path in Path(folder).glob(kind))


def source_code_version(wildcards):
    """Return the generator's version; what is downloaded depends on its revision alone."""
    synthetic = "synthetic" in STUDY.tasks[wildcards.source]["source"]
    return code_version("data.synthetic") if synthetic else ""


def evaluation_files(wildcards):
    return collect(
        "results/data/{set}/validation.parquet", set=STUDY.evaluation_sets(wildcards.task)
    )


def evaluation_sets(wildcards):
    """Return the sets to score and how the task's labels count in each."""
    labels = range(len(STUDY.tasks[wildcards.task]["labels"]))
    own = {"set": wildcards.task, "merge": list(labels)}
    others = STUDY.out_of_domain(wildcards.task)
    return [own, *({"set": name, "merge": merge} for name, merge in others)]


def task_files(kind):
    """Return the function that lists a task's files of one kind, a file for each of its models."""

    def files(wildcards):
        models = [model for task, model in PAIRS if task == wildcards.task]
        return [f"results/{kind}/{STUDY.name}/{wildcards.task}/{model}.parquet" for model in models]

    return files


def comparison_catalog():
    """Return what of the catalog decides which arms are compared: no title does."""
    kinds = {
        kind: {
            name: {key: entry[key] for key in ("family", "stored_draws") if key in entry}
            for name, entry in CATALOG[kind].items()
        }
        for kind in ("models", "methods", "patterns")
    }
    return {**kinds, "shared_draws": CATALOG["shared_draws"]}


def job_weights(wildcards):
    """Return the marker of a model's weights; those of a local model lie where they are."""
    return ancient(marker_of(wildcards.model)) if wildcards.model in HUB_RUNS else []


def marker_of(model):
    return f"results/models/{model}/weights.json"


def job_seeds(wildcards):
    return list(range(int(wildcards.first), int(wildcards.last) + 1))


def train_file(wildcards):
    return f"results/data/{wildcards.task}/train.parquet" if int(wildcards.k) else []


def draw_file(method, task, k, seed):
    """Return the file of the draw that a method learns from."""
    return f"results/shots/{STUDY.draw_of(method)}/{task}/k{k}/seed{seed}.parquet"


def shots_files(wildcards):
    own = (wildcards.method, wildcards.task, wildcards.k)
    return [draw_file(*own, seed) for seed in job_seeds(wildcards) if int(wildcards.k)]


def bound_pattern(task, pattern):
    """Return a pattern with the label words of a task, as plain values."""
    return asdict(bind_pattern(pattern, STUDY.patterns[pattern], task, STUDY.tasks[task]))


def job_pattern(wildcards):
    return bound_pattern(wildcards.task, wildcards.pattern)


def job_method(wildcards):
    return STUDY.method_settings(wildcards.method, wildcards.model)


def job_model(wildcards):
    """Return what of a model's entry changes its results."""
    entry = STUDY.models[wildcards.model]
    keys = ("dtype", "parameters", "window", "config")
    return {key: entry[key] for key in keys if key in entry}


def job_labels(wildcards):
    return len(STUDY.tasks[wildcards.task]["labels"])


def table_entry(wildcards):
    return STUDY.tables[wildcards.name]


def table_manifests(wildcards):
    return RUN_MANIFESTS if table_entry(wildcards)["function"] in WITH_MANIFESTS else []


def figure_entry(wildcards):
    return STUDY.figures[wildcards.name]


def figure_category(wildcards):
    return STUDY.figures[wildcards.name]["category"]


def table_category(wildcards):
    return STUDY.tables[wildcards.name]["category"]


def import_of(wildcards):
    """Return the entry of the study's imports that a run is read from."""
    return next(each for each in STUDY.imports if each.cell == cell_of(wildcards))


def import_samples(wildcards):
    """Return the logs of a run, by seed and, within one, by evaluation set."""
    entry = import_of(wildcards)
    return [
        entry.file(name, seed)
        for seed in job_seeds(wildcards)
        for name in STUDY.evaluation_sets(wildcards.task)
    ]


def import_train_file(wildcards):
    return train_file(wildcards) if import_of(wildcards).prompts == "stored" else []


def import_shots_files(wildcards):
    return shots_files(wildcards) if import_of(wildcards).prompts == "stored" else []


def context_cells():
    """Return what the study shows in context, whatever the model, as plain values."""
    Wildcards = namedtuple("Wildcards", "protocol task model method pattern k first last")
    found = {}
    for job in STUDY.jobs:
        if STUDY.uses_context(job.cell.method):
            own = Wildcards(*asdict(job.cell).values(), job.seeds[0], job.seeds[-1])
            draws = dict(zip(map(str, job.seeds), shots_files(own)))
            found[own.task, own.pattern, own.k, job.seeds] = {
                **{name: asdict(job.cell)[name] for name in ("protocol", "task", "k")},
                "pattern": job_pattern(own),
                "seeds": list(job.seeds),
                "evaluation": [
                    {**each, "path": path}
                    for each, path in zip(evaluation_sets(own), evaluation_files(own), strict=True)
                ],
                "train": train_file(own) if draws else "",
                "shots": draws,
            }
    return list(found.values())


CONTEXT_CELLS = context_cells()


def lacking(reason):
    """Return an input function that ends Snakemake with `reason`, once its target is asked for."""

    def stop(wildcards):
        sys.exit(f"error: {reason}")

    return stop


def job_files():
    """Return a file of each job that `all` asks for, by rule: what `snakemake plan` counts."""
    methods = {
        "run_in_context": METHODS_IN_CONTEXT,
        "fine_tune": METHODS_TRAINED,
        "read_lm_eval": METHODS_IMPORTED,
    }
    draws = {path for pair in PAIRS for path in pair_shots_files(Pair(*pair))}
    draws |= {
        draw_file(each.cell.method, each.cell.task, each.cell.k, seed)
        for each in STUDY.imports
        if each.prompts == "stored" and each.cell.k
        for seed in each.seeds
    }
    drawn = {f"results/data/{Path(path).parts[3]}/train.parquet" for path in draws}
    return {
        "download_data": SOURCE_MANIFESTS,
        "download_model": MODEL_MANIFESTS,
        "download_weights": [marker_of(model) for model, runs in HUB_RUNS.items() if runs],
        "prepare_task": sorted({*EVALUATION, *drawn}),
        "sample_shots": sorted(draws),
        "check_window": WINDOWS,
        **{
            name: [
                f"results/runs/{job.folder}/manifest.json"
                for job in STUDY.jobs
                if job.cell.method in chosen
            ]
            for name, chosen in methods.items()
        },
        "compute_metrics": METRICS,
        "compare_methods": COMPARISONS,
        "make_table": files_of("tables", STUDY.tables, ["parquet"]),
        "plot_figure": files_of("figures", STUDY.figures, ["vl.json"]),
        "write_report": [f"results/{STUDY.name}/report.html"],
    }
