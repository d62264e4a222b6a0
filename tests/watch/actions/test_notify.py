import subprocess
import sys
import textwrap

import pytest
from tests.watch.actions.receiver import HOST, Receiver, a_message, an_alert

from barograph.errors import MisuseError
from barograph.watch.actions.action import DeliveryError, Message
from barograph.watch.actions.notify import Notify, scheme_of
from barograph.watch.actions.record import as_line
from barograph.watch.incident import Incidents

pytestmark = pytest.mark.allow_hosts([HOST])


@pytest.mark.parametrize(
    ("severity", "kind"), [("info", "info"), ("warning", "warning"), ("critical", "failure"), ("fatal", "failure")]
)
def test_an_alert_reaches_a_real_server_through_apprise(severity, kind):
    """What apprise sends is the title and the words for people, coloured by how bad it is."""
    message = a_message(severity=severity)
    with Receiver() as server:
        Notify(f"json://{HOST}:{server.port}/inbox", name="notify.json").deliver(message)
    (request,) = server.requests
    assert ("/inbox/", f"[{severity}] loss spike in digits", kind) == (
        request["path"].rstrip("/") + "/",
        request["body"]["title"],
        request["body"]["type"],
    )
    assert message.text == request["body"]["message"]


def test_an_end_is_good_news():
    """The end of a critical incident is a success to apprise."""
    incidents = Incidents()
    incidents.take(an_alert(severity="critical"), 1)
    (ended,) = incidents.settle(set(), 100, step=220.0, t=1100.0)
    with Receiver() as server:
        Notify(f"json://{HOST}:{server.port}/").deliver(Message(line=as_line(ended), run={"name": "digits"}))
    (request,) = server.requests
    assert (request["body"]["title"], request["body"]["type"]) == ("[info] loss spike is over in digits", "success")


def test_a_service_that_refuses_is_told_with_its_reason():
    """What apprise says of it, and it is tried again."""
    with Receiver(codes=[500]) as server, pytest.raises(DeliveryError, match="error=500") as caught:
        Notify(f"json://{HOST}:{server.port}/").deliver(a_message())
    assert caught.value.may_retry


def test_a_dead_service():
    """The reason holds no part of the address that may be secret."""
    with Receiver() as server:
        port = server.port
    with pytest.raises(DeliveryError, match="A Connection error occurred") as caught:
        Notify(f"json://user:PASSWORD@{HOST}:{port}/TOKEN").deliver(a_message())
    assert "TOKEN" not in str(caught.value)
    assert "PASSWORD" not in str(caught.value)


@pytest.mark.parametrize("address", ["slack://TOKEN", "nowhere://TOKEN", "TOKEN"])
def test_an_address_that_apprise_cannot_read(address):
    """It is refused at once, and not repeated."""
    with pytest.raises(MisuseError, match="apprise cannot read the address") as caught:
        Notify(address)
    assert "TOKEN" not in str(caught.value)


def test_the_scheme_is_what_may_be_told():
    """Of an address without one nothing may be told."""
    assert tuple(map(scheme_of, ("SLACK://A/B", "token", "mailtos://u:p@h"))) == ("slack", "", "mailtos")


def test_without_apprise_it_is_said_what_to_install(tmp_path):
    """At ``read_settings``, which is before anything runs."""
    script = """
    import sys
    sys.modules["apprise"] = None
    from barograph.errors import MissingDependencyError
    from barograph.watch.settings import read_settings
    try:
        read_settings({"actions": {"notify": ["json://localhost/"]}})
    except MissingDependencyError as error:
        print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=True
    )
    told = "this needs apprise, which is not installed; python -m pip install 'barograph[notify]'"
    assert f"{told}\n" == done.stdout
