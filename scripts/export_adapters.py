"""Write the adapters that the study's runs keep in peft's format (rule export_adapters)."""

from typing import TYPE_CHECKING

from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    # Here, so that what these imports say goes to the log.
    from fewshot.exchange import adapters

    p = smk.params
    written, left_out = adapters.write_adapters(smk.output.folder, p.study, p.runs, p.left_out)
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")
    if p.selection != "last":
        print(f"main.selection is {p.selection}, but runs keep the weights of the last epoch alone")
    print(f"{len(written)} adapters in {smk.output.folder}, each with a card")


if __name__ == "__main__":
    script.run(main, snakemake)
