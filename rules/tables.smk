# Metrics to tables: Parquet with the numbers, CSV, LaTeX and Markdown to read.
rule make_table:
    input:
        metrics=METRICS,
        costs=COSTS,
        comparisons=COMPARISONS,
        variance=VARIANCE,
        windows=WINDOWS,
        manifests=table_manifests,
    output:
        table="results/{study}/tables/{name}.parquet",
        csv="results/{study}/tables/{name}.csv",
        tex="results/{study}/tables/{name}.tex",
        md=report(
            "results/{study}/tables/{name}.md",
            caption="captions/entry.rst",
            category=table_category,
            labels={"table": "{name}"},
        ),
    log:
        "results/logs/{study}/tables/{name}.log",
    wildcard_constraints:
        name=any_of(STUDY.tables),
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(2),
    params:
        name="{name}",
        function=lambda wildcards: table_entry(wildcards)["function"],
        title=lambda wildcards: table_entry(wildcards)["title"],
        caption=lambda wildcards: table_entry(wildcards)["caption"],
        options=lambda wildcards: table_entry(wildcards)["options"],
        catalog=CATALOG,
        code=code_version("report.tables.registry", "report.provenance"),
    script:
        "../scripts/make_table.py"
