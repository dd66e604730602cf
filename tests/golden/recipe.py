"""Deterministic weights and waveforms for parity tests of audio encoders (BEATs, EAT).

No pretrained weights are involved.  Every tensor is a pure function of its checkpoint *name* and
*shape*, every waveform a pure function of a small dict.  Random numbers come from the raw Philox4x64
stream keyed by sha256(name) and are turned into approximately normal values with integer arithmetic
only (sum of four 16-bit uniforms), so weights and noise are bit-identical for every numpy >= 1.17,
every CPU and every module order.  Needs numpy; torch only to wrap the arrays as tensors.

Typical use::

    spec = json.load(open("keys/beats_iter3_plus_as2m.json"))["tensors"]   # name -> {"shape": ...}
    state = make_state_dict(spec)                                          # name -> float32 ndarray
    model.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
"""

import hashlib
import re

import numpy as np

# Tensors that a checkpoint stores under several names but that are one parameter: the twelve BEATs
# layers share the relative position table of layer 0, so all names draw layer 0's values.
ALIASES = [(re.compile(r"(.*\blayers)\.\d+(\.self_attn\.relative_attention_bias\.weight)$"), r"\1.0\2")]
# The HF port of EAT prefixes every name with "model.", the fairseq checkpoint uses other prefixes for
# the stem; both must get the same numbers, so names are normalised before hashing.
RENAMES = [
    (re.compile(r"^model\."), ""),
    (re.compile(r"^modality_encoders\.IMAGE\.context_encoder\.norm\."), "pre_norm."),
    (re.compile(r"^modality_encoders\.IMAGE\."), ""),
]


def canonical_name(name):
    """Name that seeds the tensor: prefixes of the two EAT formats removed, shared tensors mapped to one."""
    for pattern, new in RENAMES + ALIASES:
        name = pattern.sub(new, name)
    return name


def pseudo_normal(key, size):
    """``size`` float64 values, mean 0, variance 1, |x| < 3.47; exact integer arithmetic up to one division."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    raw = np.random.Philox(key=seed).random_raw(size)
    total = np.zeros(size, dtype=np.int64)
    for shift in (0, 16, 32, 48):
        total += ((raw >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)
    return (total - 2 * 65535) / np.sqrt((65536.0**2 - 1) / 3.0)


def sincos_positions(n_time, n_freq, dim):
    """Fixed 2-D sin/cos table [1, n_time * n_freq, dim], frequency index fastest; float32 throughout.

    First half of the channels encodes the frequency index, second half the time index; each half is
    [sin | cos] with angular rates 10000 ** -(i / (dim / 4)), i = 0 .. dim / 4 - 1.
    """
    rate = (1.0 / 10000 ** (np.arange(dim // 4, dtype=np.float32) / np.float32(dim / 4))).astype(np.float32)
    time, freq = np.meshgrid(np.arange(n_time, dtype=np.float32), np.arange(n_freq, dtype=np.float32), indexing="ij")
    halves = []
    for index in (freq.reshape(-1), time.reshape(-1)):
        phase = (index[:, None] * rate[None, :]).astype(np.float32)
        halves += [np.sin(phase), np.cos(phase)]
    return np.concatenate(halves, axis=1).astype(np.float32)[None]


def make_tensor(name, shape):
    """float32 ndarray for one checkpoint entry, chosen so that activations stay of order one."""
    name, shape = canonical_name(name), tuple(shape)
    if name.endswith("fixed_positional_encoder.positions"):
        return sincos_positions(shape[1] // 8, 8, shape[2])
    n = pseudo_normal(name, int(np.prod(shape))).reshape(shape)
    if name.endswith((".weight_g", ".grep_a")) or (len(shape) == 1 and name.endswith("weight")):
        value = 1.0 + 0.1 * n  # gains: layer norm, batch norm, weight norm, gate scale
    elif name.endswith("running_var"):
        value = 1.0 + 0.1 * np.abs(n)
    elif len(shape) <= 1:
        value = 0.02 * n  # biases, running means
    elif name.endswith("relative_attention_bias.weight"):
        value = 0.5 * n
    elif name.endswith("extra_tokens"):
        value = n
    else:
        value = n / np.sqrt(np.prod(shape[1:]))  # matrices and kernels: 1 / sqrt(fan in)
        if name.endswith(("qkv.weight", "q_proj.weight", "k_proj.weight", "v_proj.weight")):
            value *= 2.0  # peaked attention ...
        elif name.endswith(("attn.proj.weight", "out_proj.weight", "fc2.weight")):
            value *= 0.25  # ... and modest residual branches, so that tokens stay distinct through 12 layers
    return np.ascontiguousarray(value, dtype=np.float32)


def make_state_dict(spec):
    """``spec`` maps name -> shape, or name -> {"shape": shape}; returns name -> float32 ndarray."""
    shape_of = lambda s: s["shape"] if isinstance(s, dict) else s  # noqa: E731
    return {name: make_tensor(name, shape_of(s)) for name, s in sorted(spec.items())}


def make_waveform(spec):
    """One mono clip, float32, exact multiples of 2**-15 (as if read from 16-bit PCM).

    ``spec``: sample_rate, n_samples, tones = [[hz, amplitude, phase, am_hz, am_depth], ...],
    noise_amplitude, noise_key, optional dc, optional n_valid (samples from there on are zero).
    """
    t = np.arange(spec["n_samples"], dtype=np.float64) / spec["sample_rate"]
    x = spec["noise_amplitude"] * pseudo_normal(spec["noise_key"], spec["n_samples"]) + spec.get("dc", 0.0)
    for hz, amplitude, phase, am_hz, am_depth in spec["tones"]:
        x += amplitude * (1.0 + am_depth * np.sin(2 * np.pi * am_hz * t)) * np.sin(2 * np.pi * hz * t + phase)
    x[spec.get("n_valid", spec["n_samples"]) :] = 0.0
    return (np.round(np.clip(x, -1.0, 1.0 - 2.0**-15) * 32768.0) / 32768.0).astype(np.float32)
