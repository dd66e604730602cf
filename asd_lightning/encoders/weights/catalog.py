"""The pretrained encoders that have a name here: where each comes from, under which licence, and its checksum.

An address or a checksum is given only where a public source states it; the comment above each entry cites that source.
An entry without an address says how to get the file, and ``asd weights import`` takes it from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from asd_lightning.errors import UserError

Architecture = Literal["beats", "eat", "mn04"]

# In the place of a name: no weights at all.
RANDOM = "random"

_BEATS_PAPER = "Chen et al., BEATs: Audio Pre-Training with Acoustic Tokenizers, ICML 2023, arXiv:2212.09058"
_EAT_PAPER = (
    "Chen et al., EAT: Self-Supervised Pre-Training with Efficient Audio Transformer, IJCAI 2024, arXiv:2401.03497"
)
_MN04_PAPER = (
    "Schmid et al., Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge Distillation, ICASSP 2023, "
    "arXiv:2211.04772"
)
_SSLAM_PAPER = (
    "Alex et al., SSLAM: Enhancing Self-Supervised Models with Audio Mixtures for Polyphonic Soundscapes, ICLR 2025, "
    "arXiv:2506.12222"
)
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
        second_url: another address of the same bytes, asked where the first gives nothing; only with ``sha256``.
        size: bytes, where known.
        sha256: hex digest of the published file, where known.
    """

    name: str
    architecture: Architecture
    filename: str
    origin: str
    license: str
    paper: str
    url: str | None = None
    how_to_get: str = ""
    second_url: str | None = None
    size: int | None = None
    sha256: str | None = None


_BEATS_BYTES, _FINETUNED_BYTES = 361_499_833, 363_145_291
# Of all 15 files that the publisher had, by its names: pre-trained, fine-tuned on AudioSet from it, and again.  Digests
# of what the publisher's own OneDrive gave, as the project timbral states them; three of them are stated by others too.
_BEATS_DIGESTS = {
    "iter1": (
        "b5f4cc10bcbff63a437c695f33389e6411513b3f7d5cdae8fb62b5005f4a1fcd",
        "e0e739e3670bfbb93c51adefb1d02981621397addc979d392aefd3dc53c22cab",
        "2f3a7b65ab232c4f75570d4d17e21e5ebc34b3c40fe1a074f27d199e81354960",
    ),
    "iter2": (
        "81a23e00aa4878d7e8627ded87ea697fb347c8ceffed21223e0398ed0fa34ad8",
        "3a120810c0f6dbfd50a7f48dc03ed077971a50cb2dbb7999695d5c700d03da45",
        "08363b9b5eabeb47b0879c84145b27c603e7e50c116a633fa5b98ade119fc354",
    ),
    "iter3": (
        "8d1b234032a9ccff353612dc6c20982346dc2968b205b79d97303eb5e77bfb34",
        "379369a41d0b3749f746cdcea8036de506cb3aedecce84de7db0a75fda2a4fe7",
        "08374f1cbd49143900b351bc81cd307de386a11f8e609eb3862634e992068b55",
    ),
    "iter3_plus_AS20K": (
        "8008b126bb5e8ab08912c60c58847ed676d32e64a5864c922356b7c2522fb2f8",
        "2c366278dcf835e9bdefad4f7147b0edba4b940c59146fd05dc49a401fa82ff8",
        "6d28b32bfa7bcaaf84ab834186581c2a360c6669e372e808d054cf0ef4d5c2d2",
    ),
    "iter3_plus_AS2M": (
        "d43cbfad4d7b56381c061d7a24774f908d4d94c72961f6eb1d9090ff18cd8d34",
        "7f9362028ac6e5c049e8dc314d87e90e4f82a15a8e472deb56af55d7f9b34d6a",
        "e5815275a04b6885e7b8af63d120b29bffae2cd2225cf4915e1ec6d819d3022c",
    ),
}
# The publisher's own links are dead (microsoft/unilm issue 1671).  These are pinned revisions of mirrors, but for
# lpepino's second one; the checksum decides whether they give the published bytes.
#   beats_iter3: as in NADUNGVN/care-asd, which states the checksum (src/care_asd/beats_contract.py), as does
#     kasahart/asd-experiments (src/asd_min/protocol.py).  Second: a release of merlresearch/noise-aware-audio-ssl.
#   beats_iter3_plus_as2m: size and checksum also in the git-lfs pointer in outman-goutian/dcase2026_task2.
#   beats_iter3_plus_as2m_finetuned: SALT-NLP/DiVA-Eval, eval/SALMONN_PATHS/SALMONN_SETUP.sh.
_HUGGING_FACE = "https://huggingface.co"
_BEATS_ADDRESSES = {
    "beats_iter3": (
        f"{_HUGGING_FACE}/lpepino/beats_ckpts/resolve/a2ddb6b0411c39942ae144a6414872e14e5a4329/BEATs_iter3.pt",
        "https://github.com/merlresearch/noise-aware-audio-ssl/releases/download/v1.0.0/BEATs_iter3.pt",
    ),
    "beats_iter3_plus_as2m": (
        f"{_HUGGING_FACE}/datasets/Bencr/beats-checkpoints/resolve/082fb1849d55bef1ee52ee8d8910b3adc69d4bc8"
        "/BEATs_iter3_plus_AS2M.pt",
        f"{_HUGGING_FACE}/lpepino/beats_ckpts/resolve/main/BEATs_iter3_plus_AS2M.pt",
    ),
    "beats_iter3_plus_as2m_finetuned": (
        f"{_HUGGING_FACE}/spaces/fffiloni/SALMONN-7B-gradio/resolve/677c0125de736ab92751385e1e8664cd03c2ce0d"
        "/beats/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt",
        f"{_HUGGING_FACE}/WeiChihChen/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2/resolve"
        "/172e4071a2912392d9151c70750b9a12f55fc54e/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt",
    ),
}


