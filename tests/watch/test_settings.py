import subprocess
import sys

import pytest

from barograph import plugins
from barograph.errors import MisuseError
from barograph.watch.actions.command import Command
from barograph.watch.actions.notify import Notify
from barograph.watch.actions.webhook import Webhook
from barograph.watch.settings import ActionSettings, Settings, read_settings

OFFERED = plugins.names("barograph.detectors")


@pytest.mark.parametrize(("watch", "is_on"), [(True, True), (False, False), (None, False), ({}, True)])
def test_on_and_off(watch, is_on):
    """True and a mapping watch with every detector that is offered; False and None with none."""
    settings = read_settings(watch)
    assert (is_on, OFFERED if is_on else []) == (settings.is_on, settings.detector_names())
    assert settings.actions.make() == []


def test_everything_at_once():
    """What is given is what is read; what was read can be given."""
    settings = read_settings(
        {
            "detectors": ["loss_spike", "non_finite"],
            "roles": {"objective": "loss", "val/score": "quality"},
            "rules": ["loss > 10 for 50 steps"],
            "stop_on": ["critical", "loss_spike"],
            "actions": {
                "command": [sys.executable, "-c", "pass"],
                "webhook": ["https://example.org/a", "http://127.0.0.1:8000/b"],
                "notify": ["json://example.org/a", "json://example.org/b", "xml://example.org"],
                "min_severity": "critical",
                "ends": True,
                "limit_s": 5,
            },
        }
    )
    assert (
        Settings(
            detectors=("loss_spike", "non_finite"),
            roles={"objective": "loss", "val/score": "quality"},
            rules=("loss > 10 for 50 steps",),
            stop_on=("critical", "loss_spike"),
            actions=ActionSettings(
                command=(sys.executable, "-c", "pass"),
                webhook=("https://example.org/a", "http://127.0.0.1:8000/b"),
                notify=("json://example.org/a", "json://example.org/b", "xml://example.org"),
                min_severity="critical",
                ends=True,
                limit_s=5.0,
            ),
        )
        == settings
    )
    assert settings is read_settings(settings)
    assert settings.detector_names() == ["loss_spike", "non_finite"]


def test_rules_alone():
    """An empty list of detectors is none of them, so that only the user's own rules watch."""
    settings = read_settings({"detectors": [], "off": None, "rules": "loss > 10", "stop_on": []})
    assert (settings.detector_names(), settings.rules, settings.stop_on) == ([], ("loss > 10",), ())


def test_all_but_some():
    """``off`` leaves the others on."""
    assert [name for name in OFFERED if name != "plateau"] == read_settings({"off": "plateau"}).detector_names()


def test_each_action_has_a_name_of_its_own_that_is_no_secret():
    """Several of a kind are numbered; of an address only its scheme is in the name."""
    actions = read_settings(
        {
            "actions": {
                "command": sys.executable,
                "webhook": ["https://example.org/SECRET", "https://example.org/SECRET2"],
                "notify": ["json://SECRET", "xml://SECRET", "json://SECRET2"],
            }
        }
    ).actions.make()
    assert [
        ("command", Command),
        ("webhook", Webhook),
        ("webhook.2", Webhook),
        ("notify.json", Notify),
        ("notify.json.2", Notify),
        ("notify.xml", Notify),
    ] == [(action.name, type(action)) for action in actions]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (f"{sys.executable} -c 'a b'", (sys.executable, "-c", "a b")),
        ([sys.executable, "$x; y"], (sys.executable, "$x; y")),
    ],
)
def test_a_command_is_words(given, words):
    """A string is taken apart as a shell would, without being one; a list is taken as it is."""
    assert words == read_settings({"actions": {"command": given}}).actions.command


@pytest.mark.parametrize("text", ["$ALERT_HOOK", "${ALERT_HOOK}"])
def test_an_address_from_the_environment(text):
    """So that no file needs to hold it."""
    environ = {"ALERT_HOOK": "https://example.org/SECRET"}
    settings = read_settings({"actions": {"webhook": text}}, environ=environ)
    assert settings.actions.webhook == ("https://example.org/SECRET",)


