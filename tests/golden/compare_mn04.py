"""Compare outputs of an mn04 implementation with a stored case (numpy only).

    case = load_case("cases/mn04_10s.json")
    out = my_encoder(case.waves, case.meta["resample"])      # dict of arrays, any of the names in case.names
    for row in compare(case, out): print(*row)               # (name, rel RMS error, max abs error, official float32's rel RMS)

Names, all with the batch first: logmel [B, 128, T] normalised network input; block00 .. block16 [B, C, F, T'] outputs of
features[0] .. features[16]; blockNN_timemean [B, C, F] its mean over time; embedding [B, 384] mean of block16 over
frequency and time; hidden [B, 512] classifier output after hard-swish; logits [B, 527]; wave32k [B, N] (resampled case only).
"""
import hashlib
import json
from types import SimpleNamespace

import numpy as np

from tests.golden import recipe
from tests.golden.compare import _index


def load_case(json_path):
    meta = json.load(open(json_path))
    waves = np.stack([recipe.make_waveform(s) for s in meta["waveforms"]])
    for wave, digest in zip(waves, meta["waveform_sha256"]):
        assert hashlib.sha256(wave.tobytes()).hexdigest() == digest, "waveform recipe does not reproduce"
    return SimpleNamespace(meta=meta, waves=waves, arrays=np.load(json_path[: -len(".json")] + ".npz"), names=sorted(meta["tensors"]),
                           padding_mask=None, target_length=None)


def _pick(full, how, arrays):
    if isinstance(how, dict):  # positions in the flattened (C order) tensor, stored beside the values
        return full.reshape(-1)[arrays[how["flat_index"]]]
    return full[_index(how)].reshape(-1)


def compare(case, out):
    rows = []
    for name, info in case.meta["tensors"].items():
        if name not in out:
            continue
        full = np.asarray(out[name], dtype=np.float64)
        assert list(full.shape) == info["full_shape"], (name, full.shape, info["full_shape"])
        got = np.concatenate([_pick(full, how, case.arrays) for how in info["stored"].values()])
        want = np.concatenate([case.arrays[key].astype(np.float64).reshape(-1) for key in info["stored"]])
        err = got - want
        if "item_mean" in info:  # statistics of the whole tensor: a wrong corner cannot hide between the stored values
            axes = tuple(range(1, full.ndim))
            drift = np.abs(full.mean(axes) - info["item_mean"]).max() + np.abs(full.std(axes) - info["item_std"]).max()
            rows.append((name + " (item mean + std)", float(drift / info["rms"]), float(drift), info["official_float32_vs_truth"]["rel_rms"]))
        rows.append((name, float(np.sqrt((err**2).mean() / (want**2).mean())), float(np.abs(err).max()),
                     info["official_float32_vs_truth"]["rel_rms"]))
    return rows


def limit(name, double=False):
    """Suggested limit for a row: max abs error for the float32 log-mel, relative RMS error for everything else."""
    if double:
        return 1e-7
    if "item mean" in name:
        return 2e-5
    return {"logmel": 3e-4, "wave32k": 5e-7, "embedding": 2e-5, "hidden": 3e-5, "logits": 6e-6}.get(name, 3e-5 if "timemean" in name else 5e-5)


def failures(rows, double=False):
    """Rows beyond their limit; an empty list is a pass."""
    return [r for r in rows if not (r[2] if r[0] == "logmel" and not double else r[1]) < limit(r[0], double)]
