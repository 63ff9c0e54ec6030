"""Token codes as people write and print them, and what the scanners of a site can send.

A reader compares codes byte by byte, so a code counts only in the form in which a scanner sends
it. Here is the one place that knows these forms. Pure: texts in, texts out. Nothing is guessed:
`normalize` changes what can mean only one thing, `convert` what a person declared, and what a
spreadsheet or another keyboard damaged is refused. `warning` tells of a code that no scanner of
the site sends.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import NamedTuple

from kalitka_hub.errors import InvalidRequest

_CARDS = {"wiegand26": 3, "wiegand34": 4, "uid4": 4, "uid7": 7, "em4100": 5}  # bytes of a code
_QR, _PIN = "qr", "pin"
# What scanners send, by the name with which a site declares it.
PRESETS = {
    **{name: f"{2 * size} hexadecimal digits in capitals" for name, size in _CARDS.items()},
    _QR: "the text of a QR code",
    _PIN: "up to 12 decimal digits",
}
DECIMAL8, DECIMAL10, FC_NUMBER, HEX = "decimal8", "decimal10", "fc-number", "hex"
# The forms of numbers printed on cards, by the name with which a person declares one.
PRINTED = {
    DECIMAL8: "a decimal number of up to 8 digits, 24 bits",
    DECIMAL10: "a decimal number of up to 10 digits, 32 bits",
    FC_NUMBER: "facility code and number, such as 077,30211 or 77:30211 or 77 30211",
    HEX: "hexadecimal digits",
}
_BYTES = {DECIMAL8: 3, DECIMAL10: 4, FC_NUMBER: 3}  # unless a scanner says otherwise

_HEX = re.compile(r"[0-9A-Fa-f]+")
# Two bytes could also be a facility code and a number, or a label such as AB-12.
_SPACED = re.compile(r"[0-9A-Fa-f]{2}([:\- ])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2})+")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_BY_PHONE = re.compile(r"(?:sbj|phn)-[A-Z0-9]{12}")  # no scanner is involved
_PIN_DIGITS = re.compile(r"[0-9]{1,12}")
_DIGITS = re.compile(r"[0-9]+")
_FC = re.compile(r"([0-9]{1,5})\s*[,:; ]\s*([0-9]{1,5})")
# What a GM60 puts before a code: the AIM identifier of its kind (]Q1), its own name, or, bytes on
# the serial line, 03 and the length.
_GM60 = re.compile(r"\][A-Za-z][0-9A-Za-z]|GM6[05](?:-S)?\s*:\s*")
_GM60_FRAME = "\x03"

_EXPONENT = re.compile(
    r"[+-]?[0-9]+(?:[.,][0-9]*\s?E\s?[+-]?[0-9]+|\s?E\s?[+-][0-9]+)", re.IGNORECASE
)
_FRACTION = re.compile(r"[0-9]+[.,]0+")
_FORMULA = re.compile(r'=?"([0-9A-Za-z]+)"')
_SHEET_ERROR = re.compile(r"#{2,}|#(?:N/A|REF!|NAME\?|VALUE!|NUM!|NULL!|DIV/0!)")
_APOSTROPHE = re.compile(
    r"['`\u00b4\u02bc\u2018\u2019\u201b\u2032\uff07]+([0-9A-Fa-f][0-9A-Fa-f :.,\-]*)"
)
_ALIKE = str.maketrans(
    "АВЕКМНОРСТУХЅІЈԚԜаеосрухѕіјԁһԛԝкмтвнЗзбОоΑΒΕΖΗΙΚΜΝΟΡΤΥΧαοορινκυχϲ",
    "ABEKMHOPCTYXSIJQWaeocpyxsijdhqwkmtbh336OoABEZHIKMNOPTYXaoopivkuxc",
)
# Characters without a width that are none of Unicode's format characters (Cf).
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]"
)
_SHOWN = 60  # characters shown of a text that is refused


class Printed(NamedTuple):
    """How the numbers on cards are printed: a form of PRINTED.

    reverse: the scanner sends the bytes in the other order. scanner: the preset that decides the
    number of bytes; None: of the site's those with the fewest that hold the form's, if it has any.
    """

    form: str
    reverse: bool = False
    scanner: str | None = None


def parse_scanners(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of PRESETS, in their order, each once. Raises InvalidRequest."""
    given = [name.strip().lower() for text in names for name in text.split(",") if name.strip()]
    for name in given:
        if name not in PRESETS:
            raise InvalidRequest(
                f"{name[:40]!r} is not known as what a scanner sends: choose among "
                f"{', '.join(PRESETS)}"
            )
    return tuple(name for name in PRESETS if name in given)


