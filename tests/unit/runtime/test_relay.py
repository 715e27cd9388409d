"""What a process without a log of its own passes on."""

import logging

from fewshot.runtime import script


def test_what_is_logged_is_passed_on_for_a_while(caplog):
    caplog.set_level(logging.DEBUG, "elsewhere")
    log = logging.getLogger("fewshot.runtime.locks")
    with script.relayed(logging.getLogger("elsewhere")):
        log.debug("too much")
        log.info("waiting for %d %%", 3)
    log.warning("later")
    said = [(each.name, each.levelname, each.getMessage()) for each in caplog.records]
    assert said == [
        ("elsewhere", "INFO", "waiting for 3 %"),
        ("fewshot.runtime.locks", "WARNING", "later"),
    ]
