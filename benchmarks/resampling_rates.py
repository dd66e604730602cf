"""Every integer rate from 1 to 400,000 Hz: accepted or refused at once, and the memory it takes.

    python benchmarks/resampling_rates.py [--step 1] [--seconds 10]

Prints the slowest rates, the largest error of a rate and the peak memory; exit status 1 beyond a second of computing or
300 MB more than the libraries take.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from fractions import Fraction

import numpy as np

from asd_lightning.data.resampling import RateError, nearest_ratio, resample

NEW_RATE = 16_000
HIGHEST = 400_000
MOST_SECONDS, MOST_MEGABYTES = 1.0, 300


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=int, default=1, help="every so many rates")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of the recordings")
    args = parser.parse_args()
    noise = np.random.default_rng(0).normal(size=round(args.seconds * HIGHEST)).astype(np.float32)
    for rate in (17_067, 44_100):  # the libraries
        resample(noise[:1_000], rate, NEW_RATE)
    before = _megabytes()
    times, refused, error = [], 0, 0.0
    for rate in range(1, HIGHEST + 1, args.step):
        begin = time.process_time()
        try:
            resample(noise[: max(round(args.seconds * rate), 1)], rate, NEW_RATE)
        except RateError:
            refused += 1
        else:
            ratio = Fraction(NEW_RATE, rate)
            error = max(error, float(abs(nearest_ratio(ratio) / ratio - 1)))
        times.append((time.process_time() - begin, rate))
    slowest = sorted(times, reverse=True)[:5]
    grown = _megabytes() - before
    print(f"{len(times):,} rates, {refused:,} refused; largest error of a rate {error:.1e}")
    print("slowest: " + ", ".join(f"{rate:,} Hz {seconds:.2f} s" for seconds, rate in slowest))
    print(f"{grown:.0f} MB beyond the {before:.0f} MB of the libraries")
    return int(slowest[0][0] > MOST_SECONDS or grown > MOST_MEGABYTES)


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
