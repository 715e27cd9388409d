# Every entry of config/figures.yaml by name: `snakemake fig_id_ood_scatter`, `table_headline`.
# An entry that needs what the study lacks ends with one line that says so.
PAPER_FIGURES = [name for name, entry in STUDY.figures.items() if "reproduces" in entry]


rule figures:
    input:
        FIGURES,


rule tables:
    input:
        TABLES,


rule paper_figures:
    input:
        files_of("figures", PAPER_FIGURES, FIGURE_KINDS),


# Target → its files or, where the study lacks what it needs, the function that says so.
SINGLE = {
    **{target_of("fig", name): files_of("figures", name, FIGURE_KINDS) for name in FIGURE_ENTRIES},
    **{target_of("table", name): files_of("tables", name, TABLE_KINDS) for name in TABLE_ENTRIES},
    **{target_of("fig", name): lacking(why) for name, why in STUDY.unmet["figure"].items()},
    **{target_of("table", name): lacking(why) for name, why in STUDY.unmet["table"].items()},
}
# The other targets, to name the one that is nearest to a misspelt word: Snakemake documents no list
# of them that rules could read.
OTHER_TARGETS = [
    *("all", "behaviour", "check_site", "clean", "convert_lm_eval", "data", "download", "estimate"),
    *("export_adapters", "export_lm_eval", "export_predictions", "export_results"),
    *("export_tracking", "figures", "import_predictions", "latency", "metrics", "paper_figures"),
    *("plan_memory", "power", "push_adapters", "rebuild_embedded", "report_partial", "runs"),
    *("statistics", "tables", "window", "write_documents"),
]

for _target, _files in SINGLE.items():

    rule:
        name:
            _target
        input:
            _files,


# As for a misspelt file, of which the logger plugin says which one is nearest.
logger.info(
    "",
    extra={
        "files": [
            f"results/{STUDY.name}/report.html",
            *(*TABLES, *FIGURES, *RUN_MANIFESTS, *HELD_OUT_MANIFESTS, *METRICS, *COSTS, *CHOICES),
            *(*COMPARISONS, *CONTRASTS, *VARIANCE, *WINDOWS, *PREPARED, *INPUTS.draws()),
            *(*MODEL_MANIFESTS, *SOURCE_MANIFESTS, *BIAS, *UNADAPTED, *FORGETTING, *LATENCY),
        ]
    },
)
