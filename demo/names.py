"""What the demo's people are called and where they live, by locale; names with their Latin form."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Locale:
    """`families` and `givens` are written `native/Latin`, or `Latin` alone. `template`: the full
    name's order. `cities` are written `name/latitude/longitude`; `street` has a house number."""

    code: str
    language: str  # of what its people say: zh, ja or en
    template: str
    families: tuple[str, ...]
    givens: tuple[str, ...]
    cities: tuple[str, ...]
    roads: tuple[str, ...]
    street: str
    phone: str  # {a} and {b} are digits made from the person's number


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TAIWAN = Locale(
    code="tw",
    language="zh",
    template="{family}{given}",
    families=_words(
        "陳/Chen 林/Lin 黃/Huang 張/Zhang 吳/Wu 劉/Liu 蔡/Tsai 歐陽/Ouyang 許/Hsu 鄭/Cheng"
    ),
    givens=_words(
        "志明/Zhiming 淑芬/Shufen 雅婷/Yating 家豪/Jiahao 怡君/Yijun 冠宇/Guanyu 美玲/Meiling "
        "俊傑/Junjie 詩涵/Shihan 承恩/Chengen 宜蓁/Yizhen 柏翰/Bohan"
    ),
    cities=("臺北市/25.0330/121.5654", "高雄市/22.6273/120.3014", "臺南市/22.9999/120.2269"),
    roads=_words("忠孝東路 民生路 中山北路 復興南路 和平西路"),
    street="{road}{number}號",
    phone="+886 9{a:02d} {b:06d}",
)
CHINA = Locale(
    code="cn",
    language="zh",
    template="{family}{given}",
    families=_words("王/Wang 李/Li 赵/Zhao 孙/Sun 周/Zhou 徐/Xu 马/Ma 司马/Sima 郭/Guo 罗/Luo"),
    givens=_words(
        "小明/Xiaoming 建国/Jianguo 秀英/Xiuying 晓燕/Xiaoyan 子轩/Zixuan 梓涵/Zihan 浩然/Haoran "
        "雨桐/Yutong 思远/Siyuan 静怡/Jingyi 文博/Wenbo 丽娜/Lina"
    ),
    cities=("北京市/39.9042/116.4074", "上海市/31.2304/121.4737", "成都市/30.5728/104.0668"),
    roads=_words("人民路 建设大道 长安街 解放路 南京西路"),
    street="{road}{number}号",
    phone="+86 19{a:02d}{b:07d}",
)
ENGLISH = Locale(
    code="en",
    language="en",
    template="{given} {family}",
    families=_words(
        "Smith Johnson O'Brien Taylor Walker Hughes Bennett Whitfield Carter Lovelace Hawthorne "
        "Fitzgerald McAllister Smith-Jones"
    ),
    givens=_words(
        "Alice Benjamin Charlotte Daniel Eleanor Frederick Georgia Henry Isabella Jonathan "
        "Katherine Theodore Victoria William Abigail"
    ),
    cities=("Portland/45.5152/-122.6784", "Bristol/51.4545/-2.5879", "Melbourne/-37.81/144.96"),
    roads=("Maple Street", "Station Road", "Church Lane", "Victoria Avenue", "Mill Close"),
    street="{number} {road}",
    phone="+1 {a} 555 {b:04d}",
)
JAPAN = Locale(
    code="jp",
    language="ja",
    template="{family}{given}",
    families=_words(
        "佐藤/Sato 鈴木/Suzuki 高橋/Takahashi 渡辺/Watanabe 小林/Kobayashi 山口/Yamaguchi"
    ),
    givens=_words(
        "美咲/Misaki 大輔/Daisuke さくら/Sakura 健太/Kenta 結衣/Yui 翔太/Shota 陽菜/Hina"
    ),
    cities=("京都市/35.0116/135.7681", "札幌市/43.0618/141.3545"),
    roads=_words("本町 桜通り 中央一丁目"),
    street="{road}{number}番地",
    phone="+81 90 {a:04d} {b:04d}",
)
KOREA = Locale(
    code="kr",
    language="en",
    template="{family}{given}",
    families=_words("김/Kim 이/Lee 박/Park 최/Choi 정/Jung"),
    givens=_words("민준/Minjun 서연/Seoyeon 지훈/Jihoon 하은/Haeun 도윤/Doyun 수빈/Subin"),
    cities=("부산광역시/35.1796/129.0756", "서울특별시/37.5665/126.9780"),
    roads=_words("세종대로 해운대로 테헤란로"),
    street="{road} {number}",
    phone="+82 10 {a:04d} {b:04d}",
)
EUROPE = Locale(
    code="eu",
    language="en",
    template="{given} {family}",
    families=_words(
        "Müller/Muller Łukasiewicz/Lukasiewicz Núñez/Nunez Françoise/Francoise Åkesson/Akesson "
        "Žižek/Zizek Grønbech/Gronbech"
    ),
    givens=_words(
        "Zoë/Zoe José/Jose Jürgen/Jurgen Chloé/Chloe Søren/Soren Ágnes/Agnes Łucja/Lucja"
    ),
    cities=("Kraków/50.0647/19.9450", "Zürich/47.3769/8.5417", "Málaga/36.7213/-4.4213"),
    roads=_words("Bahnhofstraße Calle-Mayor Długa Storgatan"),
    street="{road} {number}",
    phone="+49 1512 {a:03d}{b:04d}",
)
RUSSIA = Locale(
    code="ru",
    language="en",
    template="{given} {family}",
    families=_words("Иванова/Ivanova Петрова/Petrova Соколова/Sokolova Орлова/Orlova"),
    givens=_words("Ольга/Olga Мария/Maria Екатерина/Ekaterina Светлана/Svetlana"),
    cities=("Казань/55.7961/49.1064", "Самара/53.1959/50.1002"),
    roads=("Садовая улица", "Лесная улица"),
    street="{road}, {number}",
    phone="+7 9{a:02d} 0{b:04d}",
)
GREECE = Locale(
    code="gr",
    language="en",
    template="{given} {family}",
    families=_words("Παπαδοπούλου/Papadopoulou Κωστή/Kosti Γεωργίου/Georgiou"),
    givens=_words("Ελένη/Eleni Σοφία/Sofia Μαρία/Maria"),
    cities=("Πάτρα/38.2466/21.7346", "Βόλος/39.3622/22.9422"),
    roads=_words("Ερμού Αθηνάς"),
    street="{road} {number}",
    phone="+30 69{a:02d} 0{b:04d}",
)
INDIA = Locale(
    code="in",
    language="en",
    template="{given} {family}",
    families=_words("शर्मा/Sharma गुप्ता/Gupta वर्मा/Verma"),
    givens=_words("प्रिया/Priya राहुल/Rahul अनन्या/Ananya"),
    cities=("पुणे/18.5204/73.8567", "जयपुर/26.9124/75.7873"),
    roads=("गांधी मार्ग", "स्टेशन रोड"),
    street="{number}, {road}",
    phone="+91 9{a:02d}00 0{b:04d}",
)

# How often each is drawn: a person's number picks the place.
_COMMON = (TAIWAN, CHINA, ENGLISH, CHINA, JAPAN, ENGLISH, TAIWAN, KOREA, EUROPE)
LOCALES = (*_COMMON, RUSSIA, *_COMMON, GREECE, *_COMMON, INDIA)
