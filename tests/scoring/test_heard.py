"""Warnings of the fits without some clips are not heard; those of other threads, and errors, are."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from asd_lightning.scoring.heard import logger_of, said_of, unheard
from tests.reference import REPOSITORY


def test_a_silent_thread_silences_no_other_and_hides_no_error(caplog):
    logger = logger_of("asd_lightning.scoring.example")
    assert logger_of("asd_lightning.scoring.example").filters == logger.filters
    assert len(logger.filters) == 1
    silent, said = threading.Event(), threading.Event()

    def leaves_out():
        with unheard():
            with unheard():
                logger.warning("inner")
            logger.warning("outer")
            logger.error("broken")
            silent.set()
            said.wait(60)
        logger.warning("again")

    with caplog.at_level(logging.INFO, "asd_lightning.scoring"):
        thread = threading.Thread(target=leaves_out)
        thread.start()
        assert silent.wait(60)
        logger.info("other")
        said.set()
        thread.join()
    assert caplog.messages == ["broken", "other", "again"]


def test_of_two_that_overlap_each_is_silent_until_its_own_end(caplog):
    """The first to come is the first to go."""
    logger = logger_of("asd_lightning.scoring.example")
    both, gone = threading.Barrier(2, timeout=60), threading.Event()

    def first():
        with unheard():
            both.wait()
            logger.warning("first inside")
        logger.warning("first outside")
        gone.set()

    def second():
        with unheard():
            both.wait()
            assert gone.wait(60)
            logger.warning("second inside")
        logger.warning("second outside")

    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(first), pool.submit(second)]:
            one.result()
    assert caplog.messages == ["first outside", "second outside"]


def test_what_is_said_of_a_machine_begins_with_its_name(caplog):
    logger = logger_of("asd_lightning.scoring.example")
    with said_of("fan 100%s"):
        logger.warning("%d bands of %s", 2, "clips")
        logger.warning("no arguments")
    logger.warning("of none")
    assert caplog.messages == ["fan 100%s: 2 bands of clips", "fan 100%s: no arguments", "of none"]


def test_every_module_that_back_ends_are_made_of_logs_so():
    package = REPOSITORY / "asd_lightning/scoring"
    logging_itself = [path.name for path in package.glob("*.py") if "getLogger" in path.read_text(encoding="utf-8")]
    assert logging_itself == ["heard.py"]
