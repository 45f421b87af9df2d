"""Parses the tables of a JPEG file and finds those its scans use. Decodes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from spark_src.images.containers import MalformedContainer

HUFFMAN, ARITHMETIC_CONDITIONING, QUANTISATION, RESTART_INTERVAL = 0xC4, 0xCC, 0xDB, 0xDD
TABLES = frozenset({HUFFMAN, ARITHMETIC_CONDITIONING, QUANTISATION, RESTART_INTERVAL})
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
DC, AC = 0, 1
_LONGEST_KNOWN = 1024

# The Huffman tables of ITU-T T.81, annex K.3, which most encoders use unchanged. They contain every
# symbol, used or not. Class, counts of codes of 1 to 16 bits, symbols.
_LUMINANCE_AC = bytes.fromhex(
    "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a"
    "25262728292a3435363738393a434445464748494a535455565758595a636465666768696a73747576777879"
    "7a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9"
    "cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"
)
_CHROMINANCE_AC = bytes.fromhex(
    "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f117"
    "18191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778"
    "797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7"
    "c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"
)
_STANDARD = frozenset(
    {
        (DC, bytes.fromhex("00010501010101010100000000000000") + bytes(range(12))),
        (DC, bytes.fromhex("00030101010101010101010000000000") + bytes(range(12))),
        (AC, bytes.fromhex("0002010303020403050504040000017d") + _LUMINANCE_AC),
        (AC, bytes.fromhex("00020102040403040705040400010277") + _CHROMINANCE_AC),
    }
)


@dataclass(frozen=True, eq=False)
class Table:
    """One table of a segment that may hold several."""

    marker: int
    key: tuple[int, int]
    """Table class and number; (0, 0) for kinds that have only one table."""
    payload: bytes

    @cached_property
    def segment(self) -> bytes:
        """The table as a segment."""
        return bytes((0xFF, self.marker)) + (len(self.payload) + 2).to_bytes(2) + self.payload

    @staticmethod
    def join(tables: Sequence[Table]) -> Table:
        """Several tables of the same kind as one payload."""
        if len(tables) == 1:
            return tables[0]
        payload = b"".join(table.payload for table in tables)
        return Table(tables[0].marker, tables[0].key, payload)


@dataclass
class TableUsage:
    """Tracks table definitions through a file, as a decoder does, and records those used."""

    used: set[Table] = field(default_factory=set)
    _current: dict[tuple[int, int, int], Table] = field(default_factory=dict)
    _frame: int | None = None
    _quantisation: dict[int, int] = field(default_factory=dict)
    """Component -> table number, for components without a scan so far."""
    _components: frozenset[int] = frozenset()

    def define(self, tables: Sequence[Table]) -> None:
        """Register tables that apply to the following scans."""
        self._current.update({(table.marker, *table.key): table for table in tables})

    def begin_frame(self, marker: int, payload: bytes) -> None:
        """Read the components and their quantisation tables from the frame header."""
        if self._frame is not None:
            raise MalformedContainer("the JPEG has two frame headers")
        if len(payload) < 6 or len(payload) != 6 + 3 * payload[5]:
            raise MalformedContainer("the JPEG frame header has a wrong length")
        self._frame = marker
        self._quantisation = dict(zip(payload[6::3], payload[8::3], strict=True))
        self._components = frozenset(self._quantisation)

    def begin_scan(self, payload: bytes) -> None:
        """Read a scan header and mark the tables that its components refer to."""
        if self._frame is None:
            raise MalformedContainer("the JPEG has a scan before its frame header")
        if len(payload) < 4 or len(payload) != 4 + 2 * payload[0]:
            raise MalformedContainer("the JPEG scan header has a wrong length")
        first, _, bits = payload[-3:]
        coding = ARITHMETIC_CONDITIONING if self._frame in ARITHMETIC else HUFFMAN
        is_progressive = self._frame in PROGRESSIVE
        self._use(RESTART_INTERVAL, 0, 0)
        for component, numbers in _pairs(payload):
            if component not in self._components:
                raise MalformedContainer(
                    "a JPEG scan refers to a component that is not in the frame header"
                )
            if component in self._quantisation:  # latched with the component's first scan
                self._use(QUANTISATION, 0, self._quantisation.pop(component))
            if not is_progressive or (first == 0 and not bits >> 4):
                self._use(coding, DC, numbers >> 4)
            if not is_progressive or first:
                self._use(coding, AC, numbers & 15)

    def _use(self, marker: int, table_class: int, number: int) -> None:
        table = self._current.get((marker, table_class, number))
        if table is not None:
            self.used.add(table)


def _pairs(payload: bytes) -> list[tuple[int, int]]:
    return list(zip(payload[1:-3:2], payload[2:-3:2], strict=True))


def parse_tables(marker: int, payload: bytes) -> Sequence[Table]:
    """The tables of a segment; raises MalformedContainer if its length is wrong."""
    # Most pictures share the same tables. Long segments, which may be hostile, are not cached.
    return (_parse_known if len(payload) <= _LONGEST_KNOWN else _parse)(marker, payload)


@lru_cache(maxsize=256)
def _parse_known(marker: int, payload: bytes) -> Sequence[Table]:
    return _parse(marker, payload)


def _parse(marker: int, payload: bytes) -> Sequence[Table]:
    if marker == RESTART_INTERVAL:
        if len(payload) != 2:
            raise MalformedContainer("the JPEG's restart interval has a wrong length")
        return [Table(marker, (0, 0), payload)]
    parse: Callable[[bytes, int], int] = {
        HUFFMAN: _huffman_end,
        QUANTISATION: _quantisation_end,
        ARITHMETIC_CONDITIONING: _conditioning_end,
    }[marker]
    tables, start = [], 0
    while start < len(payload):
        end = parse(payload, start)
        if end > len(payload):
            raise MalformedContainer(f"a table of the JPEG segment FF {marker:02X} is too short")
        table_class, number = divmod(payload[start], 16)
        if table_class > 1 or number > 3:
            raise MalformedContainer(
                f"the JPEG segment FF {marker:02X} has an invalid table number"
            )
        key = (0, number) if marker == QUANTISATION else (table_class, number)
        table = payload[start:end]
        tables.append(Table(marker, key, _short(table) if marker == QUANTISATION else table))
        start = end
    return tables


def _conditioning_end(_: bytes, start: int) -> int:
    return start + 2


def _huffman_end(payload: bytes, start: int) -> int:
    return start + 17 + sum(payload[start + 1 : start + 17])


def _quantisation_end(payload: bytes, start: int) -> int:
    return start + 1 + (128 if payload[start] >> 4 else 64)


def _short(table: bytes) -> bytes:
    """A 16-bit quantisation table in 8 bits if its values fit."""
    if table[0] >> 4 == 1 and not any(table[1::2]):
        return bytes((table[0] & 15,)) + table[2::2]
    return table


@lru_cache(maxsize=256)
def has_plain_symbols(table: Table) -> bool:
    """Whether a Huffman table is a standard one or looks optimised for the picture.

    Encoders that optimise tables list each symbol once, in ascending order among codes of the same
    length. The symbol order of any other table could carry hidden data.
    """
    counts, symbols = table.payload[1:17], table.payload[17:]
    if (table.key[0], counts + symbols) in _STANDARD:
        return True
    if len(set(symbols)) != len(symbols):
        return False
    start = 0
    for count in counts:
        group = symbols[start : start + count]
        if list(group) != sorted(group):
            return False
        start += count
    return True
