"""The pretrained encoders that have a name here: where each comes from, under which licence, and its checksum.

An address or a checksum is given only where a public source states it; the comment above each entry cites that source.
An entry without an address says how to get the file, and ``asd weights import`` takes it from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from asd_lightning.errors import UserError

Architecture = Literal["beats", "eat"]

# In the place of a name: no weights at all.
RANDOM = "random"

_BEATS_PAPER = "Chen et al., BEATs: Audio Pre-Training with Acoustic Tokenizers, ICML 2023, arXiv:2212.09058"
_EAT_PAPER = (
    "Chen et al., EAT: Self-Supervised Pre-Training with Efficient Audio Transformer, IJCAI 2024, arXiv:2401.03497"
)
_EAT_HOW = "download the .safetensors file (or the fairseq .pt that https://github.com/cwx-worst-one/EAT links)"
_BEATS_ORIGIN = "https://github.com/microsoft/unilm/tree/master/beats"


@dataclass(frozen=True)
class PretrainedEncoder:
    """One published checkpoint.

    Args:
        name: what ``weights:`` in a configuration says.
        architecture: which encoder reads it.
        filename: the publisher's name of the file.
        origin: page of the publisher.
        licence: licence the publisher states.
        paper: what to cite.
        url: direct address of the file, or None where no public source gives one.
        how_to_get: what to do where ``url`` is None.
        size: bytes, where known.
        sha256: hex digest of the published file, where known.
    """

    name: str
    architecture: Architecture
    filename: str
    origin: str
    licence: str
    paper: str
    url: str | None = None
    how_to_get: str = ""
    size: int | None = None
    sha256: str | None = None


_ENTRIES = (
    # The publisher's own links are dead (microsoft/unilm issue 1671).  Address: a pinned revision of a mirror, as in
    # NADUNGVN/care-asd; the checksum is stated there (src/care_asd/beats_contract.py) and, independently, in
    # kasahart/asd-experiments (src/asd_min/protocol.py).
    PretrainedEncoder(
        name="beats_iter3",
        architecture="beats",
        filename="BEATs_iter3.pt",
        origin=_BEATS_ORIGIN,
        licence="MIT",
        paper=_BEATS_PAPER,
        url="https://huggingface.co/lpepino/beats_ckpts/resolve/a2ddb6b0411c39942ae144a6414872e14e5a4329/BEATs_iter3.pt",
        sha256="8d1b234032a9ccff353612dc6c20982346dc2968b205b79d97303eb5e77bfb34",
    ),
    # Size and checksum: git-lfs pointer in outman-goutian/dcase2026_task2; several projects that download this address
    # state the same two numbers, and three independent mirrors hold the same bytes.
    PretrainedEncoder(
        name="beats_iter3_plus_as2m",
        architecture="beats",
        filename="BEATs_iter3_plus_AS2M.pt",
        origin=_BEATS_ORIGIN,
        licence="MIT",
        paper=_BEATS_PAPER,
        url="https://huggingface.co/lpepino/beats_ckpts/resolve/main/BEATs_iter3_plus_AS2M.pt",
        size=361_499_833,
        sha256="d43cbfad4d7b56381c061d7a24774f908d4d94c72961f6eb1d9090ff18cd8d34",
    ),
    # Address: SALT-NLP/DiVA-Eval, eval/SALMONN_PATHS/SALMONN_SETUP.sh.  No public checksum found.
    PretrainedEncoder(
        name="beats_iter3_plus_as2m_finetuned",
        architecture="beats",
        filename="BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt",
        origin=_BEATS_ORIGIN,
        licence="MIT",
        paper=_BEATS_PAPER,
        url=(
            "https://huggingface.co/spaces/fffiloni/SALMONN-7B-gradio/resolve/677c0125de736ab92751385e1e8664cd03c2ce0d"
            "/beats/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt"
        ),
    ),
    # Repository: linked from the README of cwx-worst-one/EAT.  Size and checksum: git-lfs pointer of the published
    # file; other projects that download it state the same checksum.
    PretrainedEncoder(
        name="eat_base",
        architecture="eat",
        filename="model.safetensors",
        origin="https://huggingface.co/worstchan/EAT-base_epoch30_pretrain",
        licence="MIT",
        paper=_EAT_PAPER,
        url="https://huggingface.co/worstchan/EAT-base_epoch30_pretrain/resolve/main/model.safetensors",
        size=359_905_840,
        sha256="8623072d09aac4f3ad1168b4fed3a24e4f68fe1da25b9fe733375efb237e5f48",
    ),
    # Repositories of the next two: linked from the README of cwx-worst-one/EAT.  No public source names the file.
    PretrainedEncoder(
        name="eat_base_finetuned",
        architecture="eat",
        filename="model.safetensors",
        origin="https://huggingface.co/worstchan/EAT-base_epoch30_finetune_AS2M",
        licence="MIT",
        paper=_EAT_PAPER,
        how_to_get=_EAT_HOW,
    ),
    PretrainedEncoder(
        name="eat_large",
        architecture="eat",
        filename="model.safetensors",
        origin="https://huggingface.co/worstchan/EAT-large_epoch20_pretrain",
        licence="MIT",
        paper=_EAT_PAPER,
        how_to_get=_EAT_HOW,
    ),
)

CATALOGUE = {entry.name: entry for entry in _ENTRIES}


def find(name: str) -> PretrainedEncoder:
    """The entry called ``name``.

    Raises:
        UserError: no such entry; the message lists the names there are.
    """
    if name not in CATALOGUE:
        raise UserError(
            f"no pretrained encoder is called {name!r}; there are {', '.join(CATALOGUE)}. "
            "`asd weights list` shows them; `asd weights import FILE --as NAME` adds a file of your own"
        )
    return CATALOGUE[name]


def recognise(sha256: str, filename: str) -> PretrainedEncoder | None:
    """The entry a file belongs to: by checksum, else by a file name that only one entry has."""
    by_checksum = [entry for entry in _ENTRIES if entry.sha256 == sha256]
    by_name = [entry for entry in _ENTRIES if entry.filename == filename]
    if by_checksum:
        return by_checksum[0]
    return by_name[0] if len(by_name) == 1 else None
