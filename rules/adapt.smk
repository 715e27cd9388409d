# Adapt a model to a draw and score every evaluation row: a job for each cell and chunk of ten seeds.
ADAPTATION = {name: job_request(name) for name in REQUESTS.names}


# Score every evaluation row behind the demonstrations: one job per cell and chunk of seeds.
rule run_in_context:
    input:
        model="results/models/{model}/manifest.json",
        weights=lambda w: ancient(INPUTS.weights(w.model)),
        evaluation=lambda w: INPUTS.evaluation_files(w.task),
        train=lambda w: INPUTS.train_file(w.task, w.k),
        shots=lambda w: INPUTS.shots(w.method, w.task, w.k, job_seeds(w)),
    output:
        predictions=f"results/runs/{RUN}/predictions.parquet",
        curves=f"results/runs/{RUN}/curves.parquet",
        manifest=f"results/runs/{RUN}/manifest.json",
    log:
        f"results/logs/runs/{RUN}.log",
    benchmark:
        f"results/benchmarks/runs/{RUN}.jsonl"
    wildcard_constraints:
        method=any_of(METHODS_IN_CONTEXT),
    conda:
        "../envs/fairshot.yaml"
    threads: 1
    resources:
        **ADAPTATION,
    params:
        task="{task}",
        seeds=job_seeds,
        labels=lambda w: INPUTS.labels(w.task),
        evaluation=lambda w: INPUTS.evaluation_sets(w.task),
        pattern=lambda w: INPUTS.pattern(w.task, w.pattern),
        method=lambda w: INPUTS.method(w.method, w.model),
        model=lambda w: INPUTS.model(w.model),
        batch_tokens=STUDY.settings["batch_tokens"],
        code=code_version("adaptation.in_context"),
    script:
        "../scripts/run_in_context.py"


# Train on the demonstrations and score every evaluation row in the same job.
rule fine_tune:
    input:
        model="results/models/{model}/manifest.json",
        weights=lambda w: ancient(INPUTS.weights(w.model)),
        evaluation=lambda w: INPUTS.evaluation_files(w.task),
        train=lambda w: INPUTS.train_file(w.task, w.k),
        shots=lambda w: INPUTS.shots(w.method, w.task, w.k, job_seeds(w)),
    output:
        predictions=f"results/runs/{RUN}/predictions.parquet",
        curves=f"results/runs/{RUN}/curves.parquet",
        manifest=f"results/runs/{RUN}/manifest.json",
        adapters=directory(f"results/runs/{RUN}/adapters"),
    log:
        f"results/logs/runs/{RUN}.log",
    benchmark:
        f"results/benchmarks/runs/{RUN}.jsonl"
    wildcard_constraints:
        method=any_of(METHODS_TRAINED),
    conda:
        "../envs/fairshot.yaml"
    threads: 1
    resources:
        **ADAPTATION,
    params:
        task="{task}",
        seeds=job_seeds,
        labels=lambda w: INPUTS.labels(w.task),
        evaluation=lambda w: INPUTS.evaluation_sets(w.task),
        pattern=lambda w: INPUTS.pattern(w.task, w.pattern),
        method=lambda w: INPUTS.method(w.method, w.model),
        model=lambda w: INPUTS.model(w.model),
        batch_tokens=STUDY.settings["batch_tokens"],
        code=lambda w: code_version(
            "adaptation.training", f"methods.{STUDY.methods[w.method]['family']}"
        ),
    script:
        "../scripts/fine_tune.py"
