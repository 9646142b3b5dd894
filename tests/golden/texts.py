"""Deterministic test strings for the tokenizers: written snippets, and mixtures of fragments drawn from a seed."""

import random

SNIPPETS = [
    "", " ", "  ", "\n", "\t", "\r\n", "\r", "a", "A", "0", ".", "é", "漢", "🙂",
    "Hello, world!", "Hello  world", " leading space", "trailing space ", "\tindented\n", "   \n   \n",
    "I'm sure they'll say it's what we've got, don't you? He'd go. You're right.",
    "I'M SURE THEY'LL SHOUT, DON'T YOU? WE'VE HE'D YOU'RE IT'S", "rock 'n' roll, 'tis, o'clock, l'été, ’twas, it’s",
    "3.14159 and 2,718,281 and 1e-10 and 0xDEADBEEF and 1_000_000 and 007 and 12345678901234567890",
    "½ ¼ ² ³ ⅷ Ⅻ ① ٣٤٥ ४२ 一二三 ៣ 𝟙𝟚𝟛 ₁₂ 1st 2nd 3 rd",
    "The year is 2024; call +49 (0)30 1234-5678 before 08:30:59.",
    "def f(x: int) -> int:\n    \"\"\"Doc.\"\"\"\n    if x <= 0:\n        return 0\n    return x + f(x - 1)\n",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];\t// dot\n}\n",
    "#include <vector>\ntemplate <typename T>\nT&& forward(std::remove_reference_t<T>& t) noexcept { return static_cast<T&&>(t); }\n",
    "SELECT name, COUNT(*) FROM users WHERE age >= 18 AND city <> 'Köln' GROUP BY name HAVING COUNT(*) > 1;",
    "fn main() {\n    let v: Vec<u8> = b\"bytes\".to_vec();\n    println!(\"{:?} {}\", v, v.len());\n}\n",
    "<div class=\"a b\">\n  <p>Text &amp; more</p>\n</div>\n<!-- comment -->",
    "{\"key\": [1, 2.5, true, null], \"nested\": {\"a\\u00e9\": \"\\n\"}}",
    "$ grep -rn 'x' . | awk '{print $1}' >> /dev/null 2>&1 && echo \"done\" || exit 1",
    "https://example.org/path/to?query=1&other=%20#fragment  user@example.com  C:\\dir\\file.txt",
    "Zażółć gęślą jaźń. Příliš žluťoučký kůň. Árvíztűrő tükörfúrógép. İstanbul, ılık, ĞğŞş.",
    "Съешь ещё этих мягких французских булок, да выпей же чаю.", "Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία.",
    "今日は良い天気ですね。明日も晴れるでしょうか?カタカナ ひらがな", "我能吞下玻璃而不伤身体。人工智能,机器学习。",
    "나는 유리를 먹을 수 있어요. 그래도 아프지 않아요", "각 한글 ㄱㄴㄷ",
    "أنا قادر على أكل الزجاج و هذا لا يؤلمني.", "السَّلَامُ عَلَيْكُمْ ٢٠٢٤", "אני יכול לאכול זכוכית", "שָׁלוֹם עֲלֵיכֶם",
    "ฉันกินกระจกได้ แต่มันไม่ทำให้ฉันเจ็บ", "ខ្ញុំអាចញុំកញ្ចក់បាន", "मैं काँच खा सकता हूँ", "আমি কাঁচ খেতে পারি", "நான் கண்ணாடி சாப்பிடுவேன்",
    "e\u0301 vs é, A\u030a vs Å, n\u0303 vs ñ, q\u0323\u0307 vs q\u0307\u0323, u\u0308\u0304", "Z̷̧̛a̸͠l̵g̶o̷ t̴ë̷x̵t", "ﬁ ﬂ Å K Ω ① ﷺ ｆｕｌｌ",
    "\u1100\u1161\u11a8 \uac01 \u0915\u093c \u0958 \u0344 \u2126 \u212b \ufb1d \u0f73 \U0001d15e \u1e9b\u0323",
    "👍🏽 👩‍👩‍👧‍👦 🇩🇪🇫🇷 ❤️ ☺︎ 🏳️‍🌈 1️⃣ 🤷🏻‍♂️ 🫠🫡", "a\u200bb\u200cc\u200dd\ufeffe\u00adf\u2060g",
    "\u00a0non\u00a0breaking\u2003em\u3000ideographic\u2028line\u2029par\u0085nel\u1680ogham\u180emvs",
    "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x13\x14\x16\x1b\x1d\x1f\x7f", "\u0080\u009f\ufffd\uffff\U0001fffe\U0010ffff",
    "\U00040000 \U00080000\U000c0000 \U000f0000x", "\ue000\uf8ff private", "𝒜𝓁𝑔𝑒𝒷𝓇𝒶 𝔉𝔯𝔞𝔨𝔱𝔲𝔯 𐍈𐌰 𒀀𒁀 🀄",
    "ſ ı K's 'ſ I'ſ 'S 'T 'RE 'LL 'Ve x'D", "....!!!???---===***///\\\\\\~~~```", "!\n!\r\n! \n !\t!\n\n\n!", "a\n\n b\n \n  c \t\n\td",
    "x" * 300, "ab" * 200, " " * 127, "\n" * 40, "\t" * 33, "0" * 65, "🙂" * 20, "漢字" * 40, "=" * 80 + "\n", "\u0301" * 12, " \n" * 30,
]