def _beats(published: str, checkpoint: int, digest: str) -> PretrainedEncoder:
    """One of the 15: ``checkpoint`` 0 is the pre-trained one, 1 and 2 are the fine-tuned ones."""
    finetuned = f"_finetuned_on_AS2M_cpt{checkpoint}" if checkpoint else ""
    filename = f"BEATs_{published}{finetuned}.pt"
    # Short for the one that most use, as it has been.
    own = ("", "_finetuned_cpt1", "_finetuned" if published == "iter3_plus_AS2M" else "_finetuned_cpt2")[checkpoint]
    name = f"beats_{published.lower()}{own}"
    url, second_url = _BEATS_ADDRESSES.get(name, (None, None))
    return PretrainedEncoder(
        name=name,
        architecture="beats",
        filename=filename,
        origin=_BEATS_ORIGIN,
        license="MIT",
        paper=_BEATS_PAPER,
        url=url,
        second_url=second_url,
        how_to_get=f"get {filename}, whose checksum is known,",
        size=_FINETUNED_BYTES if checkpoint else _BEATS_BYTES,
        sha256=digest,
    )


def _eat(
    name: str, repository: str, revision: str, *, size: int | None = None, sha256: str | None = None
) -> PretrainedEncoder:
    origin = f"{_HUGGING_FACE}/worstchan/{repository}"
    return PretrainedEncoder(
        name=name,
        architecture="eat",
        filename="model.safetensors",
        origin=origin,
        license="MIT",
        paper=_EAT_PAPER,
        url=f"{origin}/resolve/{revision}/model.safetensors",
        size=size,
        sha256=sha256,
    )


_ENTRIES = (
    *(
        _beats(published, checkpoint, digest)
        for published, digests in _BEATS_DIGESTS.items()
        for checkpoint, digest in enumerate(digests)
    ),
    # Repositories: linked from the README of cwx-worst-one/EAT.  Size and checksum: git-lfs pointer of the published
    # file; other projects that download it state the same checksum.  No revision of it is known.
    _eat(
        "eat_base",
        "EAT-base_epoch30_pretrain",
        "main",
        size=359_905_840,
        sha256="8623072d09aac4f3ad1168b4fed3a24e4f68fe1da25b9fe733375efb237e5f48",
    ),
    # No checksum of these is public: a pinned revision, and the record keeps the checksum of what came.
    _eat("eat_base_finetuned", "EAT-base_epoch30_finetune_AS2M", "60d61e8b2e9e5ba3be6860285de80cb7d625ccbb"),
    _eat("eat_large", "EAT-large_epoch20_pretrain", "1109aaae544915a2b82182c643c1894b1b4d9f27"),
    # EAT trained further on mixtures.  Its tensors are taken to be called as EAT's: the published file was not tried;
    # one with tensors of other names is refused.  Checksum: two unrelated projects that download it.  The
    # revision is known by its short name alone, hence the second address.
    PretrainedEncoder(
        name="sslam",
        architecture="eat",
        filename="model.safetensors",
        origin=f"{_HUGGING_FACE}/ta012/SSLAM_pretrain",
        license="MIT",
        paper=_SSLAM_PAPER,
        url=f"{_HUGGING_FACE}/ta012/SSLAM_pretrain/resolve/af71a4b/model.safetensors",
        second_url=f"{_HUGGING_FACE}/ta012/SSLAM_pretrain/resolve/main/model.safetensors",
        sha256="8ec670adb241c710422ddd894ff1bade142ef0b25cf1ee68577aa45f89432298",
    ),
    # Checksum: the file as nikih94/swch-audio-classification has it, and two unrelated projects that state it with this
    # address.
    PretrainedEncoder(
        name="mn04_as",
        architecture="mn04",
        filename="mn04_as_mAP_432.pt",
        origin="https://github.com/fschmid56/EfficientAT",
        license="MIT",
        paper=_MN04_PAPER,
        url="https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/mn04_as_mAP_432.pt",
        size=4_066_513,
        sha256="899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
    ),
)

# What can be fetched comes first.
CATALOG = {entry.name: entry for entry in sorted(_ENTRIES, key=lambda entry: entry.url is None)}


def find(name: str) -> PretrainedEncoder:
    """The entry called ``name``.

    Raises:
        UserError: no such entry; the message lists the names there are.
    """
    if name not in CATALOG:
        raise UserError(
            f"no pretrained encoder is called {name!r}; there are {', '.join(CATALOG)}. "
            "`asd weights list` shows them; `asd weights import FILE --as NAME` adds a file of your own"
        )
    return CATALOG[name]


def recognize(sha256: str, filename: str) -> PretrainedEncoder | None:
    """The entry a file belongs to: by checksum, else by a file name that only one entry has."""
    by_checksum = [entry for entry in _ENTRIES if entry.sha256 == sha256]
    by_name = [entry for entry in _ENTRIES if entry.filename == filename]
    if by_checksum:
        return by_checksum[0]
    return by_name[0] if len(by_name) == 1 else None
