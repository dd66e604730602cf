"""Decisive lines, what stands there in a mutation, and the test files that should notice: see mutations.py."""

from __future__ import annotations

from typing import NamedTuple

TESTS = ("tests/test_presets.py", "tests/training/test_assembly.py", "tests/scoring/test_fitted.py")


class Mutation(NamedTuple):
    """Text that a file holds once, what stands there instead, and the test files, or tests, that should notice."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...] = TESTS

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """What it is, a line each."""
        name, file, before, after = (" ".join(text.split()) for text in self[:4])
        return name, file, before, after


class Lines(NamedTuple):
    """The decisive lines of one file, and the test files that should notice a change: ``name, before, after``."""

    file: str
    tests: tuple[str, ...]
    changes: tuple[tuple[str, str, str], ...]


PRESETS = (
    Mutation("scale", "conf/model/loss/os_scl.yaml", "scale: 30.0", "scale: 25.0"),
    Mutation("margin", "conf/model/loss/os_scl.yaml", "margin: 0.2", "margin: 0.3"),
    Mutation("head", "conf/model/loss/os_scl.yaml", "head: joint", "head: per_branch"),
    Mutation("gather", "conf/model/loss/os_scl.yaml", "gather: true", "gather: false"),
    Mutation("contrastive weight", "conf/model/loss/os_scl.yaml", "contrastive_weight: 1.0", "contrastive_weight: 0.5"),
    Mutation("BEATs mask width", "conf/model/embedder/branches/beats.yaml", "freq_width: 80", "freq_width: 40"),
    Mutation("BEATs mask chance", "conf/model/embedder/branches/beats.yaml", "probability: 0.5", "probability: 0.4"),
    Mutation("EAT mask width", "conf/model/embedder/branches/eat.yaml", "time_width: 80", "time_width: 60"),
    Mutation("EAT pooling", "conf/model/embedder/branches/eat.yaml", "pooling: cls", "pooling: tokens"),
    Mutation("RDP's gamma", "conf/model/embedder/pooling/rdp.yaml", "gamma: 4.0", "gamma: 8.0"),
    Mutation("bands", "conf/model/embedder/pooling/mean.yaml", "bands: keep", "bands: merge"),
    Mutation("bands of RDP-GeM", "conf/experiment/rdp2603.yaml", "bands: merge", "bands: keep"),
    Mutation("CLS in the grid", "asd_lightning/encoders/eat.py", "dim, extra=1)", "dim, extra=0)"),
    Mutation(
        "log-mel statistics", "conf/model/embedder/branches/statistics.yaml", "[mean, deviation]", "[mean, change]"
    ),
    Mutation("target frames", "conf/model/embedder/branches/eat.yaml", "target_frames: 1024", "target_frames: 998"),
    Mutation("schedule's unit", "conf/model/scheduler/inverse_sqrt.yaml", "unit: update", "unit: epoch"),
    Mutation("mixup alpha", "conf/model/default.yaml", "mixup_alpha: 0.5", "mixup_alpha: 0.4"),
    Mutation("score after head", "conf/model/default.yaml", "score_after_head: true", "score_after_head: false"),
    Mutation("recording score", "conf/model/default.yaml", "recording_score: max", "recording_score: mean"),
    Mutation("k", "conf/model/scorer/knn.yaml", "k: 1", "k: 2"),
    Mutation("metric", "conf/model/scorer/knn.yaml", "metric: cosine", "metric: euclidean"),
    Mutation("fusion", "conf/model/scorer/knn.yaml", "fusion: min", "fusion: pooled"),
    Mutation("percentile", "conf/model/threshold/gamma.yaml", "percentile: 90.0", "percentile: 95.0"),
    Mutation("labels", "conf/data/default.yaml", "labels: machine_attribute", "labels: machine"),
    Mutation("average's unit", "conf/callbacks/default.yaml", "unit: update", "unit: micro_batch"),
    Mutation("group", "conf/data/default.yaml", "group: recording", "group: clip"),
    Mutation("no masks", "asd_lightning/features/spec_augment.py", "if not self.training:", "if True:"),
    Mutation("first window", "asd_lightning/embedder.py", ".mean(1)", "[:, 0]"),
    Mutation("anomalies in the bank", "asd_lightning/data/datamodule.py", ' and clip.condition != "anomaly"', ""),
    Mutation(
        "at the threshold", "asd_lightning/scoring/fitted.py", "anomaly_score > threshold", "anomaly_score >= threshold"
    ),
    Mutation(
        *("own windows in the bank", "asd_lightning/scoring/held_out.py"),
        *("len(embeddings) == recording.max() + 1", "True"),
    ),
    Mutation(
        *("unheard recordings", "asd_lightning/scoring/machines.py"),
        *("fit_with(made(make_scorer), embeddings, is_target, group)", "made(make_scorer).fit(embeddings, is_target)"),
    ),
    Mutation("VarMin's K", "conf/model/scorer/varmin.yaml", "neighbors: 4", "neighbors: 1"),
    Mutation("VarMin's alpha", "conf/model/scorer/beam_varmin.yaml", "alpha: fitted", "alpha: 1.0"),
    Mutation("bands of BEAM", "conf/model/scorer/beam.yaml", "match: beam", "match: coupled"),
    Mutation("form of local density", "conf/model/scorer/ldn.yaml", "rescale: ratio", "rescale: identity"),
    Mutation("no whitening", "conf/model/scorer/ldn_whitened.yaml", "whiten: true", "whiten: false"),
    Mutation("z per domain", "conf/model/scorer/domain_z.yaml", "fusion: domain_z", "fusion: min"),
    Mutation("ratio per domain", "conf/model/scorer/domain_ratio.yaml", "fusion: domain_ratio", "fusion: min"),
    Mutation("soft weights", "conf/model/scorer/daco_soft.yaml", "weights: soft", "weights: hard"),
    Mutation("Z-MIN", "conf/model/scorer/z_min.yaml", "combination: min", "combination: mean"),
    Mutation("logs of the pair", "conf/model/scorer/whitened_pair.yaml", "scale: log", "scale: identity"),
)


DECISIVE = (
    Lines(
        "losses/arcface.py",
        ("losses/test_arcface.py",),
        (("margin's sign", "own * math.cos(self.margin) - sine", "own * math.cos(self.margin) + sine"),),
    ),
    Lines(
        "features/spec_augment.py",
        ("features/test_spec_augment.py",),
        (("mask axes", "FRAMES, MEL = 1, 2", "FRAMES, MEL = 2, 1"),),
    ),
    Lines(
        "features/fbank.py",
        ("features/test_fbank.py",),
        (("pre-emphasis", "PRE_EMPHASIS = 0.97", "PRE_EMPHASIS = 0.95"),),
    ),
    Lines(
        "features/two_microphones.py",
        ("features/test_two_microphones.py",),
        (("canceller's conjugate", "(near * far.conj()).sum", "(near * far).sum"),),
    ),
    Lines(
        "training/averaging.py",
        ("training/test_averaging.py",),
        (
            ("average's decay", "(average, current, 1 - decay)", "(average, current, decay)"),
            ("average put in", "        super().on_train_end(trainer, pl_module)\n", ""),
        ),
    ),
    Lines(
        "training/schedule.py",
        ("training/test_schedule.py",),
        (("inverse square root", "math.sqrt(warmup / step)", "warmup / step"),),
    ),
    Lines(
        "encoders/mn04.py",
        ("encoders/test_mn04.py",),
        (("order of mn04's blocks", "[outputs[block] for block in blocks]", "[outputs[block] for block in outputs]"),),
    ),
    Lines(
        "encoders/over_time.py",
        ("encoders/test_over_time.py",),
        (("RDP's weights", "self.gamma * relative.log1p()", "self.gamma * relative"),),
    ),
    Lines(
        "encoders/weights/transfer.py",
        ("encoders/weights/test_transfer.py",),
        (("checksum of weights", 'Wanted(url, sha256, "sha256"', 'Wanted(url, None, "sha256"'),),
    ),
    Lines(
        "download/transfer.py",
        ("download/test_download_transfer.py",),
        (("checksum of a download", "if wanted.digest in (None, digest):", "if digest:"),),
    ),
    Lines(
        "data/check.py",
        ("data/test_check.py::test_the_same_sound_twice_in_training_is_a_warning",),
        (("equal sound", "groups[result.digest]", "groups[clip.name]"),),
    ),
    Lines(
        "data/recordings.py",
        ("data/test_recordings.py",),
        (("longest row of recordings.csv", "range(len(parts), 0, -1)", "range(1, len(parts) + 1)"),),
    ),
    Lines(
        "data/resampling.py",
        ("data/test_resampling.py",),
        (
            (
                "nearest ratio of rates",
                "limit_denominator(most)) / ratio - 1) > RATE_ERROR",
                "limit_denominator(most)) / ratio - 1) > 1",
            ),
        ),
    ),
    Lines(
        "scoring/smote.py",
        ("scoring/test_knn.py",),
        (
            ("SMOTE's ratio", "settings.ratio * source_clips - count", "settings.ratio * source_clips"),
            ("made by SMOTE", "[labels == 1][count:]", "[labels == 1][:-count]"),
        ),
    ),
    Lines(
        "scoring/held_out.py",
        ("scoring/test_held_out.py",),
        (
            (
                "unit that is left out",
                "fold = _dealt_out(is_target, group, fits)",
                "fold = np.arange(len(group)) % fits",
            ),
        ),
    ),
    Lines(
        "scoring/rescaling.py",
        ("scoring/test_grid.py",),
        (("sign of VarMin's alpha", "np.exp(-alpha", "np.exp(alpha"),),
    ),
    Lines(
        "scoring/matching.py",
        ("scoring/test_grid.py",),
        (("each band's own clip", "View(vectors[:, band],", "View(vectors[:, 0],"),),
    ),
    Lines(
        "scoring/grid.py",
        ("scoring/test_grid.py",),
        (("mean over bands", 'self.band_fusion == "mean" else', 'self.band_fusion != "mean" else'),),
    ),
    Lines(
        "scoring/preparation.py",
        (
            "scoring/test_union.py",
            "scoring/test_grid.py",
        ),
        (
            (
                "Ledoit-Wolf shrinkage",
                "whitening = principal_axes(centered).whitening(_shrinkage(centered))",
                "whitening = principal_axes(centered).whitening(0.9 * _shrinkage(centered))",
            ),
        ),
    ),
    Lines(
        "scoring/union.py",
        ("scoring/test_union.py",),
        (("residual directions", "self.share * held[-1])) + 1", "self.share * held[-1]))"),),
    ),
    Lines(
        "scoring/normal_scores.py",
        (
            "scoring/test_thresholds.py",
            "detector/test_promise.py",
        ),
        (
            ("promised threshold", "allowed = rate * (self.recordings + 1) - 1", "allowed = rate * self.recordings"),
            ("ties of the p-value", 'scores, side="left"', 'scores, side="right"'),
        ),
    ),
    Lines(
        "scoring/contributions.py",
        ("scoring/test_contributions.py",),
        (("a dimension's part", "np.linalg.solve(whitening.T, difference)", "np.linalg.solve(whitening, difference)"),),
    ),
    Lines(
        "scoring/fusion.py",
        ("scoring/test_fusion.py",),
        (
            ("fusion by z", "(scores - left_out.mean()) / left_out.std()", "(scores - scores.mean()) / scores.std()"),
            ("Z-MIN of systems", "np.min(scores, axis=0)", "np.max(scores, axis=0)"),
        ),
    ),
    Lines(
        "scoring/clip_scores.py",
        (
            "scoring/test_clip_scores.py",
            "submission/test_writer.py",
        ),
        (("submitted decision", "(score.file, score.decision)", "(score.file, 1 - score.decision)"),),
    ),
    Lines(
        "evaluation/metrics.py",
        ("evaluation/test_metrics.py",),
        (
            ("AUC of a domain", "is_anomaly, mask | is_anomaly)", "is_anomaly, mask)"),
            ("pAUC's largest rate", "MAX_FPR = 0.1", "MAX_FPR = 0.2"),
        ),
    ),
    Lines(
        "evaluation/intervals.py",
        ("evaluation/test_intervals.py",),
        (
            (
                "paired resamples",
                "of_second, rows = _replicates(other, draws,",
                "of_second, rows = _replicates(other, _draws(other, resamples, seed + 1),",
            ),
        ),
    ),
    Lines(
        "detector/promise.py",
        ("detector/test_promise.py",),
        (("bound of a promise", "1 - (1 - confidence) * certain", "1 - (1 - confidence)"),),
    ),
    Lines(
        "detector/drift.py",
        ("detector/test_drift.py::test_by_hand", "detector/test_drift.py::test_updates_are_the_textbooks"),
        (
            ("drift downwards", "state.down - z - self", "state.down + z - self"),
            ("drift's allowance", "state.up + z - self.allowance", "state.up + z + self.allowance"),
        ),
    ),
    Lines(
        "detector/health.py",
        ("detector/test_health.py::test_planted_faults",),
        (
            ("too quiet", "self.quietest - clip.level", "clip.level - self.quietest"),
            ("clipped share", "CLIPPED_SHARE = 0.02", "CLIPPED_SHARE = 0.2"),
        ),
    ),
    Lines(
        "live/latch.py",
        ("live/test_latch.py",),
        (
            ("on-delay", "sum(recent) >= options", "sum(recent) > options"),
            ("off-delay", "below >= options.quiet", "below > options.quiet"),
        ),
    ),
    Lines(
        "live/logic.py",
        ("live/test_logic.py",),
        (("hysteresis", "window.score <= release)", "window.score <= level)"),),
    ),
    Lines(
        "live/journal.py",
        ("live/test_journal.py",),
        (
            ("heard twice", "INSERT OR IGNORE INTO heard", "INSERT INTO heard"),
            ("all or nothing", 'execute("ROLLBACK")', 'execute("COMMIT")'),
            ("order of events", "ORDER BY row LIMIT", "ORDER BY row DESC LIMIT"),
        ),
    ),
    Lines(
        "exporting/agreement.py",
        ("exporting/test_export.py::test_a_graph_that_is_frozen_or_scores_otherwise_is_refused",),
        (
            ("graph without a score", "if largest <= allowed:", "if not largest > allowed:"),
            ("graph's difference", "(np.abs(found - wanted) / unit)", "((found - wanted) / unit)"),
        ),
    ),
    Lines(
        "serving/guard.py",
        ("serving/test_guard.py",),
        (
            (
                "page of another site",
                "return origin is not None and _place(origin) != ",
                "return origin is None and _place(origin) != ",
            ),
            ("token", "return same and scheme.lower()", "return same or scheme.lower()"),
        ),
    ),
    Lines(
        "low_precision.py",
        ("test_low_precision.py::test_int8_is_the_product_of_rounded_numbers",),
        (
            (
                "scale of 8-bit weights",
                "weight.abs().amax(1).clamp_min",
                "weight.abs().amax().expand(len(weight)).clamp_min",
            ),
        ),
    ),
    Lines(
        "trust.py",
        ("test_trust.py",),
        (
            ("a module's imports", "return callable(found) and str(", "return callable(found) or str("),
            ("what may be called", "not (target in known or _is_trusted(target)):", "not target:"),
        ),
    ),
)

MUTATIONS = (
    *PRESETS,
    *(
        Mutation(name, f"asd_lightning/{lines.file}", before, after, tuple(f"tests/{test}" for test in lines.tests))
        for lines in DECISIVE
        for name, before, after in lines.changes
    ),
)
