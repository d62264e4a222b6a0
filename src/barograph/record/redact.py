"""Takes credentials out of what is recorded: configurations, arguments, environment, addresses, diffs.

A value goes when its key names a credential or when it is one by its form. It errs towards taking out, except
where machine learning uses the same words (tokens, keys, passes). What was taken out is always named.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

REDACTED: Final = "[redacted]"


def _word_set(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_PASSWORD: Final = _word_set("password passwords passwd passphrase passphrases passcode pwd pswd secret")
_STRONG: Final = _PASSWORD | _word_set(
    "secrets credential credentials cred creds apikey apikeys secretkey accesskey privatekey authkey apitoken",
    "authtoken accesstoken refreshtoken bearer jwt authorization cookie cookies",
)
_STRONG_ENDINGS: Final = tuple(
    _word_set(
        "password passwd passphrase secret credential credentials apikey secretkey privatekey accesskey",
        "authtoken accesstoken",
    )
)
# "key" and "pass" are credentials only after one of these.
_BEFORE_KEY: Final = _word_set(
    "api access private secret encryption encrypt decryption signing sign ssh rsa pgp gpg hmac fernet aes master",
    "account storage license licence auth authentication authorization service deploy subscription session app",
    "application shared admin ai openai anthropic wandb hf huggingface aws azure gcp google comet neptune",
    "openrouter cohere mistral groq replicate github gitlab slack sendgrid stripe twilio datadog",
)
_BEFORE_PASS: Final = _word_set(
    "db database smtp imap ftp sftp user mail email mysql postgres pg redis mongo proxy admin root login http",
    "auth authentication ssh sql postgresql mongodb mariadb clickhouse rabbitmq amqp mqtt kafka elastic registry",
)
# "token" is a credential unless one of these comes before it; "tokens" only after one of _BEFORE_TOKENS.
_TEXT_TOKEN: Final = _word_set(
    "pad eos bos unk sep cls mask special image audio video stop start end next prev previous per first last",
    "prefix suffix middle decoder encoder boi eoi eot newline word sub text target source input output prompt max",
    "min num new current single each blank register think thinking latent query padding unknown separator class",
    "begin sentence sos",
)
_BEFORE_TOKENS: Final = _word_set(
    "access auth api bearer refresh session oauth hf huggingface hub github gitlab slack wandb secret"
)
# A name that ends so speaks about a credential and holds none: password_length, token_file, api_key_env.
_ABOUT: Final = _word_set(
    "length len count size num number file files filename path paths dir directory folder name names env var",
    "variable type kind policy format field column min max required enabled disabled manager provider backend",
    "endpoint ttl expiry expires expiration age timeout rotation hint strength entropy loss weight dim embedding",
    "mask prob rate ratio dropout classifier detector detection scanner leak leakage dataset model task accuracy",
    "score limit index budget per",
)
# A mapping that names one of these beside "pass" is a login, whatever it is called itself.
_LOGIN: Final = frozenset({"user", "username", "login"})
# Levels of a configuration that say nothing about what stands below them.
_NEUTRAL: Final = _word_set("config cfg configuration settings options opts params default main prod dev")
_NOT_ONE: Final = _word_set("num max min no skip")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Nothing to hide: a reference to the environment, a place to fill in, Hydra's missing value; a special token.
_PLACEHOLDER: Final = re.compile(
    r"\$\{[^}]*\}|\$\([^)]*\)|\$[A-Z_][A-Z0-9_]*|<[\w .-]*>|\{\{.*\}\}|\*+|\?{3}|\[redacted\]"
)
_SPECIAL_TOKEN: Final = re.compile(r"<[^>]*>|\[[^\]]*\]")

_FORMS: Final = re.compile(
    r"""
      -----BEGIN\ [A-Z0-9 ]*PRIVATE\ KEY-----(?:.*?-----END\ [A-Z0-9 ]*PRIVATE\ KEY-----|.*)
    | (?<![\w-])sk-(?=[\w-]*\d)(?=[\w-]*(?:[A-Z]|[A-Za-z0-9]{16}))[\w-]{20,}  # OpenAI, Anthropic
    | \b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{30,} | \bgithub_pat_\w{30,}
    | (?<![\w-])glpat-[\w-]{16,} | \bhf_[A-Za-z0-9]{30,} | \bnpm_[A-Za-z0-9]{30,} | (?<![\w-])pypi-[\w-]{50,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b
    | (?<![\w-])AIza[\w-]{35} | (?<![\w-])ya29\.[\w-]{20,}                                             # Google
    | (?<![\w-])xox[abeoprs]-[\w-]{10,} | hooks\.slack\.com/services/[\w/]{20,}
    | \b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}  # Stripe
    | (?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*  # JSON web token
    """,
    re.VERBOSE | re.DOTALL,
)
# What each of the forms has in it; most lines of a diff have none, and looking for these is cheap.
_FORM_MARKS: Final = re.compile(
    r"-----BEGIN|sk-|gh[pousr]_|github_pat_|glpat-|hf_|npm_|pypi-|AKIA|ASIA|AIza|ya29\.|xox|hooks\.slack|k_live|k_test|eyJ"
)
_BEARER: Final = re.compile(r"\b((?i:bearer)\s+)(?=[\w.~+/=-]*\d)[\w.~+/=-]{16,}")
_ACCOUNT_KEY: Final = re.compile(r"\b((?:AccountKey|SharedAccessKey|Password|Pwd)=)[^;\s\"']{6,}(?=;|$)")
_USER_PASSWORD: Final = re.compile(r"(?<=://)([^\s/@:\"']*:)[^\s/\"']+(?=@)")
_USER_TOKEN: Final = re.compile(r"(?<=://)(?=[\w-]*\d)[\w-]{20,}(?=@)")
_QUERY: Final = re.compile(r"(?<=[?&])([\w.-]{1,80})(=)([^&\s\"'#]+)")
_SIGNED: Final = frozenset({"sig", "signature", "x-amz-signature", "x-goog-signature"})
_HEADER: Final = re.compile(r"(?im)((?:^|[\"'])(?:(?:proxy-)?authorization|(?:set-)?cookie)\s*:\s*)([^\"'\\\n]{8,})")

_NAME: Final = r"(?P<name>[A-Za-z_][\w.-]{0,80})"
_ASSIGNED: Final = re.compile(  # name = "value", "name": "value", name: str = 'value', x["name"] = "value"
    r"(?<![\w.])(?<!\w-)" + _NAME + r"\\?[\"']?\]?(?:\s{0,8}:\s{0,8}[\w.\[\] |]{1,40}?)?\s{0,8}(?:=>|:=|=|:)\s{0,8}"
    r"[rbfuRBFU]{0,2}"
    r"(?:\\\"(?P<escaped>[^\"\\\n]+)|\"(?:\"\")?(?P<double>(?:\\.|[^\"\\\n])+)|'(?:'')?(?P<single>(?:\\.|[^'\\\n])+))"
)
_BARE: Final = re.compile(  # NAME=value and name: value on a line of their own, --name value
    r"^[+\- ]?\s*(?:export\s+|set\s+|ENV\s+|-\s+)?" + _NAME + r"\s{0,8}[=:]\s{0,8}(?P<bare>[^\"'\s](?:.*\S)?)"
)
_FLAG: Final = re.compile(r"(?<!\S)--?" + _NAME + r"(?:=|\s+)(?P<bare>[^\s\"'-]\S*)")
_FLOW: Final = re.compile(  # {name: value, name: {name: value}}, as Hydra and JSON write it on a command line
    r"(?:(?<![\w.@/-])[\"']?(?P<parent>[A-Za-z_][\w.@/-]{0,80})[\"']?\s{0,8}[:=]\s{0,8})?\{|\}"
    r"|(?<![\w.-])[\"']?" + _NAME + r"[\"']?\s{0,8}:\s{0,8}"
    r"(?:\"(?P<double>(?:\\.|[^\"\\])+)\"|'(?P<single>(?:\\.|[^'\\])+)'|(?P<bare>[^\s,{}\[\]\"'$][^,{}\[\]]*))"
)
_NAME_MARKS: Final = re.compile(r"(?i)pass|pwd|pswd|secret|token|key|cred|auth|cookie|bearer|jwt|://|[?&]sig")
_NO_SECRET: Final = _word_set("null none true false yes no on off | |- |+ > >- >+")
_CODE_SUFFIXES: Final = _word_set(
    ".py .pyi .pyx .ipynb .js .jsx .ts .tsx .c .h .cc .cpp .hpp .cu .cuh .rs .go .java .kt .scala .jl .lua .r .m .rb",
    ".swift .md .rst .html .css",
)


def is_credential_name(name: str) -> bool:
    """Whether a key, variable or option of that name holds a credential.

    >>> [is_credential_name(name) for name in ("api_key", "WANDB_API_KEY", "hfToken", "max_tokens", "pad_token")]
    [True, True, True, False, False]
    """
    return _strength(name) > 0


def redact(mapping: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A copy of plain data without credentials.

    Below a key that names a credential every text goes, and numbers too below a password; flags, nothing
    and placeholders (``${oc.env:KEY}``, ``<your key>``) stay. In every other text only what is a credential by
    its form goes: private keys, well-known token formats, passwords in addresses.

    Args:
        mapping: nested dicts, lists and scalars, as ``plain_config`` makes them.

    Returns:
        The copy, and the paths of what was taken out, e.g. ``["db.password", "hooks[0].url"]``.
    """
    found: list[str] = []
    return _redact_mapping(mapping, "", 0, found), found


def redact_argv(argv: Sequence[str]) -> tuple[list[str], list[int]]:
    """Command-line arguments without credentials: ``--api-key=X``, ``--api-key X``, ``+db.password=X``.

    Returns:
        The arguments, and the positions of those that were changed.
    """
    clean: list[str] = []
    changed: list[int] = []
    expects_value = False
    for index, argument in enumerate(argv):
        text = REDACTED if expects_value and not argument.startswith("--") else _redact_argument(argument)
        is_flag = argument.startswith("-") and "=" not in argument
        expects_value = is_flag and not expects_value and is_credential_name(argument.lstrip("-"))
        clean.append(text)
        if text != argument:
            changed.append(index)
    return clean, changed


def redact_text(text: str) -> str:
    """A text without what is a credential by its form, for addresses and messages."""
    if _FORM_MARKS.search(text):
        text = _FORMS.sub(REDACTED, text)
    text = _BEARER.sub(rf"\g<1>{REDACTED}", text)
    text = _ACCOUNT_KEY.sub(rf"\g<1>{REDACTED}", text)
    if "://" in text:
        text = _USER_PASSWORD.sub(rf"\g<1>{REDACTED}", text)
        text = _USER_TOKEN.sub(REDACTED, text)
    return _QUERY.sub(_redact_query, text) if "=" in text else text


def redact_diff(diff: str) -> tuple[str, int]:
    """A unified diff without credentials, line by line, so that its hunks keep their lengths.

    In source code only literals can be credentials (``password = "x"``, not ``password = ask()``); in other
    files (``.env``, YAML, shell) bare values can be too.

    Returns:
        The diff and how many of its lines were changed.
    """
    lines = diff.split("\n")
    changed = 0
    is_code = in_private_key = False
    for index, line in enumerate(lines):
        if line.startswith("diff --git "):
            is_code = PurePosixPath(line.rstrip('"')).suffix.lower() in _CODE_SUFFIXES
        if line.startswith(("diff --git ", "@@ ")):
            in_private_key = False
        if not (in_private_key or _NAME_MARKS.search(line) or _FORM_MARKS.search(line)):
            continue
        if in_private_key:
            clean = line[:1] + REDACTED if line[:1] in ("+", "-", " ") else line
            in_private_key = "-----END " not in line
        else:
            in_private_key = "-----BEGIN " in line and "PRIVATE KEY-----" in line and "-----END " not in line
            clean = _redact_line(line, is_code=is_code)
        changed += clean != line
        lines[index] = clean
    return "\n".join(lines), changed


def _words(name: str) -> list[str]:
    """The words of ``camelCase``, ``snake_case``, ``kebab-case`` and dotted names, without trailing digits."""
    parts = re.split(r"[^a-z0-9]+", _CAMEL.sub("_", name).lower())
    return [part.rstrip("0123456789") or part for part in parts if part]


@functools.lru_cache(maxsize=4096)
def _strength(name: str) -> int:
    """0: no credential. 1: it may be one (``token``, ``auth``). 2: it is one. 3: a password, numbers included."""
    words = _words(name)
    if not words or words[0] in _NOT_ONE or words[-1] in _ABOUT:
        return 0
    if words[-1] in _PASSWORD:
        return 3
    pairs = list(zip(["", *words], words, strict=False))
    if any(_is_strong(before, word) for before, word in pairs):
        return 2
    before, last = pairs[-1]
    if last == "pw":  # a number is no password here: pointwise layers are called so, too
        return 2
    return int(last == "auth" or (last.endswith("token") and before not in _TEXT_TOKEN))


def _strength_below(parent: str, name: str) -> int:
    """How much a name is one of a credential below the path ``parent``: ``key`` below ``wandb`` is."""
    strength = _strength(name)
    words = _words(name)
    if len(words) != 1 or not parent:
        return strength
    above = [word for word in _words(re.sub(r"\[\d+\]", "", parent)) if word not in _NEUTRAL]
    return max(strength, _strength(f"{above[-1]}.{words[0]}")) if above and above[-1] not in _NOT_ONE else strength


def _is_strong(before: str, word: str) -> bool:
    return (
        word in _STRONG
        or word.endswith(_STRONG_ENDINGS)
        or (word in ("key", "keys") and before in _BEFORE_KEY)
        or (word == "pass" and before in _BEFORE_PASS)
        or (word in ("token", "tokens") and before in _BEFORE_TOKENS)
        or (word in ("header", "headers") and before == "auth")
    )


def _shows_nothing(value: str, strength: int) -> bool:
    return bool(_PLACEHOLDER.fullmatch(value) or (strength == 1 and _SPECIAL_TOKEN.fullmatch(value)))


def _redact_mapping(mapping: Mapping[str, Any], path: str, inherited: int, found: list[str]) -> dict[str, Any]:
    clean = {}
    is_login = not _LOGIN.isdisjoint(mapping)
    for key, item in mapping.items():
        strength = max(inherited, _strength_below(path, str(key)), 3 * (is_login and key == "pass"))
        clean[key] = _redact_item(item, f"{path}.{key}" if path else str(key), strength, found)
    return clean


def _redact_item(value: Any, path: str, strength: int, found: list[str]) -> Any:
    if isinstance(value, Mapping):
        return _redact_mapping(value, path, strength if strength > 1 else 0, found)
    if isinstance(value, (list, tuple)):
        return [_redact_item(item, f"{path}[{index}]", strength, found) for index, item in enumerate(value)]
    clean = _redact_scalar(value, strength)
    if clean is not value and clean != value:
        found.append(path)
    return clean


def _redact_scalar(value: Any, strength: int) -> Any:
    if isinstance(value, str):
        hides = bool(strength and value) and not _shows_nothing(value, strength)
        return REDACTED if hides else redact_text(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return REDACTED if is_number and strength > 2 else value  # noqa: PLR2004 - see _strength


def _redact_argument(argument: str) -> str:
    name, equals, value = argument.partition("=")
    plain_name = name.lstrip("-+~")
    if equals and value and re.fullmatch(r"[\w.@/-]+", plain_name) and is_credential_name(plain_name):
        return argument if _PLACEHOLDER.fullmatch(value) else f"{name}={REDACTED}"
    clean = _redact_line(argument, is_code=True)
    return _redact_flow(clean) if "{" in clean else clean


def _redact_flow(argument: str) -> str:
    parents: list[tuple[str, int]] = []

    def redact_one(found: re.Match[str]) -> str:
        above, inherited = parents[-1] if parents else ("", 0)
        if found[0] == "}":
            del parents[-1:]
        elif found["name"] is None:
            name = (found["parent"] or "").lstrip("-+~")
            own = _strength_below(above, name)
            parents.append((name, max(inherited, own if own > 1 else 0)))
        elif parents:
            group = found.lastgroup or "name"
            value = found[group].strip()
            strength = max(inherited, _strength_below(above, found["name"]))
            is_kept = value.lower() in _NO_SECRET or _shows_nothing(value, strength)
            is_count = strength < 3 and re.fullmatch(r"[\d.]+", value)  # noqa: PLR2004 - see _strength
            return _replace(found, group) if strength and not (is_kept or is_count) else found[0]
        return found[0]

    return _FLOW.sub(redact_one, argument)


def _redact_line(line: str, *, is_code: bool) -> str:
    line = _HEADER.sub(rf"\g<1>{REDACTED}", redact_text(line))
    line = _ASSIGNED.sub(_redact_quoted, line)
    return line if is_code else _FLAG.sub(_redact_bare, _BARE.sub(_redact_bare, line))


def _redact_query(found: re.Match[str]) -> str:
    name = found[1]
    hides = name.lower() in _SIGNED or is_credential_name(name)
    return f"{name}={REDACTED}" if hides else found[0]


def _redact_quoted(found: re.Match[str]) -> str:
    group = found.lastgroup or "name"
    value = found[group]
    strength = _strength(found["name"])
    # `token = "the"` is a language model's text; a credential of that name is long and has no spaces
    is_text = strength == 1 and (len(value) < 8 or " " in value)  # noqa: PLR2004 - see the line above
    if not strength or is_text or _shows_nothing(value, strength):
        return found[0]
    return _replace(found, group)


def _redact_bare(found: re.Match[str]) -> str:
    value = found["bare"]
    is_nothing = value.lower() in _NO_SECRET or _PLACEHOLDER.fullmatch(value.partition(" ")[0])
    return found[0] if is_nothing or not is_credential_name(found["name"]) else _replace(found, "bare")


def _replace(found: re.Match[str], group: str) -> str:
    start, end = found.start(group) - found.start(), found.end(group) - found.start()
    return found[0][:start] + REDACTED + found[0][end:]
