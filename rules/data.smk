# From raw rows to draws, and which contexts fit which model's window.
# Raw rows are fetched by a local rule: on a cluster only the login node has network.


rule download_data:
    input:
        files=lambda w: unmoved(INPUTS.source_files(w.source)),
    output:
        manifest="results/raw/{source}/manifest.json",
    log:
        "results/logs/raw/{source}.log",
    wildcard_constraints:
        source=any_of([*STUDY.tasks, *STUDY.texts]),
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        name="{source}",
        source=lambda w: source_entry(STUDY, w.source),
        code=lambda w: INPUTS.source_code(w.source),
    script:
        "../scripts/download_data.py"


# Raw rows of any source to one shape: id, texts, label, subsets.
rule prepare_task:
    input:
        manifest=lambda w: f"results/raw/{STUDY.source_of(w.task)}/manifest.json",
    output:
        rows="results/data/{task}/{split}.parquet",
    log:
        "results/logs/data/{task}/{split}.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(20),
    params:
        task=lambda w: STUDY.task_reading(w.task),
        code=code_version("data.prepare"),
    script:
        "../scripts/prepare_task.py"


# Documents outside the tasks, on which a study's `forgetting` is measured.
rule prepare_text:
    input:
        manifest="results/raw/{text}/manifest.json",
    output:
        documents="results/texts/{text}.parquet",
    log:
        "results/logs/texts/{text}.log",
    wildcard_constraints:
        text=any_of(STUDY.texts),
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(20),
    params:
        entry=lambda w: {
            key: value
            for key, value in STUDY.texts[w.text].items()
            if key in ("field", "min_characters", "rows")
        },
        code=code_version("data.texts", "schemas", "storage"),
    script:
        "../scripts/prepare_text.py"


# One stored draw per task, k and seed. Of the kind `fair`: balanced, nested, the same for every
# method and model. The other kinds are those of the published code.
rule sample_shots:
    input:
        train=lambda w: INPUTS.train_file(w.task, w.k),
    output:
        shots="results/shots/{draw}/{task}/k{k}/seed{seed}.parquet",
    log:
        "results/logs/shots/{draw}/{task}/k{k}/seed{seed}.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(2000),
        runtime=longer(2),
        in_turn=1,
    params:
        base=lambda w: STUDY.rows_of(w.task),
        labels=lambda w: INPUTS.labels(w.task),
        factors=lambda w: STUDY.factors_of(w.task),
        code=code_version("data.shots", "schemas", "storage"),
    script:
        "../scripts/sample_shots.py"


# Which contexts fit which model's window: known from tokenizer, draw and rows alone, so that it is
# told before any model runs. A job decides for itself by the same function: with this table among
# its inputs, a new cell or another study would change those of every job.
rule check_window:
    input:
        model=one_line(lambda w: INPUTS.pair_model(w.task, w.model)),
        evaluation=lambda w: INPUTS.evaluation_files(w.task),
        train=lambda w: INPUTS.pair_train_file(w.task, w.model),
        shots=lambda w: list(INPUTS.pair_shots(w.task, w.model).values()),
    output:
        windows="results/windows/{study}/{task}/{model}.parquet",
    log:
        "results/logs/windows/{study}/{task}/{model}.log",
    priority: 50
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(8000),
        runtime=longer(60),
    params:
        protocol=PROTOCOL,
        task="{task}",
        evaluation_sets=lambda w: STUDY.scored_sets(w.task),
        window=lambda w: STUDY.model(w.model)["window"],
        cells=lambda w: INPUTS.cells(w.task, w.model),
        patterns=lambda w: INPUTS.patterns(w.task, w.model),
        shots=lambda w: INPUTS.pair_shots(w.task, w.model),
        code=code_version("prompts.window", "models.tokenizer", "data.shots", "schemas", "storage"),
    script:
        "../scripts/check_window.py"
