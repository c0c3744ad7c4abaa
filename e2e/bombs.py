"""Small bodies that inflate to more than a receiver may take, one for each Content-Encoding, put together by hand from the formats'
descriptions: none of them needs a library.

Must never hold what it inflates to: a bomb is written, not compressed.
"""

import gzip
import zlib

# zstd's largest block, snappy's largest chunk in the framed format, and the largest block of lz4 frames.
ZSTD_BLOCK_BYTES, SNAPPY_CHUNK_BYTES, LZ4_BLOCK_BYTES = 128 << 10, 64 << 10, 4 << 20
# A run of one byte: snappy copies up to 64 bytes at a time (format description, section 2.2).
SNAPPY_COPY_BYTES = 64


def _zstd(size_bytes):
    """RFC 8878 section 3.1.1: a frame of RLE blocks, with a window of one block."""
    blocks = -(-size_bytes // ZSTD_BLOCK_BYTES)
    header = lambda is_last: (ZSTD_BLOCK_BYTES << 3 | 1 << 1 | is_last).to_bytes(3, "little")
    body = (header(False) + b"a") * (blocks - 1) + header(True) + b"a"
    return b"\x28\xb5\x2f\xfd" + bytes([0x00, (17 - 10) << 3]) + body


def _varint(value):
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _snappy_block(size_bytes):
    """The length, one literal, then copies of it: tag 2 is a copy with an offset of two bytes."""
    copies, rest = divmod(size_bytes - 1, SNAPPY_COPY_BYTES)
    copy = lambda length: bytes([(length - 1) << 2 | 2]) + (1).to_bytes(2, "little")
    return _varint(size_bytes) + b"\x00a" + copy(SNAPPY_COPY_BYTES) * copies + (copy(rest) if rest else b"")


def _crc32c(data):
    # RFC 3720 section 12.1: the Castagnoli polynomial, reflected.
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _snappy_framed(size_bytes):
    """Framing format: a stream identifier, then chunks with a masked checksum of what they inflate to (section 3)."""
    crc = _crc32c(b"a" * SNAPPY_CHUNK_BYTES)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    content = masked.to_bytes(4, "little") + _snappy_block(SNAPPY_CHUNK_BYTES)
    chunk = b"\x00" + len(content).to_bytes(3, "little") + content
    return b"\xff\x06\x00\x00sNaPpY" + chunk * -(-size_bytes // SNAPPY_CHUNK_BYTES)


def _lz4(size_bytes):
    """A frame of independent blocks of 4 MiB without checksums, each one literal, a long match, and the five literals that a block
    ends with (LZ4 block format, section "End of block conditions")."""
    match = LZ4_BLOCK_BYTES - 1 - 5
    many, rest = divmod(match - 4 - 15, 255)
    block = b"\x1fa" + (1).to_bytes(2, "little") + b"\xff" * many + bytes([rest]) + b"\x50aaaaa"
    blocks = (len(block).to_bytes(4, "little") + block) * -(-size_bytes // LZ4_BLOCK_BYTES)
    return b"\x04\x22\x4d\x18\x60\x70\x73" + blocks + bytes(4)


def all_of(size_bytes):
    """Content-Encoding -> a body that inflates to at least so many bytes."""
    zeros = bytes(size_bytes)
    return {
        "gzip": gzip.compress(zeros),
        "zlib": zlib.compress(zeros),
        "deflate": zlib.compress(zeros),
        "zstd": _zstd(size_bytes),
        "snappy": _snappy_block(size_bytes),
        "x-snappy-framed": _snappy_framed(size_bytes),
        "lz4": _lz4(size_bytes),
    }
