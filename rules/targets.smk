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


for _name in STUDY.figures:

    rule:
        name:
            f"fig_{_name.replace('-', '_')}"
        input:
            files_of("figures", _name, FIGURE_KINDS),


for _name in STUDY.tables:

    rule:
        name:
            f"table_{_name.replace('-', '_')}"
        input:
            files_of("tables", _name, TABLE_KINDS),


for _name, _reason in STUDY.unmet["figure"].items():

    rule:
        name:
            f"fig_{_name.replace('-', '_')}"
        input:
            lacking(_reason),


for _name, _reason in STUDY.unmet["table"].items():

    rule:
        name:
            f"table_{_name.replace('-', '_')}"
        input:
            lacking(_reason),
