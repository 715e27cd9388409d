# Adapt a model to a draw and score every evaluation row: a job for each cell and chunk of ten seeds.
ADAPTATION = {name: job_request(name) for name in REQUESTS.names}
CROSS_VALIDATION = {name: job_request(name, held_out=True) for name in REQUESTS.names}
ADAPTATION_INPUT = {
    "model": one_line(lambda w: INPUTS.model_manifest(w.model)),
    "weights": lambda w: ancient(INPUTS.weights(w.model)),
    "evaluation": lambda w: INPUTS.evaluation_files(w.task),
    "train": lambda w: INPUTS.train_file(w.task, w.k),
    "shots": lambda w: INPUTS.shots(w.method, w.task, w.k, job_seeds(w)),
}
# What training starts from besides: adapters that other jobs have trained, which lie beside these.
TRAINING_INPUT = {
    **ADAPTATION_INPUT,
    "start": lambda w: INPUTS.start(job_cell(w), job_seeds(w)),
}
ADAPTATION_OUTPUT = {
    "predictions": f"results/runs/{RUN}/predictions.parquet",
    "curves": f"results/runs/{RUN}/curves.parquet",
    "manifest": f"results/runs/{RUN}/manifest.json",
}
# Where trained models' results are: the folder depends on the study's `best_epoch`.
TRAINED = f"{STUDY.trained_runs}/{RUN}"
ADAPTATION_PARAMS = {
    # By its name batches are drawn: the same for all tasks with these rows.
    "task": lambda w: STUDY.rows_of(w.task),
    "seeds": job_seeds,
    "labels": lambda w: INPUTS.labels(w.task),
    "evaluation": lambda w: INPUTS.evaluation_sets(w.task),
    "pattern": lambda w: INPUTS.pattern(w.task, w.pattern, w.model),
    "method": lambda w: INPUTS.settings(job_cell(w)),
    "model": lambda w: INPUTS.model(w.model),
    "batch_tokens": STUDY.settings["batch_tokens"],
}
TRAINING_PARAMS = {
    **ADAPTATION_PARAMS,
    "method": lambda w: INPUTS.training_settings(job_cell(w)),
}
# What is measured outside the task, in a study with the key `forgetting`: in the same job, which
# alone has the weights of full fine-tuning.
ELSEWHERE_PARAMS = (
    {"forgetting": lambda w: ELSEWHERE.params(w.task, w.model)} if STUDY.forgetting else {}
)


# Score every evaluation row behind the demonstrations.
rule run_in_context:
    input:
        **ADAPTATION_INPUT,
    output:
        **ADAPTATION_OUTPUT,
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
        **ADAPTATION_PARAMS,
        # Where each row has shots of its own, these are chosen by code that no other job runs.
        code=lambda w: (
            code_version("adaptation.in_context", "adaptation.retrieved")
            if "similarity" in INPUTS.method(w.method, w.model)
            else code_version("adaptation.in_context")
        ),
    script:
        "../scripts/run_in_context.py"


# Train on the demonstrations and score every evaluation row in the same job.
rule fine_tune:
    input:
        unpack(lambda w: ELSEWHERE.files(w.task, job_seeds(w))),
        **TRAINING_INPUT,
    output:
        **({"forgetting": f"results/{TRAINED}/forgetting.parquet"} if STUDY.forgetting else {}),
        predictions=f"results/{TRAINED}/predictions.parquet",
        curves=f"results/{TRAINED}/curves.parquet",
        manifest=f"results/{TRAINED}/manifest.json",
        adapters=directory(f"results/{TRAINED}/adapters"),
    log:
        f"results/logs/{TRAINED}.log",
    benchmark:
        f"results/benchmarks/{TRAINED}.jsonl"
    wildcard_constraints:
        method=any_of(METHODS_TRAINED),
    conda:
        "../envs/fairshot.yaml"
    threads: 1
    resources:
        **ADAPTATION,
    params:
        **TRAINING_PARAMS,
        **ELSEWHERE_PARAMS,
        code=lambda w: code_version(
            "adaptation.training",
            f"methods.{STUDY.methods[w.method]['family']}",
            *code_of_start(w),
            *(["adaptation.forgetting"] if STUDY.forgetting else []),
        ),
    script:
        "../scripts/fine_tune.py"


