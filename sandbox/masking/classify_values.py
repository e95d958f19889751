"""What values look like: e-mail addresses, telephones, IPs, cards, secrets, names, prose."""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import phonenumbers
from stdnum import iban, luhn
from stdnum.cn import ric
from stdnum.exceptions import ValidationError

from sandbox.masking.words import lists, script_of

EMAIL = re.compile(r"[^\s@<>,;:/\"']+@[^\s@<>,;:/\"']+\.[^\s@<>,;:/\"'.]{2,}")
URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s]+", re.IGNORECASE)
CREDENTIALS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s/@]+@", re.IGNORECASE)
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
MAC = re.compile(r"(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}", re.IGNORECASE)
SECRET = re.compile(
    r"(?:gh[pousr]_\w{30,}|github_pat_\w{20,}|glpat-[\w-]{20,}|sk-[\w-]{20,}|sk_(?:live|test)_\w{16,}|"
    r"xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|eyJ[\w-]+\.eyJ[\w-]+\.[\w-]*|"
    r"\$2[aby]\$\d\d\$[./\w]{53}|\$argon2\w+\$.+|-----BEGIN [A-Z ]*PRIVATE KEY-----.*)",
    re.DOTALL,
)
OPAQUE = re.compile(r"(?:[0-9a-f]{24,}|[A-Za-z0-9_+/=-]{24,})")
PHONE = re.compile(r"\+?[\d(][\d\s().\-/]{6,22}\d")
DIGITS = re.compile(r"\d[\d -]{10,22}\d")
PATH = re.compile(r"(?:/|[\w.~%-]+/)(?:[^/\s][^/\n]*/)*[^/\n]+", re.UNICODE)
MIME = re.compile(r"(?:application|audio|font|image|message|model|multipart|text|video)/[\w.+-]+")
DATE = re.compile(r"\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?")
CODE = re.compile(r"[\w.:+-]*", re.ASCII)
REGIONS = ("CN", "TW", "US", "JP", "KR", "GB", "DE", "FR")
SURNAMES = frozenset(
    "王李张張刘劉陈陳杨楊黄黃赵趙吴吳周徐孙孫马馬朱胡郭何林高罗羅郑鄭梁谢謝宋唐许許邓鄧冯馮韩韓曹曾彭萧蕭蔡潘田董"
    "袁于余叶葉蒋蔣杜苏蘇魏程吕呂丁沈任姚卢盧傅钟鐘姜崔谭譚廖范汪陆陸金石戴贾賈韦韋夏邱方侯邹鄒熊孟秦白江阎薛尹段雷"
    "黎史龙龍陶贺賀顾顧毛郝龚龔邵万萬钱錢严嚴武戚莫孔向常温康施文牛樊葛邢安齐齊易乔喬伍庞龐颜顏倪庄莊聂聶章鲁魯岳翟"
)


def _email(text: str) -> bool:
    return EMAIL.fullmatch(text) is not None


def _ip(text: str) -> bool:
    if not ("." in text or "::" in text or text.count(":") > 3):
        return False
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return True


def _phone(text: str) -> bool:
    """International numbers that are possible, national ones that are valid where they are used."""
    if not PHONE.fullmatch(text) or DATE.match(text) or _ip(text):
        return False
    digits = sum(map(str.isdigit, text))
    if not 7 <= digits <= 17:
        return False
    if text.startswith(("+", "00")):
        return digits >= 8
    separated = not text.isdigit()
    for region in REGIONS if separated else REGIONS[:2]:
        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number) and (separated or digits in (10, 11)):
            return True
    return False


def _card(text: str) -> bool:
    if DIGITS.fullmatch(text):
        digits = re.sub(r"[ -]", "", text)
        return 13 <= len(digits) <= 19 and luhn.is_valid(digits) and len(set(digits)) > 1
    return text[:2].isalpha() and len(text) < 42 and iban.is_valid(text)


def _identity(text: str) -> bool:
    try:
        return len(text) == 18 and bool(ric.validate(text))
    except ValidationError:
        return False


def _entropy(text: str) -> float:
    """Bits a character."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def _opaque(text: str) -> bool:
    """Random characters: a secret, a digest or an identifier."""
    if not OPAQUE.fullmatch(text) or UUID.fullmatch(text):
        return False
    mixed = any(map(str.isdigit, text)) and any(map(str.isalpha, text))
    return mixed and _entropy(text) > 3.0 and "/" not in text.strip("/")


def person_shaped(text: str) -> bool:
    """Two to four names, or a Chinese, Japanese or Korean full name."""
    script = script_of(text)
    if script == "han":
        bare = text.replace("·", "").replace(" ", "")
        return 2 <= len(bare) <= 4 and all("\u4e00" <= c <= "\u9fff" for c in bare) and (
            bare[0] in SURNAMES or bare[0] in _family_names()
        )  # fmt: skip
    if script == "hangul":
        return 2 <= len(text) <= 4 and all("\uac00" <= c <= "\ud7a3" for c in text)
    if script == "kana":
        return 3 <= len(text) <= 12 and not any(c in "。、をはがにで" for c in text)
    parts = text.split()
    if not 2 <= len(parts) <= 5 or len(text) > 60 or any(c in text for c in '/@:;!?"\\[]{}<>|='):
        return False
    return all(part.strip("-.'’‘").replace("-", "").replace("'", "").replace("’", "")
               .replace(".", "").isalpha() for part in parts) and (
        sum(part[:1].isupper() or not part[:1].isascii() for part in parts) >= len(parts) - 1
    )  # fmt: skip


def _family_names() -> frozenset[str]:
    return frozenset(word[0] for word in lists()["last", "han"])


def is_prose(text: str) -> bool:
    if script_of(text) in ("han", "kana", "hangul"):
        return len(text) > 6
    return (len(text) > 24 and text.count(" ") >= 3) or text.count(" ") >= 5


def _path(text: str) -> bool:
    return (
        "/" in text and "://" not in text and not MIME.fullmatch(text)
        and not DATE.match(text) and PATH.fullmatch(text) is not None
    )  # fmt: skip


SHAPES: dict[str, Callable[[str], bool]] = {
    "credentials": lambda text: CREDENTIALS.match(text) is not None,
    "email": _email,
    "ip": _ip,
    "mac": lambda text: MAC.fullmatch(text) is not None,
    "identity": _identity,
    "card": _card,
    "secret": lambda text: SECRET.fullmatch(text) is not None,
    "phone": _phone,
    "url": lambda text: URL.fullmatch(text) is not None,
    "path": _path,
    "opaque": _opaque,
    "date": lambda text: DATE.match(text) is not None,
    "person": person_shaped,
    "prose": is_prose,
}
INSIDE = re.compile(
    f"{EMAIL.pattern}|\\+\\d[\\d ().-]{{7,}}\\d|\\b(?:\\d{{1,3}}\\.){{3}}\\d{{1,3}}\\b"
)


def shares(values: Sequence[str]) -> dict[str, float]:
    """Of these values, which part has each shape (0 to 1); `inside`: something personal within."""
    texts = [text.strip() for text in values if text.strip()]
    if not texts:
        return {}
    found = {shape: sum(map(test, texts)) / len(texts) for shape, test in SHAPES.items()}
    found["inside"] = sum(INSIDE.search(text) is not None for text in texts) / len(texts)
    return found
