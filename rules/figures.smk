# Metrics to charts: a Vega-Lite file with its data, then every format from that file.
rule plot_figure:
    input:
        metrics=METRICS,
        costs=COSTS,
        comparisons=COMPARISONS,
        variance=VARIANCE,
    output:
        spec="results/{study}/figures/{name}.vl.json",
    log:
        "results/logs/{study}/figures/{name}.plot.log",
    wildcard_constraints:
        name=any_of(STUDY.figures),
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(2),
    params:
        function=lambda wildcards: figure_entry(wildcards)["function"],
        title=lambda wildcards: figure_entry(wildcards)["title"],
        options=lambda wildcards: figure_entry(wildcards)["options"],
        catalog=CATALOG,
        code=code_version("report.figures.registry", "analysis.evidence", "report.render"),
    script:
        "../scripts/plot_figure.py"


rule render_figure:
    input:
        spec="results/{study}/figures/{name}.vl.json",
    output:
        svg=report(
            "results/{study}/figures/{name}.svg",
            caption="captions/entry.rst",
            category=figure_category,
            labels={"figure": "{name}"},
        ),
        pdf="results/{study}/figures/{name}.pdf",
        png="results/{study}/figures/{name}.png",
        html="results/{study}/figures/{name}.html",
    log:
        "results/logs/{study}/figures/{name}.render.log",
    wildcard_constraints:
        name=any_of(STUDY.figures),
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(2000),
        runtime=longer(1),
    params:
        caption=lambda wildcards: figure_entry(wildcards)["caption"],
        code=code_version("report.render", "storage"),
    script:
        "../scripts/render_figure.py"