# What is measured outside the tasks, before any adaptation: once for each model.
rule score_unadapted:
    input:
        unpack(lambda w: ELSEWHERE.files(None, trained_seeds(STUDY, w.model))),
        model=one_line(lambda w: INPUTS.model_manifest(w.model)),
        weights=lambda w: ancient(INPUTS.weights(w.model)),
    output:
        before="results/unadapted/{study}/{model}.parquet",
    log:
        "results/logs/unadapted/{study}/{model}.log",
    benchmark:
        "results/benchmarks/unadapted/{study}/{model}.jsonl"
    wildcard_constraints:
        model=any_of(measured_models(STUDY)),
    conda:
        "../envs/fairshot.yaml"
    threads: 1
    resources:
        **{name: unadapted_request(name) for name in REQUESTS.names},
    params:
        protocol=PROTOCOL,
        seeds=lambda w: trained_seeds(STUDY, w.model),
        model=lambda w: INPUTS.model(w.model),
        batch_tokens=STUDY.settings["batch_tokens"],
        forgetting=lambda w: ELSEWHERE.params(None, w.model),
        code=code_version("adaptation.unadapted"),
    script:
        "../scripts/score_unadapted.py"


# Fit a classifier to the labels, words or hidden states of the same shots: what others are held
# against. Those that read no model have a cell for each task and k alone.
rule fit_baseline:
    input:
        **ADAPTATION_INPUT,
    output:
        **ADAPTATION_OUTPUT,
    log:
        f"results/logs/runs/{RUN}.log",
    benchmark:
        f"results/benchmarks/runs/{RUN}.jsonl"
    wildcard_constraints:
        method=any_of(METHODS_BASELINE),
    conda:
        "../envs/fairshot.yaml"
    threads: 1
    resources:
        **ADAPTATION,
    params:
        **ADAPTATION_PARAMS,
        code=lambda w: code_version(
            "adaptation.baselines", f"methods.{STUDY.methods[w.method]['family']}"
        ),
    script:
        "../scripts/fit_baseline.py"


# Learn from folds of each draw and score the shots that are held out, of a study with the key
# cross_validation: jobs of their own, so that a study that asks for them later repeats no other.
rule cross_validate:
    input:
        **TRAINING_INPUT,
    output:
        predictions=f"results/held-out/{{how}}/{RUN}/predictions.parquet",
        curves=f"results/held-out/{{how}}/{RUN}/curves.parquet",
        manifest=f"results/held-out/{{how}}/{RUN}/manifest.json",
    log:
        f"results/logs/held-out/{{how}}/{RUN}.log",
    benchmark:
        f"results/benchmarks/held-out/{{how}}/{RUN}.jsonl"
    wildcard_constraints:
        method=any_of([*METHODS_IN_CONTEXT, *METHODS_TRAINED]),
    conda:
        "../envs/fairshot.yaml"
    threads: 1
    resources:
        **CROSS_VALIDATION,
    params:
        **ADAPTATION_PARAMS,
        cross_validation=STUDY.cross_validation,
        trains=lambda w: w.method in METHODS_TRAINED,
        code=lambda w: (
            code_version(
                "adaptation.held_out_training",
                f"methods.{STUDY.methods[w.method]['family']}",
                *code_of_start(w),
            )
            if w.method in METHODS_TRAINED
            else (
                code_version("adaptation.held_out_in_context", "adaptation.retrieved")
                if "similarity" in INPUTS.method(w.method, w.model)
                else code_version("adaptation.held_out_in_context")
            )
        ),
    script:
        "../scripts/cross_validate.py"
