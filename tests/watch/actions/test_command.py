import json
import os
import sys
import time

import pytest
from tests.watch.actions.receiver import a_message, an_alert, wait_until

from barograph.watch.actions.action import DeliveryError
from barograph.watch.actions.command import Command, variables

KEEP = """
import json, os, sys
with open(sys.argv[1], "w") as file:
    json.dump({"given": sys.stdin.read(), "variables": dict(os.environ), "arguments": sys.argv[2:]}, file)
"""


def test_a_command_gets_the_alert_on_its_input_and_in_variables(tmp_path):
    """The whole alert as one JSON line, and what a shell script needs as variables."""
    message = a_message()
    Command([sys.executable, "-c", KEEP, str(tmp_path / "kept")]).deliver(message)
    kept = json.loads((tmp_path / "kept").read_text())
    assert message.document + b"\n" == kept["given"].encode()
    assert {
        "BAROGRAPH_ALERT_TYPE": "loss_spike",
        "BAROGRAPH_ALERT_SEVERITY": "warning",
        "BAROGRAPH_ALERT_STEP": "121",
        "BAROGRAPH_ALERT_SINCE_STEP": "118",
        "BAROGRAPH_ALERT_STAGE": "opened",
        "BAROGRAPH_ALERT_RUN": "/runs/digits",
        "BAROGRAPH_ALERT_RUN_ID": "s59c34",
        "BAROGRAPH_ALERT_KEY": "s59c34/loss_spike-r0-a0-s121-n1",
    }.items() <= kept["variables"].items()


def test_no_shell_reads_what_an_alert_says(tmp_path):
    """What would be a command to a shell is text: in arguments, which are taken as they are, and in variables."""
    text = f"$(touch {tmp_path / 'touched'}); `touch {tmp_path / 'touched'}`"
    arguments = [sys.executable, "-c", KEEP, str(tmp_path / "kept"), "$HOME; ls"]
    Command(arguments).deliver(a_message(text=text))
    kept = json.loads((tmp_path / "kept").read_text())
    assert kept["arguments"] == ["$HOME; ls"]
    assert text == kept["variables"]["BAROGRAPH_ALERT_TEXT"]
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("text", ["a\0b", "half a pair: \ud800", "x" * 1_000_000])
def test_any_text_can_stand_in_a_variable(text, tmp_path):
    """NUL, half of a surrogate pair and a megabyte start the command nevertheless."""
    Command([sys.executable, "-c", KEEP, str(tmp_path / "kept")]).deliver(a_message(text=text))
    kept = json.loads((tmp_path / "kept").read_text())
    assert text[:1] == kept["variables"]["BAROGRAPH_ALERT_TEXT"][:1]
    assert text[-1:] == json.loads(kept["given"])["text"][-1:]


def test_a_command_that_fails_says_why(tmp_path):
    """Its code and the end of what it said on stderr; it is not run again, for nobody knows what it has done."""
    script = "import sys; print('no', 'route', file=sys.stderr); sys.exit(3)"
    with pytest.raises(DeliveryError) as caught:
        Command([sys.executable, "-c", script]).deliver(a_message())
    assert f"{sys.executable} ended with code 3: no route" == str(caught.value)
    assert not caught.value.may_retry


def test_a_program_that_is_not_there(tmp_path):
    """It is said which."""
    with pytest.raises(DeliveryError, match=r"absent could not be started: .*No such file"):
        Command([str(tmp_path / "absent")]).deliver(a_message())


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path):
    """After its time limit neither it nor its children are there any more."""
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(f'{{child.pid}}\\n')\n"
        "time.sleep(60)\n"
    )
    command = Command([sys.executable, "-c", script], limit_s=1.5)
    began_s = time.monotonic()
    with pytest.raises(DeliveryError, match=r"took longer than 1\.5 s and was killed"):
        command.deliver(a_message())
    assert time.monotonic() - began_s < 10
    wait_until(lambda: not _lives(int((tmp_path / "pid").read_text())))


def test_what_a_command_leaves_running_is_not_waited_for(tmp_path):
    """A daemon that keeps the command's output open holds up nobody."""
    script = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(15)'])"
    began_s = time.monotonic()
    Command([sys.executable, "-c", script]).deliver(a_message())
    assert time.monotonic() - began_s < 10


def test_every_variable_is_text():
    """Numbers are written in full and not as Python writes floats."""
    found = variables(a_message(step=1_234_567.0, since_step=0.5))
    assert (found["BAROGRAPH_ALERT_STEP"], found["BAROGRAPH_ALERT_SINCE_STEP"]) == ("1234567", "0.5")
    assert all(isinstance(value, str) for value in found.values())
    assert an_alert().text == found["BAROGRAPH_ALERT_TEXT"]


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - a file of the system
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        os.stat("/proc/self")  # noqa: PTH116 - there is such a place at all
        return False
