# Rebuild the tiny models under config/embedded, which are source files: no rule writes there.
# To promote a rebuilt model: cp results/embedded/opt-micro/* config/embedded/opt-micro/
EMBEDDED_MODELS = ["opt-micro", "opt-mini", "pythia-micro", "pythia-mini"]


rule train_embedded_model:
    output:
        config="results/embedded/{model}/config.json",
        weights="results/embedded/{model}/model.safetensors",
        tokenizer="results/embedded/{model}/tokenizer.json",
        tokenizer_config="results/embedded/{model}/tokenizer_config.json",
    log:
        "results/logs/embedded/{model}.log",
    benchmark:
        "results/benchmarks/embedded/{model}.jsonl"
    wildcard_constraints:
        model=any_of(EMBEDDED_MODELS),
    conda:
        "../envs/fairshot.yaml"
    threads: 1
    resources:
        mem_mb=scaled(3000),
        runtime=longer(60),
    params:
        seed=0,
        code=code_version("demo.pretraining"),
    script:
        "../scripts/train_embedded_model.py"


# Documents of their language that none of them has read, which `forgetting` is measured on.
# To promote them: cp results/embedded/documents.jsonl config/embedded/
rule write_documents:
    output:
        documents="results/embedded/documents.jsonl",
    log:
        "results/logs/embedded/documents.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(2000),
        runtime=longer(2),
    params:
        documents=32,
        tokens=250,
        seed=1,
        code=code_version("demo.documents", "storage"),
    script:
        "../scripts/write_documents.py"


rule rebuild_embedded:
    input:
        collect("results/embedded/{model}/model.safetensors", model=EMBEDDED_MODELS),
        "results/embedded/documents.jsonl",


# What the committed models do, on data seeds that no setting was chosen on: `snakemake behaviour`.
rule measure_behaviour:
    input:
        "config/embedded/{model}/model.safetensors",
    output:
        counts="results/behaviour/{model}.parquet",
    log:
        "results/logs/behaviour/{model}.log",
    benchmark:
        "results/benchmarks/behaviour/{model}.jsonl"
    wildcard_constraints:
        model=any_of(EMBEDDED_MODELS),
    conda:
        "../envs/fairshot.yaml"
    threads: 1
    resources:
        mem_mb=scaled(3000),
        runtime=longer(60),
    params:
        seeds=list(range(30, 35)),
        rows=480,
        code=code_version("demo.behaviour", "storage", "analysis.result_schemas"),
    script:
        "../scripts/measure_behaviour.py"


rule behaviour:
    input:
        collect("results/behaviour/{model}.parquet", model=EMBEDDED_MODELS),
    output:
        table="results/behaviour/tables.md",
    log:
        "results/logs/behaviour/tables.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(2000),
        runtime=longer(2),
    params:
        code=code_version("demo.behaviour_tables", "storage"),
    script:
        "../scripts/behaviour.py"