WORDS = (
    "the of and to in is was for that with model token cache latent attention query rotary matrix kernel page stream "
    "Server GPU iPhone camelCase snake_case CONSTANT_NAME x y2 foo() bar[3] baz->qux std::vector __init__ @decorator "
    "#define $HOME %s {} <<= != && || ... -- — – … « » “ ” ‘ ’ ¿ ¡ § © ® ™ € £ ¥ naïve café über straße Ærø Łódź señor "
    "München Kraków Москва Київ Ελλάδα 東京 北京 서울 القاهرة ירושלים กรุงเทพ दिल्ली ঢাকা தமிழ் Հայ ქართ አማርኛ Tiếng Việt 🙂 🚀 👩‍🔬 ✨ ✓ → ∑ √ ∞ "
    "e\u0301 o\u0308 a\u0323\u0302 c\u0327 \u0301 can't won't it's we'll they've I'd I'm you're 'tis 12 345 6789 3.14 1,000 2024-01-31 "
    "0x1F 1e9 50% #1 v2.0.1 ½ ² Ⅳ ٣ \x07 \x1d \u200d \ufeff \ufffd"
).split(" ")

SPACES = [" "] * 12 + ["  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n", "\n ", "\t\t", "      ", "", "", "\u00a0", "\u3000", " \t ", "\n\n\n\n"]

CODE_POINTS = [  # ranges a random character is drawn from
    (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0xEFF),
    (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x2BFF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF),
    (0xFE00, 0xFFFD), (0x10000, 0x103FF), (0x1D100, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6D0), (0x2F800, 0x2FA1D), (0xE0100, 0xE01EF),
]


def strings(count, seed, specials):
    """`count` different strings; `specials` are the model's added tokens, which about a tenth of the strings contain."""
    rng = random.Random(seed)
    result = dict.fromkeys(SNIPPETS)
    for special in specials:
        result.update(dict.fromkeys([special, f"x{special}y", f" {special} ", special[:-1], special.upper()]))
    while len(result) < count:
        kind = rng.random()
        if kind < 0.55:
            text = "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(rng.randint(1, 12)))
        elif kind < 0.7:
            text = "".join(chr(rng.randint(*rng.choice(CODE_POINTS))) for _ in range(rng.randint(1, 12)))
        elif kind < 0.8:
            start, end = rng.choice(CODE_POINTS)
            text = "".join(chr(rng.randint(start, end)) for _ in range(rng.randint(2, 16)))
        elif kind < 0.9:
            text = "".join(rng.choice(" \t\n\r'.,!0123456789aZ_") for _ in range(rng.randint(2, 30)))
        else:
            parts = [rng.choice(WORDS + list(specials) * 8) + rng.choice(SPACES) for _ in range(rng.randint(2, 8))]
            text = "".join(parts)
        result[text] = None
    return list(result)[:count]


def broken_utf8(count, seed):
    """Byte strings that are not UTF-8: cut characters, stray continuations, overlong forms, surrogates, past U+10FFFF."""
    rng = random.Random(seed)
    result = dict.fromkeys([
        b"\x80", b"\xbf\xbf", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x99", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf",
        b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xff\xfe", b"a\xffb",
        b"ok \xe2\x28\xa1 end", b"\xe2\x82\xac\xe2\x82", b"\xf0\x9fab", b"\xc3(", b"\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64",
    ])
    while len(result) < count:
        data = bytearray("".join(rng.choice(WORDS) + " " for _ in range(rng.randint(1, 4))).encode())
        for _ in range(rng.randint(1, 4)):
            where = rng.randrange(len(data))
            if rng.random() < 0.5:
                data[where] = rng.randint(0x80, 0xFF)
            else:
                del data[where]
                data = data or bytearray(b"\xc3")
        try:
            data.decode()
        except UnicodeDecodeError:
            result[bytes(data)] = None
    return list(result)
