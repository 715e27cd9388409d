# Which contexts fit which model's window: known from tokenizer, draw and rows alone, so that it is
# told before any model runs. A job decides for itself by the same function: with this table among
# its inputs, a new cell or another study would change those of every job.
rule check_window:
    input:
        model=pair_model,
        evaluation=evaluation_files,
        train=pair_train_file,
        shots=pair_shots_files,
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
        evaluation_sets=lambda wildcards: STUDY.evaluation_sets(wildcards.task),
        window=lambda wildcards: STUDY.models[wildcards.model]["window"],
        cells=pair_cells,
        patterns=pair_patterns,
        shots=pair_shots,
        code=code_version("prompts.window", "models.tokenizer", "schemas", "storage"),
    script:
        "../scripts/check_window.py"
