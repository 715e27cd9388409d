# One stored draw per task, k and seed: balanced, nested, the same for every method and model.
rule sample_shots:
    input:
        train="results/data/{task}/train.parquet",
    output:
        shots="results/shots/{protocol}/{task}/k{k}/seed{seed}.parquet",
    log:
        "results/logs/shots/{protocol}/{task}/k{k}/seed{seed}.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        labels=job_labels,
        code=code_version("sampling", "records"),
    script:
        "../scripts/sample_shots.py"
