"""Ctrl-C is one line and status 130, however often it is pressed."""

import signal
import threading

import pytest
from fewshot.runtime.interrupts import CtrlC


@pytest.fixture
def handler():
    """Keep what a test does to SIGINT from reaching the others."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_it_is_said_once_and_ends_with_the_status_of_a_shell(handler, capfd):
    watch = CtrlC.watched()
    assert not watch.pressed
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            signal.raise_signal(signal.SIGINT)
        assert end.value.code == 130
    assert watch.pressed
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("Stopped by Ctrl-C.")


@pytest.mark.parametrize("own", [signal.SIG_IGN, lambda *_: None], ids=["ignored", "handled"])
def test_what_a_program_does_with_it_already_is_kept(handler, own):
    signal.signal(signal.SIGINT, own)
    CtrlC.watched()
    assert signal.getsignal(signal.SIGINT) is own


def test_another_thread_than_the_main_one_changes_nothing(handler):
    found = []
    thread = threading.Thread(target=lambda: found.append(CtrlC.watched()))
    thread.start()
    thread.join()
    assert not found[0].pressed and signal.getsignal(signal.SIGINT) is signal.default_int_handler