@pytest.mark.parametrize(
    ("watch", "message"),
    [
        ("yes", r"watch='yes' is neither True, False nor a mapping; pass"),
        ({"detector": []}, r"watch has no 'detector' \(is 'detectors' meant\?\); there are detectors, off, roles"),
        ({"detectors": ["loss_spik"]}, r"watch\['detectors'\]: there is no 'loss_spik' \(is 'loss_spike' meant\?\)"),
        ({"detectors": [], "off": []}, r"watch has 'detectors' and 'off'; name"),
        ({"detectors": 5}, r"watch\['detectors'\]=5 is neither a string nor a list of strings; pass \['codebook_coll"),
        ({"off": [""]}, r"watch\['off'\]=\[''\] is neither a string nor a list"),
        ({"roles": {"a": "los"}}, r"role 'los' of 'a' is none of loss, val_loss"),
        ({"roles": ["loss"]}, r"watch\['roles'\]=\['loss'\] is no mapping of metrics to roles"),
        ({"roles": {"loss": 1}}, r"watch\['roles'\]=\{'loss': 1\} is no mapping"),
        ({"rules": [1]}, r"watch\['rules'\]=\[1\] is neither a string nor a list of strings; pass \['loss > 10"),
        ({"rules": ["loss >"]}, r"loss >"),
        (
            {"stop_on": ["worst"]},
            r"watch\['stop_on'\]: there is no 'worst'.*; there are info, warning, critical, fatal",
        ),
        ({"actions": "https://example.org"}, r"watch\['actions'\]='https://example.org' is no mapping"),
        ({"actions": {"email": "x"}}, r"watch\['actions'\] has no 'email'; there are command, webhook, notify"),
        ({"actions": {"min_severity": "bad"}}, r"\['min_severity'\]='bad' is none of info, warning, critical, fatal"),
        ({"actions": {"min_severity": ["fatal"]}}, r"\['min_severity'\]=\['fatal'\] is none of"),
        ({"actions": {"ends": "no"}}, r"watch\['actions'\]\['ends'\]='no' is neither True nor False"),
        ({"actions": {"limit_s": 0}}, r"\['limit_s'\]=0 is no time; give seconds, at most 3600"),
        ({"actions": {"limit_s": True}}, r"\['limit_s'\]=True is no time"),
        ({"actions": {"limit_s": float("nan")}}, r"\['limit_s'\]=nan is no time"),
        ({"actions": {"command": "absent-program now"}}, r"\['command'\]: there is no program 'absent-program'; give"),
        (
            {"actions": {"command": "echo 'a"}},
            r"\['command'\]=\"echo 'a\" cannot be taken apart \(No closing quotation\)",
        ),
        ({"actions": {"command": " "}}, r"\['command'\]=' ' is no command"),
        ({"actions": {"command": ["echo", "a\0"]}}, r"\['command'\]=\['echo', 'a\\x00'\] is no command"),
        ({"actions": {"command": []}}, r"\['command'\]=\[\] is no command"),
        ({"actions": {"command": {"a": 1}}}, r"\['command'\]=\{'a': 1\} is neither a string nor a list of strings"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(watch, message):
    """The message names the place and the value, and what there is instead."""
    with pytest.raises(MisuseError, match=message):
        read_settings(watch)


@pytest.mark.parametrize(
    ("key", "address", "message"),
    [
        ("webhook", "example.org/SECRET", r"holds something \(18 characters\) that is no address; give SCHEME://"),
        ("webhook", "ftp://example.org/SECRET", r"begins with 'ftp' and has the host 'example.org'; give https://HOST"),
        ("webhook", "file:///etc/SECRET", r"begins with 'file' and has the host None"),
        (
            "webhook",
            "https://u:SECRET@example.org/",
            r"with a user for 'example.org', which is not sent; give 'notify'",
        ),
        ("webhook", "https://example.org:port/SECRET", r"an address that cannot be read \(Port could not"),
        ("webhook", "https://example.org/SECRET\r\nX: y", r"that is no address"),
        ("webhook", "https://example.org/größe/SECRET", r"in ASCII"),
        ("webhook", ["https://example.org/SECRET", 5], r"is neither a string nor a list of strings"),
        ("webhook", "$SECRET_HOOK", r"the environment has no SECRET_HOOK; set it"),
        ("notify", "SECRET", r"that is no address"),
        ("notify", "slack://SECRET", r"apprise cannot read the address that begins with 'slack'"),
    ],
)
def test_an_address_that_cannot_be_is_refused_and_not_repeated(key, address, message):
    """The message says what is wrong with it and holds nothing of it that may be a secret."""
    with pytest.raises(MisuseError, match=message) as caught:
        read_settings({"actions": {key: address}}, environ={})
    assert f"watch['actions']['{key}']" in str(caught.value) or key == "notify"
    assert "SECRET" not in str(caught.value).replace("SECRET_HOOK", "")


def test_nothing_heavy_is_imported_for_a_run_without_actions():
    """Neither apprise nor an HTTP client is loaded where nobody asks for them."""
    script = (
        "import sys; from barograph.watch.settings import read_settings\n"
        "read_settings({'off': ['plateau'], 'actions': {'command': 'true'}}).actions.make()\n"
        "import barograph.watch.journal\n"
        "print([it for it in ('apprise', 'requests', 'urllib.request', 'http.client', 'ssl') if it in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
