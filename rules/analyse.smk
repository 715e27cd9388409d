# Row predictions to accuracies, manifests to costs: a job per task and model, without GPU or torch.
rule compute_metrics:
    input:
        runs=lambda w: INPUTS.manifests(w.task, w.model),
        held_out=lambda w: INPUTS.held_out(w.task, w.model),
        windows="results/windows/{study}/{task}/{model}.parquet",
        evaluation=lambda w: INPUTS.evaluation_files(w.task),
    output:
        metrics="results/metrics/{study}/{task}/{model}.parquet",
        costs="results/costs/{study}/{task}/{model}.parquet",
        outcomes="results/outcomes/{study}/{task}/{model}.parquet",
    log:
        "results/logs/metrics/{study}/{task}/{model}.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(8000),
        runtime=longer(60),
    params:
        protocol=PROTOCOL,
        task="{task}",
        model="{model}",
        evaluation=lambda w: INPUTS.evaluation_sets(w.task),
        jobs=lambda w: INPUTS.jobs(w.task, w.model),
        best_epoch=STUDY.settings["best_epoch"],
        size=lambda w: INPUTS.model_size(w.model),
        code=code_version("analysis.metrics", "analysis.run_costs", "analysis.scored_sets"),
    script:
        "../scripts/compute_metrics.py"


# Which rows are right to comparisons, questions and variance: one job per task, over its models.
rule compare_methods:
    input:
        manifests=lambda w: INPUTS.task_runs(w.task),
        metrics=lambda w: INPUTS.orders_files("metrics", w.task),
        outcomes=lambda w: INPUTS.orders_files("outcomes", w.task),
        evaluation=lambda w: INPUTS.evaluation_files(w.task),
    output:
        comparisons="results/statistics/{study}/{task}/comparisons.parquet",
        contrasts="results/statistics/{study}/{task}/contrasts.parquet",
        variance="results/statistics/{study}/{task}/variance.parquet",
    log:
        "results/logs/statistics/{study}/{task}.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(8000),
        runtime=longer(60),
    params:
        orders=lambda w: STUDY.orders_of(w.task),
        evaluation=lambda w: INPUTS.evaluation_sets(w.task),
        catalog=one_line(lambda w: INPUTS.comparison_catalog()),
        code=code_version(
            "analysis.comparisons",
            "analysis.contrasts",
            "analysis.draws",
            "analysis.variance",
            "analysis.evidence",
            "analysis.scored_sets",
        ),
    script:
        "../scripts/compare_methods.py"


# What was measured outside the tasks before and after adaptation, of all models at once.
rule compare_forgetting:
    input:
        before=ELSEWHERE.before(),
        after=ELSEWHERE.after(),
    output:
        changes="results/statistics/{study}/forgetting.parquet",
    log:
        "results/logs/statistics/{study}/forgetting.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(8000),
        runtime=longer(60),
    params:
        code=code_version("analysis.forgetting", "analysis.statistics_schemas", "storage"),
    script:
        "../scripts/compare_forgetting.py"


# Settings chosen from the held-out shots, and by other ways: a job per task and model with a choice.
rule choose_settings:
    input:
        metrics=lambda w: INPUTS.candidate_files("metrics", w.task, w.model),
        costs=lambda w: INPUTS.candidate_files("costs", w.task, w.model),
        held_out=lambda w: INPUTS.candidate_manifests(w.task, w.model),
    output:
        choices="results/choices/{study}/{task}/{model}.parquet",
    log:
        "results/logs/choices/{study}/{task}/{model}.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(10),
    params:
        protocol=PROTOCOL,
        task="{task}",
        model="{model}",
        evaluation=lambda w: INPUTS.evaluation_sets(w.task),
        choices=lambda w: INPUTS.choices(w.task, w.model),
        size=lambda w: INPUTS.model_size(w.model),
        code=code_version("analysis.choices"),
    script:
        "../scripts/choose_settings.py"


# What a model makes of a task's bias probes: a job per task and model whose task has any.
rule measure_bias:
    input:
        metrics="results/metrics/{study}/{task}/{model}.parquet",
        runs=lambda w: INPUTS.manifests(w.task, w.model),
        evaluation=lambda w: INPUTS.evaluation_files(w.task),
    output:
        bias="results/bias/{study}/{task}/{model}.parquet",
    log:
        "results/logs/bias/{study}/{task}/{model}.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(10),
    params:
        evaluation=lambda w: INPUTS.evaluation_sets(w.task),
        jobs=lambda w: INPUTS.jobs(w.task, w.model),
        catalog=one_line(lambda w: INPUTS.comparison_catalog()),
        code=code_version("analysis.bias", "analysis.scored_sets"),
    script:
        "../scripts/measure_bias.py"
