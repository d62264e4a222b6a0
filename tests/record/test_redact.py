from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.record.redact import REDACTED, is_credential_name, redact, redact_argv, redact_diff, redact_text

# Credentials by form, put together here so that no scanner takes this file for a leak.
GITHUB = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hJ6"
OPENAI = "sk-" + "proj-" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7b"
ANTHROPIC = "sk-" + "ant-api03-" + "aB3dE6gH9jK2-N5pQ8sT1v_W4yZ7b"
HUGGINGFACE = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
SLACK = "xoxb-" + "123456789012-abcdefABCDEF"
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9.eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
PEM = "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIEow\nABCDEF\n-----END " + "RSA PRIVATE KEY-----"
KNOWN_FORMS = [GITHUB, OPENAI, ANTHROPIC, HUGGINGFACE, AWS, SLACK, JWT, PEM]


def _names(*lines: str) -> list[str]:
    return [name for line in lines for name in line.split()]


CREDENTIAL_NAMES = _names(
    "password passwd passphrase db_password DB_PASSWORD dbPassword dbpassword PGPASSWORD mysql_pwd smtp_pass password2",
    "secret client_secret clientSecret aws_secret_access_key secretAccessKey django.secret_key db.password.value",
    "token hf_token HF_TOKEN hfToken github_token access_token accessToken auth_token use_auth_token bot_token",
    "refresh_tokens session_token SLURM_JWT jwt bearer api_key apikey apiKey APIKey API-KEY x-api-key openai_api_key",
    "WANDB_API_KEY wandb_key encryption_key api_keys access_key aws_access_key_id private_key ssh_private_key",
    "credential credentials auth_header authorization proxy-authorization session_cookie cookie",
)
OTHER_NAMES = _names(
    "tokens max_tokens max_token num_tokens token_count tokens_per_second max_new_tokens loss_per_token token_dim",
    "tokenizer tokenizer_name tokenizer_path tokenize token_embedding token_dropout special_tokens next_token",
    "pad_token eos_token bos_token unk_token sep_token cls_token mask_token pad_token_id additional_special_tokens",
    "key keys sort_key primary_key public_key cache_key monitor_key key_dim num_key_value_heads key_padding_mask",
    "keyboard monkey passes forward_pass num_passes bypass passthrough compass passenger pin_memory",
    "author authors authority secretary credit accredited cookiecutter no_auth",
    "password_length token_file api_key_env secret_name password_strength_dataset",
    "lr seed hidden_size vocab_size keep_prob batch_size",
)


@pytest.mark.parametrize("name", CREDENTIAL_NAMES)
def test_a_name_that_means_a_credential_is_one(name):
    """Whatever the case and the separators, the name is recognised."""
    assert is_credential_name(name)


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_a_name_that_only_sounds_like_a_credential_is_none(name):
    """The vocabulary of language models, and names about a credential, are left alone."""
    assert not is_credential_name(name)


@pytest.mark.parametrize("name", CREDENTIAL_NAMES)
def test_the_value_below_such_a_name_goes(name):
    """In a configuration the value is replaced and its path is named; the rest stays."""
    config = {"model": {name: "hunter2hunter2", "lr": 0.1}}
    assert ({"model": {name: REDACTED, "lr": 0.1}}, [f"model.{name}"]) == redact(config)


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_the_value_below_another_name_stays(name):
    """Nothing is taken from a configuration that holds no credential."""
    config = {name: "hunter2hunter2", "nested": [{name: 3}]}
    assert (config, []) == redact(config)


