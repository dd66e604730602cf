"""Compare outputs of an encoder implementation with a stored case (numpy only).

    case = load_case("cases/beats_10s.json")
    out = my_encoder(case.waves, case.padding_mask)      # dict of arrays, any of the names in case.names
    for row in compare(case, out): print(*row)           # (name, rel RMS error, max abs error, official float32's)

Names (all per clip, batch of 2): fbank [T, 128] normalised model input; patch [tokens, dim] patch convolution output,
token = time * 8 + frequency; patch_norm, patch_proj (BEATs only, before padded tokens are zeroed); encoder_in, the
input of the first block; layer0, its output; features, the final tokens (EAT: CLS first); mean, mean over tokens (EAT:
without CLS; BEATs: padded tokens included); cls (EAT).  token_mask / frame_mask: True = padding.
"""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tests.golden import recipe


def load_case(json_path):
    meta = json.loads(Path(json_path).read_text())
    waves = np.stack([recipe.make_waveform(s) for s in meta["waveforms"]])
    for wave, digest in zip(waves, meta["waveform_sha256"], strict=True):
        assert hashlib.sha256(wave.tobytes()).hexdigest() == digest, "waveform recipe does not reproduce"
    mask = None
    if meta["padding_mask"] is not None:
        mask = np.stack([np.arange(waves.shape[1]) >= s["n_valid"] for s in meta["waveforms"]])
    return SimpleNamespace(
        meta=meta,
        waves=waves,
        padding_mask=mask,
        target_length=meta["target_length"],
        arrays=np.load(json_path[: -len(".json")] + ".npz"),
        names=sorted(meta["tensors"]),
    )


def _index(text):
    """'[0, ::3]' -> (0, slice(None, None, 3))"""
    parts = [p.strip() for p in text.strip("[]").split(",")]
    return tuple(int(p) if ":" not in p else slice(*(int(q) if q else None for q in p.split(":"))) for p in parts)


def compare(case, out):
    rows = []
    for name, info in case.meta["tensors"].items():
        if name not in out:
            continue
        full = np.asarray(out[name], dtype=np.float64)
        assert list(full.shape) == info["full_shape"], (name, full.shape, info["full_shape"])
        got = np.concatenate([full[_index(s)].reshape(-1) for s in info["stored"].values()])
        want = np.concatenate([case.arrays[k].astype(np.float64).reshape(-1) for k in info["stored"]])
        err = got - want
        rows.append(
            (
                name,
                float(np.sqrt((err**2).mean() / (want**2).mean())),
                float(np.abs(err).max()),
                info["official_float32_vs_truth"]["rel_rms"],
            )
        )
    masks = [name for name in ("frame_mask", "token_mask") if name in out and name in case.arrays]
    return rows + [(name, float((np.asarray(out[name]) != case.arrays[name]).mean()), 0.0, 0.0) for name in masks]
