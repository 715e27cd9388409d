from scripts.fewshot.study.figure_needs import WITH_MANIFESTS


# Metrics to tables: Parquet with the numbers, CSV, LaTeX and Markdown to read.
rule make_table:
    input:
        metrics=METRICS,
        costs=COSTS,
        comparisons=COMPARISONS,
        variance=VARIANCE,
        windows=WINDOWS,
        manifests=lambda w: (
            RUN_MANIFESTS if STUDY.tables[w.name]["function"] in WITH_MANIFESTS else []
        ),
    output:
        table="results/{study}/tables/{name}.parquet",
        csv="results/{study}/tables/{name}.csv",
        tex="results/{study}/tables/{name}.tex",
        md=report(
            "results/{study}/tables/{name}.md",
            caption="captions/entry.rst",
            category=lambda w: STUDY.tables[w.name]["category"],
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
        in_turn=1,
    params:
        name="{name}",
        function=lambda w: STUDY.tables[w.name]["function"],
        title=lambda w: STUDY.tables[w.name]["title"],
        caption=lambda w: STUDY.tables[w.name]["caption"],
        options=lambda w: STUDY.tables[w.name]["options"],
        catalog=CATALOG,
        code=code_version("report.tables.registry", "report.provenance"),
    script:
        "../scripts/make_table.py"