@pytest.mark.parametrize("secret", KNOWN_FORMS)
def test_a_credential_is_known_by_its_form_under_any_name(secret):
    """Alone it goes as a whole; inside a text only it goes, and the text around it stays."""
    clean, paths = redact({"note": secret, "items": ["x", f"use {secret}, please"]})
    assert {"note": REDACTED, "items": ["x", f"use {REDACTED}, please"]} == clean
    assert paths == ["note", "items[1]"]


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn", "sk-fold-cross-validation-experiment-3", "hf_dataset_v2", "hf_model_with_a_long_descriptive_name",
        "ghp_short", "AKIA", "AKIAlowercase12345678", "xox", "eyJust-a-word", "task-1234567890abcdefghijklmnop",
        "risk-AVERSE2agentWithALongName123", "-----BEGIN PUBLIC KEY-----", "a7f3e9c2b1d4",
        "https://example.org/a@b?x=1", "https://user@example.org/repo.git", "git@github.com:user/repo.git",
        "s3://bucket/key=value/part", "Bearer of bad news", "password: see the handbook", "12:30@noon",
        "d0be2dc421be4fcd0172e5afceea3970e2f3d940",
    ],
)  # fmt: skip
def test_text_that_resembles_a_credential_stays(text):
    """Names of libraries and models, commit hashes, addresses without a password: all untouched."""
    assert ({"note": text}, []) == redact({"note": text})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://me:hunter2@db:5432/x", f"postgresql://me:{REDACTED}@db:5432/x"),
        ("https://me:p%40ss:w@rd@host/x and more", f"https://me:{REDACTED}@host/x and more"),
        ("redis://:hunter2@cache/0", f"redis://:{REDACTED}@cache/0"),
        ("https://0123456789abcdef0123456789@dev.azure.com/x", f"https://{REDACTED}@dev.azure.com/x"),
        ("https://api.x/?lr=1&api_key=abc&b=2", f"https://api.x/?lr=1&api_key={REDACTED}&b=2"),
        ("https://x.blob/c?sv=1&sig=abc%3D", f"https://x.blob/c?sv=1&sig={REDACTED}"),
        ("Bearer abcdefgh12345678", f"Bearer {REDACTED}"),
        ("AccountName=a;AccountKey=Zm9vYmFy;Suffix=b", f"AccountName=a;AccountKey={REDACTED};Suffix=b"),
    ],
)
def test_only_the_secret_part_of_an_address_goes(text, expected):
    """Host, user and path stay readable, so one still sees where the data came from."""
    assert expected == redact_text(text)
    assert expected == redact_text(expected)


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"db": {"user": "u", "pass": "hunter2"}}, "db.pass"),
        ({"wandb": {"key": "hunter2"}}, "wandb.key"),
        ({"openai": {"key": "hunter2"}}, "openai.key"),
        ({"auth": {"user": "u", "pass": "hunter2"}}, "auth.pass"),
        ({"azure": {"account": {"key": "hunter2"}}}, "azure.account.key"),
        ({"wandb": {"settings": {"key": "hunter2"}}}, "wandb.settings.key"),
        ({"cluster": [{"user": "u", "pass": "hunter2"}]}, "cluster[0].pass"),
        ({"pw": "hunter2"}, "pw"),
    ],
)
def test_a_plain_name_below_a_service_is_a_credential(config, path):
    """`key` below `wandb` is `wandb_key`: the path is judged, not its last part alone."""
    clean, paths = redact(config)
    assert paths == [path]
    assert "hunter2" not in str(clean)


@pytest.mark.parametrize(
    "config",
    [
        {"sort": {"key": "loss"}}, {"data": {"key": "train"}}, {"keys": ["a"]}, {"model": {"pass": "forward"}},
        {"wandb": {"sweep": {"key": "loss"}}}, {"api": {"key_padding": "left"}}, {"conv": {"pw": 1}},
    ],
)  # fmt: skip
def test_the_same_name_below_anything_else_stays(config):
    """Sort keys, dictionary keys and passes over data are settings."""
    assert (config, []) == redact(config)


def test_flags_nothing_and_placeholders_stay():
    """A key that names a credential may hold what hides nothing: on/off, None, an environment reference."""
    config = {
        "token": True, "password": None, "secret": "", "api_key": "${oc.env:API_KEY}", "hf_token": "$HF_TOKEN",
        "client_secret": "<your secret>", "access_key": "???", "new_token": "[IMG]", "a_token": "<|im_start|>",
    }  # fmt: skip
    assert (config, []) == redact(config)


def test_numbers_go_below_a_password_only():
    """A PIN-like password is a number; a number called token is a count."""
    clean, paths = redact({"password": 1234, "token": 5, "api_key_v": 7})
    assert clean == {"password": REDACTED, "token": 5, "api_key_v": 7}
    assert paths == ["password"]


def test_everything_below_a_credentials_key_goes():
    """Lists and mappings under such a key lose every text, and keep their shape."""
    config = {"credentials": {"user": "me", "codes": ["a", "b"], "on": True}, "api_keys": ["x", "y"]}
    clean, paths = redact(config)
    assert clean == {
        "credentials": {"user": REDACTED, "codes": [REDACTED, REDACTED], "on": True},
        "api_keys": [REDACTED, REDACTED],
    }
    assert paths == ["credentials.user", "credentials.codes[0]", "credentials.codes[1]", "api_keys[0]", "api_keys[1]"]


