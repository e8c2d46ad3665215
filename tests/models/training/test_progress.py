"""What a run tells of itself."""

import io
import os
import signal
from pathlib import Path

import pytest

from models.training.progress import RunLog, clock, wish_to_stop


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_rows_behind_the_last_save_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.csv"
    with RunLog(path, ["loss", "wer"], 0, 9) as log:
        log.row(2, {"loss": 3.0}, "")
        log.row(4, {"loss": 2.5, "wer": 0.5}, "")
    path.write_text(path.read_text() + "6,1.")  # killed while it wrote
    with RunLog(path, ["loss", "wer"], 2, 9) as log:
        log.row(3, {"loss": 2.75, "else": 1.0}, "")
    assert path.read_text().splitlines() == ["step,loss,wer", "2,3,", "3,2.75,"]
    for _ in range(2):  # killed before its first save
        with RunLog(path, ["wer"], 0, 9) as log:
            log.row(0, {"wer": 1.0}, "")
    assert path.read_text().splitlines() == ["step,wer", "0,1"]


def test_a_terminal_shows_one_live_line_and_anything_else_a_line_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        with RunLog(tmp_path / "m.csv", ["loss"], 3, 5) as log:
            log.advance()
            log.row(4, {"loss": 1.5}, "loss 1.500, WER 20.0%")
        shown = stream.getvalue()
        assert "4/5" in shown
        assert "loss 1.500, WER 20.0%" in shown
        assert ("\r" in shown) == stream.isatty()
        assert stream.isatty() or shown.endswith(" left\n")


def test_without_a_path_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(None, ["loss"], 0, 5) as log:
        log.advance()
        log.row(1, {"loss": 1.5}, "loss")
    assert capsys.readouterr() == ("", "")


def test_signals_are_noted_and_only_a_second_ctrl_c_interrupts() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with wish_to_stop() as stop:
        assert not stop
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert stop == [signal.SIGTERM, signal.SIGTERM, signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_times_are_told_as_clocks_do() -> None:
    assert [clock(s) for s in (0, 59.6, 3599, 7325)] == ["0:00:00", "0:01:00", "0:59:59", "2:02:05"]
