"""Compiled loops that look through texts for known values and for what is shaped like an address or
a number: what `known.Index.find_in` and `strategies.texts.shaped` find, without Python's lock.

A text with decimal digits of other scripts is told as hard and left to Python, and so are IPv6
addresses: both are rare, and regular expressions say them better.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from sandbox.compiling import allocating, compiled
from sandbox.masking.known import GRAM
from sandbox.masking.loops.kernels import Array
from sandbox.masking.prints import COARSE
from sandbox.masking.tokens import EVERY, LAST, LONGEST_GAP, UNSPACED, decimals, tables_of

# Numbers of one type: of each literal that is given to a loop the compiler would make one more.
ZERO = np.int64(0)
KNOWN, FIGURES, EMAIL, PHONE, IP = (np.int64(one) for one in range(5))  # what a candidate is
EASY, HARD, COLONS = range(3)  # what a text is; COLONS: there may be IPv6 addresses
LOCAL = 256  # characters before an `@`
NUL, ONE = np.uint64(0), np.uint64(1)
KIND, DECIMAL = 3, 4  # of a code point: its kind in `tokens`, and whether it is a foreign digit
_LOCALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+'-"
# Classes of characters in ASCII, as bits.
DIGIT, HEXADECIMAL, LETTER, IN_LOCAL, IN_HOST = (np.int64(1 << bit) for bit in range(5))
IN_PHONE, IN_BRACED, IN_PLAIN = (np.int64(1 << bit) for bit in range(5, 8))  # behind +, ( and 0
JOINED, TELLING = (np.int64(1 << bit) for bit in range(8, 10))  # no address or number begins behind
DIGIT_OR_LETTER = DIGIT | LETTER
LAST_CODE = np.uint32(LAST)
FOUR, SIX, TWELVE, SEVENTEEN = (np.int64(count) for count in (4, 6, 12, 17))


def _classes() -> Array:
    made = np.zeros(128, dtype=np.uint16)
    for code in range(128):
        char = chr(code)
        made[code] = (
            DIGIT * char.isdecimal()
            | HEXADECIMAL * (char in "0123456789abcdefABCDEF")
            | LETTER * char.isalpha()
            | IN_LOCAL * (char in _LOCALS)
            | IN_HOST * (char.isalnum() or char == "-")
            | IN_PHONE * (char in "0123456789 ().-")
            | IN_BRACED * (char in "0123456789 .-")
            | IN_PLAIN * (char in "0123456789 -")
            | JOINED * (char.isalnum() or char in ".:")
            | TELLING * (char in "0123456789:@+(")
        )
    return made


CLASSES = _classes()


@cache
def tables() -> tuple[Array, Array]:
    """The key of each code point, and its kind with DECIMAL."""
    keys, kinds = tables_of(EVERY)
    foreign = decimals().copy()
    foreign[:128] = False
    return keys, kinds | foreign.astype(np.uint8) * np.uint8(DECIMAL)


@compiled
def decoded(
    data: Array, starts: Array, ends: Array, codes: Array, places: Array, begins: Array
) -> None:
    """The characters of texts in UTF-8, as of `tokens.coded`, and where each begins in the bytes.
    `begins`: where each text begins in the characters, and the end of the last."""
    count = 0
    for text in range(len(starts)):
        begins[text] = count
        at = starts[text]
        while at < ends[text]:
            places[count] = at
            lead = np.uint32(data[at])
            size = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            code = lead if size == 1 else lead & (0xFF >> (size + 1))
            for k in range(at + 1, at + size):
                code = code << 6 | data[k] & 0x3F
            codes[count] = min(code, LAST_CODE)
            at += size
            count += 1
    begins[len(starts)] = count


@compiled
def _mixed(total: Any) -> Any:
    total = (total ^ (total >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    return total ^ (total >> np.uint64(29))


@compiled
def _characters(codes: Array, start: int, end: int, keys: Array, base: Any) -> Any:
    """See `tokens.characters`."""
    total, power = np.uint64(0), np.uint64(1)
    for at in range(start, end):
        total += keys[codes[at]] * power
        power *= base
    return _mixed(total)


@compiled
def _shift(words: Array) -> Any:
    """What is left of a fingerprint that tells a word of a filter."""
    shift = np.uint64(64)
    size = len(words)
    while size > 1:
        size >>= 1
        shift -= np.uint64(1)
    return shift


@compiled
def _one_bit(words: Array, coarse: Array, shift: Any, print_: Any) -> Any:
    """Whether it may be in a `prints.Bits` of one bit."""
    bit = np.uint64(1) << (print_ & np.uint64(63))
    place = np.int64(print_ >> shift)
    return coarse[place // COARSE] & bit != NUL and words[place] & bit != NUL


@compiled
def _three_bits(words: Array, shift: Any, print_: Any) -> Any:
    """Whether it may be in a `prints.Bits` of three bits in one word; one of no words has all."""
    if len(words) == 0:
        return True
    one, low = np.uint64(1), np.uint64(63)
    bits = one << (print_ & low)
    bits |= one << ((print_ >> np.uint64(6)) & low)
    bits |= one << ((print_ >> np.uint64(12)) & low)
    return words[np.int64(print_ >> shift)] & bits == bits


@compiled
def _is(codes: Array, at: int, end: int, classes: Array, wanted: Any) -> bool:
    return at < end and codes[at] < 128 and classes[codes[at]] & wanted != 0


@compiled
def _email(codes: Array, begin: int, at: int, end: int, classes: Array) -> tuple[int, int]:
    """Of an `@` at `at`: where the address starts and ends, or an empty one."""
    stop = at + 1
    while _is(codes, stop, end, classes, IN_HOST):
        stop += 1
    labels = 0
    while (
        stop > at + 1
        and stop < end
        and codes[stop] == 46
        and _is(codes, stop + 1, end, classes, IN_HOST)
    ):
        stop += 2
        labels += 1
        while _is(codes, stop, end, classes, IN_HOST):
            stop += 1
    start = at
    while start > begin and at - start < LOCAL and _is(codes, start - 1, at, classes, IN_LOCAL):
        start -= 1
    return (start, stop) if labels and start < at else (at, at)


@compiled
def _figures_to(
    codes: Array, at: int, end: int, classes: Array, wanted: Any, low: Any, high: Any
) -> int:
    """Where so many characters of a class, `low` to `high`, and one more digit end; the longest. 0
    for none."""
    most = 0
    while most < high and _is(codes, at + most, end, classes, wanted):
        most += 1
    while most >= low:
        if _is(codes, at + most, end, classes, DIGIT):
            return at + most + 1
        most -= 1
    return 0


@compiled
def _phone(codes: Array, begin: int, at: int, end: int, classes: Array) -> int:
    """Where a telephone number ends that begins here, or 0."""
    code = codes[at]
    if code == 43:
        if not _is(codes, at + 1, end, classes, DIGIT):
            return 0
        return _figures_to(codes, at + 2, end, classes, IN_PHONE, SIX, SEVENTEEN)
    digits = at + 1
    while _is(codes, digits, end, classes, DIGIT):
        digits += 1
    count = digits - at - 1
    if code == 40:
        if not 2 <= count <= 4 or digits >= end or codes[digits] != 41:
            return 0
        digits += 1
        if digits < end and codes[digits] == 32:
            digits += 1
        if not _is(codes, digits, end, classes, DIGIT):
            return 0
        return _figures_to(codes, digits + 1, end, classes, IN_BRACED, FOUR, TWELVE)
    before = np.uint32(0) if at == begin else codes[at - 1]
    if before == 46 or before == 58 or before == 45:
        return 0
    if at > begin and _is(codes, at - 1, end, classes, DIGIT_OR_LETTER):
        return 0
    if not 1 <= count <= 4 or digits >= end or (codes[digits] != 32 and codes[digits] != 45):
        return 0
    if not _is(codes, digits + 1, end, classes, DIGIT):
        return 0
    return _figures_to(codes, digits + 2, end, classes, IN_PLAIN, FOUR, TWELVE)


@compiled
def _starts_alone(codes: Array, begin: int, at: int, end: int, classes: Array) -> bool:
    """Whether no letter or digit, full stop or colon stands before."""
    if at == begin:
        return True
    before = codes[at - 1]
    return not (before == 46 or before == 58 or _is(codes, at - 1, end, classes, DIGIT_OR_LETTER))


@compiled
def _ipv4(codes: Array, begin: int, at: int, end: int, classes: Array) -> tuple[int, bool]:
    """Where four numbers with full stops between end (0: there are none), and whether each fits."""
    if not _starts_alone(codes, begin, at, end, classes):
        return 0, False
    fits = True
    for part in range(4):
        value: Any = 0
        size = 0
        while size < 3 and _is(codes, at, end, classes, DIGIT):
            value = value * 10 + np.int64(codes[at]) - 48
            at += 1
            size += 1
        if not size:
            return 0, False
        fits = fits and value < 256
        if part < 3:
            if at >= end or codes[at] != 46:
                return 0, False
            at += 1
    if _is(codes, at, end, classes, DIGIT_OR_LETTER):
        return 0, False
    if at < end and codes[at] == 46 and _is(codes, at + 1, end, classes, DIGIT):
        return 0, False
    return at, fits


@compiled
def _may_be_ipv6(codes: Array, begin: int, at: int, end: int, classes: Array) -> bool:
    """Whether a group before the colon here begins an address, and one more has a colon behind."""
    start = at
    while start > begin and at - start < 4 and _is(codes, start - 1, at, classes, HEXADECIMAL):
        start -= 1
    if start == at or not _starts_alone(codes, begin, start, end, classes):
        return False
    stop = at + 1
    while stop - at <= 4 and _is(codes, stop, end, classes, HEXADECIMAL):
        stop += 1
    return stop > at + 1 and stop < end and codes[stop] == 58


@compiled
def _may_begin(code: Any, before: Any) -> bool:
    """Whether a character of class TELLING tells something, by the class of the one before it."""
    if code == 58:
        return bool(before & HEXADECIMAL)
    return bool(code == 64 or code < 48 or not before & JOINED)


@compiled
def _put(found: Array, prints: Array, held: Any, text: int, start: Any, end: Any, what: Any) -> Any:
    """One more is held; -1 when there is no room, or was none."""
    if held < 0 or held == len(found):
        return -1
    found[held, 0], found[held, 1], found[held, 2], found[held, 3] = text, start, end, what
    for number in range(3):
        prints[held, number] = NUL
    return held + 1


@allocating
def candidates(
    codes: Array, begins: Array, keys: Array, kinds: Array, classes: Array,
    base: Any, firsts: Array, coarse_firsts: Array, counts: Array, grams: Array,
    coarse_grams: Array, sizes: Array, known: Array, states: Array, found: Array, prints: Array
) -> Any:  # fmt: skip
    """What may be a known value, and what has the shape of one, text by text. How many; -1 when
    `found` is full.

    `begins`: where each text begins, and the end of the last. `keys`, `kinds`: by code point, see
    `tables`. `firsts` to `known`: see `known.Filters`. `states`: by text, told. `found`: (text,
    start, end, what); `prints`: the value's fingerprint, for FIGURES then as it is written, from
    there and from one character before.
    """
    first_shift, gram_shift, known_shift = _shift(firsts), _shift(grams), _shift(known)
    longest = 0
    for text in range(len(begins) - 1):
        longest = max(longest, begins[text + 1] - begins[text])
    starts, ends = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    words = np.empty(longest + 1, np.uint64)
    spot = np.empty(longest + 1, np.int64)
    kind, key = np.zeros(longest + 3, np.uint8), np.empty(longest + 3, np.uint64)
    most = counts[-1] if len(counts) else 0
    held: Any = ZERO
    for text in range(len(begins) - 1):
        begin, end = begins[text], begins[text + 1]
        states[text] = EASY
        # --- words
        total = 0
        phones = ips = begin
        unspaced = False
        spots = 0
        last, before = np.uint8(0), ZERO
        sum_, power = NUL, ONE
        for at in range(begin, end):
            code = codes[at]
            here = kinds[code]
            class_ = np.int64(classes[code]) if code < 128 else ZERO
            if class_ & TELLING and _may_begin(code, before):
                spot[spots] = at
                spots += 1
            before = class_
            if here != last:
                if last:
                    ends[total], words[total] = at, _mixed(sum_)
                    total += 1
                starts[total], sum_, power, last = at, NUL, ONE, here
                unspaced = unspaced or here == UNSPACED
                if here & DECIMAL:
                    states[text] = HARD
                    break
            sum_ += keys[code] * power
            power *= base
        if states[text] == HARD:
            continue
        if last:
            ends[total], words[total] = end, _mixed(sum_)
            total += 1
        # --- sequences of words
        for one in range(total):
            if most == 0 or not _one_bit(firsts, coarse_firsts, first_shift, words[one]):
                continue
            sequence, power = np.uint64(0), np.uint64(1)
            number = 0
            figures = True
            for other in range(one, min(one + most, total)):
                if other > one:
                    if starts[other] - ends[other - 1] > LONGEST_GAP:
                        break
                    apart = False
                    for k in range(ends[other - 1], starts[other]):
                        apart = apart or codes[k] < 32 or codes[k] == 127
                    if apart:
                        break
                sequence += words[other] * power
                power *= base
                if figures:
                    for k in range(starts[other], ends[other]):
                        figures = figures and 48 <= codes[k] <= 57
                if counts[number] != other - one + 1:
                    continue
                number += 1
                if not _three_bits(known, known_shift, sequence):
                    continue
                first, last = starts[one], ends[other]
                plus = np.int64(first > begin and codes[first - 1] == 43)
                what = FIGURES if figures else KNOWN
                held = _put(found, prints, held, text, first - plus, last, what)
                if held < 0:
                    return -1
                prints[held - 1, 0] = sequence
                if figures:
                    earlier = first - 1 if first > begin else first
                    prints[held - 1, 1] = _characters(codes, first, last, keys, base)
                    prints[held - 1, 2] = _characters(codes, earlier, last, keys, base)
        # --- values in running text
        if unspaced and len(sizes):
            for at in range(begin, end):
                code = codes[at]
                kind[at - begin], key[at - begin] = kinds[code], keys[code]
            kind[end - begin : end - begin + 3] = 0
            for at in range(begin, end - 1):
                place = at - begin
                if kind[place] == 0:
                    continue
                near = kind[place] == UNSPACED or kind[place + 1] == UNSPACED
                if not near and kind[place + 2] != UNSPACED:
                    continue
                if sizes[0] >= GRAM:  # most places end here
                    sum_ = key[place] + key[place + 1] * base + key[place + 2] * base * base
                    if not _one_bit(grams, coarse_grams, gram_shift, _mixed(sum_)):
                        continue
                sum_, power = NUL, ONE
                number = 0
                for size in range(1, min(sizes[-1], end - at) + 1):
                    sum_ += key[place + size - 1] * power
                    power *= base
                    if size != GRAM and (number == len(sizes) or sizes[number] != size):
                        continue
                    print_ = _mixed(sum_)
                    if size == GRAM and not _one_bit(grams, coarse_grams, gram_shift, print_):
                        break
                    if number == len(sizes) or sizes[number] != size:
                        continue
                    number += 1
                    if size < GRAM and not _one_bit(grams, coarse_grams, gram_shift, print_):
                        continue
                    if not _three_bits(known, known_shift, print_):
                        continue
                    held = _put(found, prints, held, text, at, at + size, KNOWN)
                    if held < 0:
                        return -1
                    prints[held - 1, 0] = print_
        # --- what has a shape
        for number in range(spots):
            at = spot[number]
            code = codes[at]
            if code == 64:
                start, stop = _email(codes, begin, at, end, classes)
                if stop > start:
                    held = _put(found, prints, held, text, start, stop, EMAIL)
            elif code == 58:
                if states[text] == EASY and _may_be_ipv6(codes, begin, at, end, classes):
                    states[text] = COLONS
            else:
                if code <= 48 and at >= phones:
                    stop = _phone(codes, begin, at, end, classes)
                    if stop:
                        phones = stop
                        held = _put(found, prints, held, text, at, stop, PHONE)
                if code >= 48 and at >= ips:
                    stop, fits = _ipv4(codes, begin, at, end, classes)
                    ips = max(ips, stop)
                    if fits:
                        held = _put(found, prints, held, text, at, stop, IP)
            if held < 0:
                return -1
    return held


@allocating
def apart(found: Array, kept: Array) -> int:
    """`known.apart` of each text: the places of what stays into `kept`, in the order of the text;
    how many. `found`: (text, start, end, ...), texts ascending."""
    count = 0
    first = 0
    order = np.empty(len(found), np.int64)
    while first < len(found):
        last = first
        while last < len(found) and found[last, 0] == found[first, 0]:
            place = last  # an insertion sort, as there are few: by start, the longer first
            while place > first:
                other = order[place - 1]
                later = found[other, 1] > found[last, 1]
                same = found[other, 1] == found[last, 1]
                if not (later or (same and found[other, 2] < found[last, 2])):
                    break
                order[place] = other
                place -= 1
            order[place] = last
            last += 1
        begun = count
        for place in range(first, last):
            one = order[place]
            if count == begun or found[one, 1] >= found[kept[count - 1], 2]:
                kept[count] = one
                count += 1
            else:
                former = kept[count - 1]
                if found[one, 2] - found[one, 1] > found[former, 2] - found[former, 1]:
                    kept[count - 1] = one
        first = last
    return count


@compiled
def marked(prints: Array, keys: Array, marks: Array, begins: Array, found: Array) -> None:
    """The marks of each in one level of `prints.Prints` are added to what is found."""
    shift = _shift(begins[:-1])
    for one in range(len(prints)):
        upper = np.int64(prints[one] >> shift)
        for place in range(begins[upper], begins[upper + 1]):
            if keys[place] == prints[one]:
                found[one] |= marks[place]