def normalize(text: str, scanners: Collection[str] = ()) -> str:
    """Return a code as a scanner sends it, as far as that is certain; else the code as it is.

    Certain are: capitals of the hexadecimal digits of a card, no `:`, `-` or blank between its
    bytes, no dashes and small letters in a printed uuid, nothing that a GM60 puts before a code.
    scanners: the presets of the site; () if it has not declared any. Raises InvalidRequest for a
    code that a spreadsheet damaged, and for characters that only look like others, or like none.
    """
    code = _without_gm60(text)
    _check_damage(code)
    if _UUID.fullmatch(code):
        return code.replace("-", "").lower()
    sizes = {_CARDS[name] for name in scanners or _CARDS if name in _CARDS}
    if sizes and _SPACED.fullmatch(code):
        return re.sub(r"[:\- ]", "", code).upper()
    if _HEX.fullmatch(code) and len(code) in {2 * size for size in sizes}:
        return code.upper()
    return code


def can_send(code: str, scanners: Collection[str]) -> bool:
    """Return whether one of these presets sends this code, byte for byte."""
    if _QR in scanners or _BY_PHONE.fullmatch(code):
        return True
    if _PIN in scanners and _PIN_DIGITS.fullmatch(code):
        return True
    return _is_card(code, {_CARDS[name] for name in scanners if name in _CARDS})


def warning(code: str, scanners: Collection[str], whose: str = "this site") -> str | None:
    """Return why no scanner sends this code, and what was probably meant; None if one does.

    scanners: the presets that were declared; () if none were: then only a code that `normalize`
    would change or refuse is certain never to be sent. whose: whose scanners these are.
    """
    if not scanners:
        return _certain_warning(code)
    if can_send(code, scanners):
        return None
    sent = ", ".join(f"{name} ({PRESETS[name]})" for name in scanners)
    meant = _meant(code, scanners)
    hint = f"; did you mean {meant}?" if meant else ""
    if _FC.fullmatch(code) or (_DIGITS.fullmatch(code) and len(code) > 6):
        hint += "; if that is printed on the card, declare its form with --printed"
    return f"no scanner of {whose} can send {code!r}: they send {sent}{hint}"


def convert(text: str, printed: Printed, scanners: Collection[str] = ()) -> str:
    """Return the code that a scanner sends for a number printed on a card. Raises InvalidRequest.

    scanners: the presets of the site, see Printed.
    """
    if printed.form not in PRINTED:
        raise InvalidRequest(
            f"{printed.form[:40]!r} is not a printed form: choose among {', '.join(PRINTED)}"
        )
    text = text.strip()
    if printed.form != FC_NUMBER or not _FC.fullmatch(text):  # 77,00000 is no fraction
        _check_damage(text)
    if printed.form == HEX:
        code = normalize(text)
        if not _HEX.fullmatch(code) or len(code) % 2:
            raise InvalidRequest(f"{text[:_SHOWN]!r} is not bytes in hexadecimal digits")
        return _reversed(code.upper()) if printed.reverse else code.upper()
    size = _size(printed, scanners)
    number = _number(text, printed.form, size)
    if number >> 8 * size:
        raise InvalidRequest(
            f"{text[:_SHOWN]} is more than {size} bytes hold ({(1 << 8 * size) - 1}): check the "
            "number, or name a scanner that sends more, such as --scanner "
            f"{'em4100' if size > 3 else 'wiegand34'}"
        )
    code = f"{number:0{2 * size}X}"
    return _reversed(code) if printed.reverse else code


def looks_printed(text: str) -> bool:
    """Return whether a text is a facility code and a number, as printed on cards."""
    return bool(_FC.fullmatch(text.strip()))


def _without_gm60(text: str) -> str:
    if text.startswith(_GM60_FRAME):
        for head in (2, 3):  # a length of one byte or of two, the high one first
            length = int.from_bytes(text[1:head].encode("latin-1", "replace"), "big")
            rest = text[head:].rstrip("\r\n")
            if length and length in (len(rest), len(text) - head):
                return rest
    match = _GM60.match(text)
    return text[match.end() :] if match and match.end() < len(text) else text


def _check_damage(code: str) -> None:
    shown = code[:_SHOWN]
    if code != code.strip(" "):
        raise InvalidRequest(f"{shown!r} has blanks around a code: remove them")
    if _EXPONENT.fullmatch(code):
        raise InvalidRequest(
            f"{shown!r} is what a spreadsheet makes of a code, and its last digits are lost: "
            "take the code from its source, and format the column as text"
        )
    if _FRACTION.fullmatch(code):
        raise InvalidRequest(
            f"{shown!r} is a spreadsheet's number, not a code, and may have lost zeros in front: "
            "take the code from its source, and format the column as text"
        )
    if _SHEET_ERROR.fullmatch(code):
        raise InvalidRequest(
            f"{shown!r} is a spreadsheet's sign for a value that it cannot show: take the code "
            "from its source"
        )
    match = _FORMULA.fullmatch(code)
    if match:
        raise InvalidRequest(
            f"{shown!r} has the quotes with which a spreadsheet keeps text: write {match[1]}"
        )
    for char in code:
        if char != " " and _is_invisible(char):
            raise InvalidRequest(
                f"{shown!a} has a character that nobody sees, {_name(char)}: remove it"
            )
    plain = "".join(map(_look, code))
    if plain != code and plain.isascii() and (_has_ascii(code) or _HEX.fullmatch(plain)):
        char = next(char for char in code if _look(char) != char)
        raise InvalidRequest(
            f"{shown!r} has {_name(char)}, which only looks like {_look(char)}: write "
            f"{plain[:_SHOWN]}"
        )
    match = _APOSTROPHE.fullmatch(code)
    if match:
        raise InvalidRequest(
            f"{shown!r} begins with an apostrophe, with which a spreadsheet marks text: write "
            f"{match[1]}"
        )


