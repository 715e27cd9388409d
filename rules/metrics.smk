# Row predictions to accuracies, manifests to costs: a job per task and model, without GPU or torch.
rule compute_metrics:
    input:
        runs=pair_manifests,
        windows="results/windows/{study}/{task}/{model}.parquet",
        evaluation=evaluation_files,
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
        evaluation=evaluation_sets,
        jobs=pair_jobs,
        size=pair_size,
        code=code_version("analysis.metrics", "analysis.run_costs"),
    script:
        "../scripts/compute_metrics.py"
