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
        catalog=CATALOG,
        code=code_version("report.figures.registry", "analysis.evidence", "report.render"),
    script:
        "../scripts/plot_figure.py"
