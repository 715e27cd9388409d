# Score every evaluation row behind the demonstrations: one job per cell and chunk of seeds.
rule run_in_context:
    input:
        model="results/models/{model}/manifest.json",
        weights=job_weights,
        evaluation=evaluation_files,
        train=train_file,
        shots=shots_files,
    output:
        predictions="results/runs/{protocol}/{task}/{model}/{method}/{pattern}/k{k}/seeds{first}-{last}/predictions.parquet",
        curves="results/runs/{protocol}/{task}/{model}/{method}/{pattern}/k{k}/seeds{first}-{last}/curves.parquet",
        manifest="results/runs/{protocol}/{task}/{model}/{method}/{pattern}/k{k}/seeds{first}-{last}/manifest.json",
    log:
        "results/logs/runs/{protocol}/{task}/{model}/{method}/{pattern}/k{k}/seeds{first}-{last}.log",
    benchmark:
        "results/benchmarks/runs/{protocol}/{task}/{model}/{method}/{pattern}/k{k}/seeds{first}-{last}.jsonl"
    wildcard_constraints:
        method=any_of(METHODS_IN_CONTEXT),
    group:
        together
    conda:
        "../envs/fairshot.yaml"
    threads: 1
    resources:
        **ADAPTATION,
    params:
        task="{task}",
        seeds=job_seeds,
        labels=job_labels,
        evaluation=evaluation_sets,
        pattern=job_pattern,
        method=job_method,
        model=job_model,
        batch_tokens=STUDY.settings["batch_tokens"],
        code=code_version("adaptation.in_context"),
    script:
        "../scripts/run_in_context.py"