def test_settings_of_tokens_are_no_credentials():
    """A section called `token` of a language model keeps its texts."""
    config = {"token": {"kind": "bpe", "dim": 64}, "auth": {"method": "none"}}
    assert (config, []) == redact(config)


def test_the_original_is_left_as_it_was():
    """Redacting makes a copy; training goes on with the real values."""
    config = {"db": {"password": "hunter2", "hosts": ["a"]}}
    redact(config)
    assert config == {"db": {"password": "hunter2", "hosts": ["a"]}}


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(config=st.dictionaries(st.sampled_from([*CREDENTIAL_NAMES, *OTHER_NAMES]), _PLAIN, max_size=4))
def test_redacting_twice_changes_nothing_more(config):
    """What is clean stays as it is, and no path is named again."""
    clean, _ = redact(config)
    assert (clean, []) == redact(clean)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--api-key=x1", "--lr=0.1"], [f"--api-key={REDACTED}", "--lr=0.1"]),
        (["--api-key", "x1", "--lr", "0.1"], ["--api-key", REDACTED, "--lr", "0.1"]),
        (["--password", "--verbose"], ["--password", "--verbose"]),
        (["--password", "-x1"], ["--password", REDACTED]),
        (["+db.password=x1", "lr=0.1"], [f"+db.password={REDACTED}", "lr=0.1"]),
        (["++wandb.api_key=x1"], [f"++wandb.api_key={REDACTED}"]),
        (["--max_tokens", "100", "--tokenizer=bpe"], ["--max_tokens", "100", "--tokenizer=bpe"]),
        (["--token=$TOKEN"], ["--token=$TOKEN"]),
        (["-H", "Authorization: Basic dXNlcjpwYXNz"], ["-H", f"Authorization: {REDACTED}"]),
        (["--cfg", '{"password": "x1", "lr": 1}'], ["--cfg", f'{{"password": "{REDACTED}", "lr": 1}}']),
        (["--db=mysql://me:x1@h/d"], [f"--db=mysql://me:{REDACTED}@h/d"]),
        (["--password", "x1", "x2"], ["--password", REDACTED, "x2"]),
        (["--pw", "x1"], ["--pw", REDACTED]),
        (["+x={password:x1,lr:0.1}"], [f"+x={{password:{REDACTED},lr:0.1}}"]),
        (["db={user:u,pass:x1,password: x2}"], [f"db={{user:u,pass:{REDACTED},password: {REDACTED}}}"]),
        (["a={wandb:{key:x1},sort:{key:loss}}"], [f"a={{wandb:{{key:{REDACTED}}},sort:{{key:loss}}}}"]),
        (['{"wandb": {"key": "x1"}}'], [f'{{"wandb": {{"key": "{REDACTED}"}}}}']),
        (["x={password:${oc.env:PW},token:5}"], ["x={password:${oc.env:PW},token:5}"]),
        (["train.py", GITHUB], ["train.py", REDACTED]),
    ],
)  # fmt: skip
def test_arguments_lose_their_credentials_in_every_spelling(argv, expected):
    """With `=`, as the next argument, as a Hydra override, inside JSON, as a header: the value goes."""
    clean, changed = redact_argv(argv)
    assert expected == clean
    assert [i for i, (a, b) in enumerate(zip(argv, expected, strict=True)) if a != b] == changed


def _diff(path: str, *lines: str) -> str:
    return "\n".join((f"diff --git a/{path} b/{path}", f"+++ b/{path}", "@@ -1 +1 @@", *lines, ""))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('+password = "hunter2"', f'+password = "{REDACTED}"'),
        ("-    api_key: str = 'x1'  # old", f"-    api_key: str = '{REDACTED}'  # old"),
        (' os.environ["WANDB_API_KEY"] = "x1"', f' os.environ["WANDB_API_KEY"] = "{REDACTED}"'),
        ('+login(token="abcdefgh1234")', f'+login(token="{REDACTED}")'),
        ('+db_password = """x1"""', f'+db_password = """{REDACTED}"""'),
        ('+secret = f"x{1}y"', f'+secret = f"{REDACTED}"'),
        ('+password = "it\'s"', f'+password = "{REDACTED}"'),
        (r'+    "api_key = \"x1\"\n",', rf'+    "api_key = \"{REDACTED}\"\n",'),
        ('+requests.get("https://me:x1@h/")', f'+requests.get("https://me:{REDACTED}@h/")'),
        (f"+# {OPENAI}", f"+# {REDACTED}"),
    ],
)
def test_a_literal_credential_in_source_code_goes(line, expected):
    """Assignments, annotations, keyword arguments, notebooks: the literal is replaced, the line stays a line."""
    assert (_diff("train.py", expected), 1) == redact_diff(_diff("train.py", line))


