# Metrics to figures: a Vega-Lite file with its data, and every format made from it.
rule plot_figure:
    input:
        metrics=METRICS,
        costs=COSTS,
        comparisons=COMPARISONS,
        variance=VARIANCE,
    output:
        spec="results/{study}/figures/{name}.vl.json",
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
        "results/logs/{study}/figures/{name}.log",
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
        caption=lambda wildcards: figure_entry(wildcards)["caption"],
        options=lambda wildcards: figure_entry(wildcards)["options"],
        catalog=CATALOG,
        code=code_version("report.figures.registry", "analysis.evidence", "report.render"),
    script:
        "../scripts/plot_figure.py"
