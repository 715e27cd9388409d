# What a reader sees: tables, figures, and the page that leads from question to answer.
# Metrics to tables: Parquet with the numbers, CSV, LaTeX and Markdown to read.
rule make_table:
    input:
        metrics=METRICS,
        costs=COSTS,
        comparisons=COMPARISONS,
        contrasts=CONTRASTS,
        variance=VARIANCE,
        choices=CHOICES,
        bias=BIAS,
        forgetting=FORGETTING,
        windows=WINDOWS,
        latency=lambda w: latency_of([TABLE_ENTRIES[w.name]]),
        manifests=lambda w: (
            RUN_MANIFESTS if TABLE_ENTRIES[w.name]["function"] in WITH_MANIFESTS else []
        ),
    output:
        table="results/{study}/tables/{name}.parquet",
        csv="results/{study}/tables/{name}.csv",
        tex="results/{study}/tables/{name}.tex",
        md=report(
            "results/{study}/tables/{name}.md",
            caption="captions/entry.rst",
            category=lambda w: TABLE_ENTRIES[w.name]["category"],
            labels={"table": "{name}"},
        ),
    log:
        "results/logs/{study}/tables/{name}.log",
    wildcard_constraints:
        name=any_of(TABLE_ENTRIES),
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(2),
        in_turn=1,
    params:
        name="{name}",
        function=lambda w: TABLE_ENTRIES[w.name]["function"],
        title=lambda w: TABLE_ENTRIES[w.name]["title"],
        caption=lambda w: TABLE_ENTRIES[w.name]["caption"],
        options=lambda w: TABLE_ENTRIES[w.name]["options"],
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
        bias=BIAS,
        latency=lambda w: latency_of([FIGURE_ENTRIES[w.name]]),
        forgetting=FORGETTING,
    output:
        spec="results/{study}/figures/{name}.vl.json",
        svg=report(
            "results/{study}/figures/{name}.svg",
            caption="captions/entry.rst",
            category=lambda w: FIGURE_ENTRIES[w.name]["category"],
            labels={"figure": "{name}"},
        ),
        pdf="results/{study}/figures/{name}.pdf",
        png="results/{study}/figures/{name}.png",
        html="results/{study}/figures/{name}.html",
    log:
        "results/logs/{study}/figures/{name}.log",
    wildcard_constraints:
        name=any_of(FIGURE_ENTRIES),
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(2),
        in_turn=1,
    params:
        function=lambda w: FIGURE_ENTRIES[w.name]["function"],
        title=lambda w: FIGURE_ENTRIES[w.name]["title"],
        caption=lambda w: FIGURE_ENTRIES[w.name]["caption"],
        options=lambda w: FIGURE_ENTRIES[w.name]["options"],
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
        bias=BIAS,
        forgetting=FORGETTING,
        windows=WINDOWS,
        latency=latency_of([*STUDY.tables.values(), *STUDY.figures.values()]),
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