@pytest.mark.parametrize(
    "line",
    [
        "+password = getpass()", "+    token = tokenizer.decode(ids)", "+    password: str", '+token = "the"',
        '+pad_token = "<pad>"', "+api_key=api_key", '+parser.add_argument("--password")', '+sort_key = "loss"',
        '+api_key = "${API_KEY}"', "+cookie = make_cookie(name, value)", "+max_tokens = 100",
        '+next_token = "abcdefghi"',
    ],
)  # fmt: skip
def test_source_code_about_credentials_stays(line):
    """Expressions, annotations, arguments' names and tokens of text are code, and code is what a diff is for."""
    assert (_diff("train.py", line), 0) == redact_diff(_diff("train.py", line))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("+API_KEY=x1", f"+API_KEY={REDACTED}"),
        ("+export HF_TOKEN=x1\r", f"+export HF_TOKEN={REDACTED}\r"),
        ("-  password: correct horse (battery)", f"-  password: {REDACTED}"),
        ("+  - api_key: x1", f"+  - api_key: {REDACTED}"),
        ("+python train.py --api-key x1 --lr 1", f"+python train.py --api-key {REDACTED} --lr 1"),
        ("+API_KEY=${API_KEY}", "+API_KEY=${API_KEY}"),
        ("+use_auth: true", "+use_auth: true"),
        ("+private_key: |", "+private_key: |"),
        ("+lr: 0.1", "+lr: 0.1"),
    ],
)
def test_bare_values_in_files_that_are_no_code_go(line, expected):
    """`.env` files, YAML and shell scripts need no quotes around a secret."""
    expected_lines = int(line != expected)
    for path in (".env", "conf/db.yaml", "run.sh"):
        assert (_diff(path, expected), expected_lines) == redact_diff(_diff(path, line))


def test_a_private_key_in_a_diff_goes_line_by_line():
    """Every line of the key goes, signs and line count stay, and what follows is untouched."""
    key = [f"+{line}" for line in PEM.split("\n")]
    after = _diff("b.txt", "+fine")
    clean, changed = redact_diff(_diff("key.pem", *key, " context") + after)
    assert _diff("key.pem", *[f"+{REDACTED}"] * 4, " context") + after == clean
    assert changed == 4


def test_a_private_key_cut_off_by_the_end_of_its_hunk_does_not_hide_the_next():
    """A key without an end in view ends with its hunk."""
    diff = _diff("key.pem", f"+{PEM.splitlines()[0]}", "+MIIE", "@@ -9 +9 @@", "+plain") + _diff("b.py", "+x = 1")
    clean, changed = redact_diff(diff)
    assert diff.replace(f"+{PEM.splitlines()[0]}", f"+{REDACTED}").replace("+MIIE", f"+{REDACTED}") == clean
    assert changed == 2


@given(lines=st.lists(st.text(st.characters(exclude_characters="\n"), max_size=60), max_size=8))
def test_a_diff_keeps_its_number_of_lines_and_their_signs(lines):
    """Whatever stands in it, a patch keeps its shape, so tools can still read it."""
    diff = _diff("a.yaml", *(f"+{line}" for line in lines))
    clean, _ = redact_diff(diff)
    assert [line[:1] for line in diff.split("\n")] == [line[:1] for line in clean.split("\n")]


@pytest.mark.parametrize(
    "text",
    ["a" * 500_000, "sk-" * 200_000, "a-" * 250_000, "password=" * 60_000, "eyJa." * 100_000, "://a:" * 100_000,
     "-----BEGIN PRIVATE KEY-----" * 20_000, "{a:b," * 100_000,
     "?token=a" * 60_000, '"password": "' * 40_000, " " * 500_000 + "token"],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_half_a_megabyte_on_one_line_runs_no_pattern_away(text):
    """No pattern runs away on long lines, so minified files in a diff cost seconds at the worst."""
    started = time.process_time()
    redact_diff(_diff("a.yaml", f"+{text}"))
    redact({"note": text})
    redact_argv(["x={" + text])
    assert time.process_time() - started < 5
