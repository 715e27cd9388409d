"""Upload the study's exported adapters to a repository on the Hub (rule push_adapters)."""

from typing import TYPE_CHECKING

from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    from fewshot.exchange import push

    address = push.push_adapters(smk.input.folder, smk.params.repository)
    print(f"Adapters are in {address}; a repository that was made for them is private")


if __name__ == "__main__":
    script.run(main, snakemake, online=True)
