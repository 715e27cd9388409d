# What a reader sees: tables, figures, and the page that leads from question to answer.
from fewshot.study.figure_needs import WITH_MANIFESTS


# Metrics to tables: Parquet with the numbers, CSV, LaTeX and Markdown to read.
rule make_table:
    input:
        metrics=METRICS,
        costs=COSTS,
        comparisons=COMPARISONS,
        contrasts=CONTRASTS,
        variance=VARIANCE,
        choices=CHOICES,
        forgetting=FORGETTING,
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
        catalog=one_line(lambda w: INPUTS.catalog),
        code=code_version("report.tables.registry", "report.provenance"),
    script:
        "../scripts/make_table.py"


# Metrics to figures: a Vega-Lite file with its data, and every format made from it.
rule plot_figure:
    input:
        metrics=METRICS,
        costs=COSTS,
        comparisons=COMPARISONS,
        contrasts=CONTRASTS,
        variance=VARIANCE,
        choices=CHOICES,
        forgetting=FORGETTING,
    output:
        spec="results/{study}/figures/{name}.vl.json",
        svg=report(
            "results/{study}/figures/{name}.svg",
            caption="captions/entry.rst",
            category=lambda w: STUDY.figures[w.name]["category"],
            labels={"figure": "{name}"},
        ),
        pdf="results/{study}/figures/{name}.pdf",
        png="results/{study}/figures/{name}.png",
        html="results/{study}/figures/{name}.html",
    log:
        "results/logs/{study}/figures/{name}.log",
    wildcard_constraints:
        name=any_of(STUDY.figures),
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(2),
        in_turn=1,
    params:
        function=lambda w: STUDY.figures[w.name]["function"],
        title=lambda w: STUDY.figures[w.name]["title"],
        caption=lambda w: STUDY.figures[w.name]["caption"],
        options=lambda w: STUDY.figures[w.name]["options"],
        catalog=one_line(lambda w: INPUTS.catalog),
        code=code_version("report.figures.registry", "analysis.evidence", "report.render"),
    script:
        "../scripts/plot_figure.py"


rule write_report:
    input:
        metrics=METRICS,
        costs=COSTS,
        comparisons=COMPARISONS,
        contrasts=CONTRASTS,
        variance=VARIANCE,
        choices=CHOICES,
        forgetting=FORGETTING,
        windows=WINDOWS,
        manifests=RUN_MANIFESTS,
        held_out=HELD_OUT_MANIFESTS,
        models=MODEL_MANIFESTS,
        sources=SOURCE_MANIFESTS,
        tables=collect("results/{{study}}/tables/{name}.parquet", name=STUDY.tables),
        figures=collect("results/{{study}}/figures/{name}.vl.json", name=STUDY.figures),
    output:
        report="results/{study}/report.html",
        summary="results/{study}/summary.txt",
    log:
        "results/logs/{study}/report.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(30),
    params:
        study=STUDY.settings,
        catalog=one_line(lambda w: INPUTS.catalog),
        figures=STUDY.figures,
        tables=STUDY.tables,
        versions={
            "table": code_version("report.tables.registry", "report.provenance"),
            "figure": code_version(
                "report.figures.registry", "analysis.evidence", "report.render"
            ),
        },
        code=code_version("report.report"),
    script:
        "../scripts/write_report.py"


# No input and no output: it reads what exists, never asks for a missing run, and always runs.
rule report_partial:
    log:
        f"results/logs/{STUDY.name}/report_partial.log",
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(30),
    params:
        study=STUDY.settings,
        catalog=one_line(lambda w: INPUTS.catalog),
        figures=STUDY.figures,
        tables=STUDY.tables,
        pairs=one_line(lambda w: INPUTS.measured_pairs()),
    script:
        "../scripts/report_partial.py"
