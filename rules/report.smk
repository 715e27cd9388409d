# The page a reader follows from question to answer, and the same from an unfinished study.
localrules:
    report_partial,


rule write_report:
    input:
        metrics=METRICS,
        costs=COSTS,
        comparisons=COMPARISONS,
        variance=VARIANCE,
        windows=WINDOWS,
        manifests=RUN_MANIFESTS,
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
        catalog=CATALOG,
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
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(30),
    params:
        study=STUDY.settings,
        catalog=CATALOG,
        figures=STUDY.figures,
        tables=STUDY.tables,
        pairs=[
            {
                "protocol": PROTOCOL,
                "task": task,
                "model": model,
                "evaluation": INPUTS.evaluation_sets(task),
                "size": INPUTS.model_size(model),
                "jobs": INPUTS.jobs(task, model),
            }
            for task, model in PAIRS
        ],
    script:
        "../scripts/report_partial.py"
