"""Exported adapters, uploaded to one repository on the Hugging Face Hub."""

from pathlib import Path

from huggingface_hub import HfApi

from ..downloads import hub
from ..errors import UserError

VALID = "valid: snakemake push_adapters --config repository=owner/name"


def check_push(repository: str) -> None:
    """Raise UserError where no repository is named, or there is no token to upload with."""
    owner, _, name = repository.partition("/")
    if not owner or not name or "/" in name:
        told = f"'{repository}' is no repository" if repository else "no repository named"
        raise UserError(f"{told}; {VALID}")
    if hub.token() is None:
        raise UserError(
            "environment: HF_TOKEN is not set; set it to a token that may write to "
            f"'{repository}', and nothing is uploaded before"
        )


def push_adapters(folder: str | Path, repository: str, endpoint: str | None = None) -> str:
    """Upload a folder of adapters to a model repository, and return its address.

    It is made if it is not there, for its owner alone to see. Files of the same names are replaced
    and others stay. Raises UserError as `check_push` does, and where the Hub refuses.
    """
    check_push(repository)
    api = HfApi(endpoint=endpoint, token=hub.token())
    text = f"repository '{repository}'"
    hub.retrying(lambda: api.create_repo(repository, private=True, exist_ok=True), text)
    # Named, so that nothing else is uploaded which may have come to lie there.
    patterns = ["*README.md", "*adapter_config.json", "*adapter_model.safetensors"]
    done = hub.retrying(
        lambda: api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=patterns,
            commit_message="Upload adapters with their cards",
        ),
        text,
    )
    return str(done.repo_url)
