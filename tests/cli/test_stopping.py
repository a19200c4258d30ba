import signal

import pytest

from fuseloom.cli.stopping import STOPPED, stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_program_with_its_line(number, capsys):
    with pytest.raises(SystemExit) as end, stopping():
        signal.raise_signal(number)
    assert end.value.code == STOPPED == 130
    assert capsys.readouterr().err == "Stopped; run the same command to go on.\n"


def test_what_was_stopped_says_it_itself(capsys):
    with pytest.raises(SystemExit), stopping():
        raise KeyboardInterrupt("Stopped after 3 of 9 runs.")
    assert capsys.readouterr().err == "Stopped after 3 of 9 runs.\n"


def test_the_handler_is_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with stopping():
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is before
