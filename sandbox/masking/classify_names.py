"""What a field's name says about what is in it: English, Chinese and some others."""

from __future__ import annotations

import re

# Kind, words of scripts with spaces, words of those without. The first that matches wins.
_WORDS: tuple[tuple[str, str, str], ...] = (
    ("email",
     r"e_?mails?|mail|mail_address|correo|youxiang",
     "邮箱|郵箱|电邮|電郵|电子邮件|電子郵件|メール|이메일"),
    ("mac",
     r"mac(_addr(ess)?)?",
     ""),
    ("ip",
     r"ips?|ip_?addr(ess)?|remote_addr|remote_host",
     "ip地址|이피"),
    ("token",
     r"(access|refresh|auth|api|session|csrf|bearer)?_?tokens?|secrets?|pass_?w(or)?d|pwd|"
     r"passphrase|api_?keys?|access_?keys?|private_?keys?|secret_?keys?|key_hash|session_?id|"
     r"cookies?|authorization|credentials?|otp|cvv|cvc|pin_?code|salt|mima|contrasena|"
     r"passwort|kennwort",
     "密码|密碼|口令|密钥|密鑰|令牌|金鑰|パスワード|비밀번호"),
    ("card",
     r"(credit_?|bank_?|debit_?)card(_?(no|number|num))?|card_?(no|number|num)|pan|iban|"
     r"(bank_?)?account_?(no|number|num)",
     "银行卡号|銀行卡號|卡号|卡號|银行账[号户]|口座番号|계좌번호"),
    ("identity",
     r"ssn|social_security(_\w+)?|passport(_?(no|number))?|id_?card(_?(no|number))?|"
     r"national_?id|identity_?(no|number)|tax_?(id|number)|vat_?(id|number)|"
     r"driver_?licen[cs]e(_\w+)?|shenfenzheng",
     "身份证|身分證|证件号码|護照|护照|マイナンバー|주민등록번호"),
    ("birthday",
     r"birth_?days?|birth_?dates?|date_of_birth|dob|born(_(on|at))?|shengri|"
     r"geburts(tag|datum)|fecha_(de_)?nacimiento",
     "生日|出生日期|出生年月|生年月日|생일"),
    ("phone",
     r"(tele|mobile_?|cell_?|home_?|work_?)?phones?(_?(no|number))?|mobiles?(_?(no|number))?|"
     r"cell(_?(no|number))?|tel|fax(_?(no|number))?|msisdn|whatsapp|shouji|dianhua|"
     r"telefon[o]?|handynummer",
     "电话|電話|手机|手機|联系方式|携帯|전화번호|휴대폰"),
    ("geo",
     r"lat|latitude|lon|lng|longitude|geo|geo_?(point|location|json)|coords?|coordinates?|gps",
     "经度|緯度|纬度|經度|经纬度|座標|坐标|위도|경도"),
    ("username",
     r"user_?names?|logins?|login_?names?|nick_?names?|nicks?|handles?|screen_?names?|"
     r"account_?names?|yonghuming|nicheng",
     "用户名|用戶名|登录名|昵称|暱稱|ユーザー名|아이디"),
    ("filename",
     r"(original_?)?file_?names?|original_?names?",
     "文件名|檔名|ファイル名"),
    ("path",
     r"(\w+_)?paths?|dir(ectory)?|folders?",
     "路径|路徑|パス"),
    ("url",
     r"urls?|uris?|links?|hrefs?|home_?pages?|web_?sites?",
     "网址|網址|链接|連結"),
    ("person",
     r"(full|first|last|given|family|middle|maiden|display|real|legal)_?names?|sur_?names?|"
     r"(owner|speaker|author|person|contact|customer|client|patient|user|member|employee|recipient|sender|receiver|recogni[sz]ed|reviewer|uploader|actor|creator|artist|host|guest|student|teacher|driver|applicant|payee|payer|buyer|seller|holder)_?names?|"
     r"alias(es)?|speakers?|authors?|mentions|person|xingming|lianxiren|nombres?|apellidos?|"
     r"vor_?name|nach_?name|prenom",
     "姓名|名字|真实姓名|真實姓名|联系人|聯絡人|收件人|寄件人|负责人|氏名|名前|이름|성명"),
    ("postcode",
     r"post_?codes?|postal_?codes?|zip(_?codes?)?|plz",
     "邮编|郵遞區號|邮政编码|郵便番号"),
    ("city",
     r"city|cities|towns?|suburb|municipality|chengshi|ciudad|stadt|ville",
     "城市|市区|市町村|도시"),
    ("street",
     r"streets?|"
     r"(home_|work_|postal_|mail_?ing_|shipping_|billing_|street_)?address(es)?(_?line)?(_?[12])?|"
     r"addr|dizhi|direccion|strasse|adresse",
     "地址|住址|住所|街道|주소"),
    ("company",
     r"compan(y|ies)|employers?|organi[sz]ations?|org_name",
     "公司|单位名称|会社|회사"),
    ("vector",
     r"embeddings?|vectors?|centroids?|face_?(vector|encoding|descriptor)s?",
     "特征向量"),
    ("text",
     r"(\w+_)?texts?|titles?|descriptions?|notes?|comments?|messages?|contents?|body|summary|"
     r"remarks?|reasons?|query|queries|labels?|bio|captions?|subject|transcripts?|feedback",
     "标题|標題|描述|备注|備註|内容|內容|留言|摘要|说明|評論|评论|本文|内容物|メモ|제목|내용|"
     "메모"),
)  # fmt: skip
_KINDS = tuple(
    (kind, re.compile(rf"(?:^|_)(?:{latin})(?:_|$)" + (f"|(?:{others})" if others else "")))
    for kind, latin, others in _WORDS
)
# What is a name at the end, and says only what kind of thing the place holds.
_SAFE = re.compile(
    r"(?:^|_)(?:ids?|uuids?|guids?|types?|kinds?|status|states?|digests?|checksums?|sha\d+|md5|etags?|"
    r"mime|mime_type|language|lang|locale|currency|model|versions?|counts?|sizes?|bytes|width|height|"
    r"lengths?|limits?|scores?|formats?|flags?|seconds|rows|enabled|verified|at|on|编号|類型|类型|状态|狀態|数量)$"
)
_PEOPLE = re.compile(
    r"(?:^|_)(?:owners?|users?|persons?|people|speakers?|authors?|contacts?|customers?|clients?|members?|"
    r"employees?|reviewers?|uploader|actors?|creators?|made_by|identit(?:y|ies)|patients?|students?|"
    r"用户|用戶|客户|客戶|员工|員工|会员|联系人|作者)(?:_|$)"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_OTHER = re.compile(r"[^\w]+|\s+")


def plain(name: str) -> str:
    """`ownerEmail`, `Owner-Email` -> owner_email."""
    return _OTHER.sub("_", _CAMEL.sub("_", name)).strip("_").lower()


def by_name(name: str) -> str:
    """What the name says: a kind, "name" for a name of someone or something, "safe", or ""."""
    text = plain(name)
    safe = _SAFE.search(text)
    for kind, pattern in _KINDS:
        found = pattern.search(text)
        # `email_type` and `phone_id` say what stands at their end; `tax_id` is one word.
        if found and not (safe and safe.start() >= found.end() - 1):
            return kind
    if safe:
        return "safe"
    return "name" if text == "name" or text.endswith("_name") or text == "姓" else ""


def about_people(names: tuple[str, ...]) -> bool:
    """Whether what leads to a place speaks of people: `owner.name`, `users[].name`."""
    return any(_PEOPLE.search(plain(name)) for name in names)
