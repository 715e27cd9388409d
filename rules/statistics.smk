# Which rows are right to comparisons and variance: one job per task, over all its models.
rule compare_methods:
    input:
        metrics=task_files("metrics"),
        outcomes=task_files("outcomes"),
        evaluation=evaluation_files,
    output:
        comparisons="results/statistics/{study}/{task}/comparisons.parquet",
        variance="results/statistics/{study}/{task}/variance.parquet",
    log:
        "results/logs/statistics/{study}/{task}.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(8000),
        runtime=longer(60),
    params:
        evaluation=evaluation_sets,
        catalog=comparison_catalog(),
        code=code_version("analysis.comparisons", "analysis.variance", "analysis.evidence"),
    script:
        "../scripts/compare_methods.py"