def _has_ascii(code: str) -> bool:
    return any(char.isascii() and char.isalnum() for char in code)


def _look(char: str) -> str:
    """Return the ASCII letter or digit that a character looks like; else the character."""
    if char.isascii():
        return char
    same = char.translate(_ALIKE)
    if same != char:
        return same
    digit = unicodedata.digit(char, None)
    if digit is not None:
        return str(digit)
    plain = unicodedata.normalize("NFKC", char)
    return plain if len(plain) == 1 and plain.isascii() else char


def _is_invisible(char: str) -> bool:
    category = unicodedata.category(char)
    # Tags and the further variation selectors lie beyond the first plane.
    return category in ("Cf", "Zs", "Zl", "Zp") or bool(
        _INVISIBLE.match(char) or 0xE0000 <= ord(char) < 0xE1000
    )


def _name(char: str) -> str:
    return f"{unicodedata.name(char, 'a character')} (U+{ord(char):04X})"


def _is_card(code: str, sizes: Collection[int]) -> bool:
    return len(code) in {2 * size for size in sizes} and bool(re.fullmatch("[0-9A-F]+", code))


def _certain_warning(code: str) -> str | None:
    try:
        sent = normalize(code)
    except InvalidRequest as fault:
        return f"no scanner can send this code: {fault}"
    if sent == code:
        return None
    return f"no card scanner can send {code!r}: did you mean {sent}?"


def _meant(code: str, scanners: Collection[str]) -> str | None:
    try:
        code = normalize(code, scanners)
    except InvalidRequest:
        code = "".join(_look(char) for char in code if not _is_invisible(char))
    if _FC.fullmatch(code):
        return None
    plain = re.sub("^0[xX]", "", code)
    plain = re.sub("[^0-9A-Za-z]", "", plain).upper()
    sizes = sorted(_CARDS[name] for name in scanners if name in _CARDS)
    for digits in (plain, plain.translate(str.maketrans("OIL", "011"))):
        if not _HEX.fullmatch(digits):
            continue
        for size in sizes:
            # A spreadsheet takes zeros in front away. Too many zeros are a decimal number's.
            missing = 2 * size - len(digits)
            if missing in (0, 1, 2) or (missing == -2 and not _DIGITS.fullmatch(digits)):
                short = digits.removeprefix("00") if missing < 0 else digits.zfill(2 * size)
                if len(short) == 2 * size:
                    return short
    if _PIN in scanners and _PIN_DIGITS.fullmatch(plain):
        return plain
    return None


def _size(printed: Printed, scanners: Collection[str]) -> int:
    if printed.scanner is not None:
        if printed.scanner not in _CARDS:
            raise InvalidRequest(
                f"{printed.scanner[:40]!r} is not known as a scanner of cards: choose among "
                f"{', '.join(_CARDS)}"
            )
        return _CARDS[printed.scanner]
    sizes = {_CARDS[name] for name in scanners if name in _CARDS}
    enough = [size for size in sizes if size >= _BYTES[printed.form]]
    return min(enough) if enough else max(sizes, default=_BYTES[printed.form])


def _number(text: str, form: str, size: int) -> int:
    if form == FC_NUMBER:
        match = _FC.fullmatch(text)
        facility, number = map(int, match.groups()) if match else (0, 1 << 16)
        if number >> 16 or facility >> (8 if size == 3 else 16):
            raise InvalidRequest(
                f"{text[:_SHOWN]!r} is not a facility code and a number: write them like "
                "077,30211, the first up to 255 (up to 65535 in 34 bits), the second up to 65535"
            )
        return facility << 16 | number
    most = 8 if form == DECIMAL8 else 10
    if not _DIGITS.fullmatch(text) or len(text.lstrip("0")) > most:
        raise InvalidRequest(f"{text[:_SHOWN]!r} is not a decimal number of up to {most} digits")
    return int(text)


def _reversed(code: str) -> str:
    return bytes.fromhex(code)[::-1].hex().upper()
