"""Rows of a frame as Feast's value messages, made column by column.

Serialised messages put one after the other are the message with all their values (protobuf's merge of repeated fields),
so a row is the join of pieces, and the piece of a value is made once for all rows that have it.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from feast import Field
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.types import FeastType, Float64, Int64, String

FIELD_OF: dict[FeastType, str] = {Int64: "int64_val", Float64: "double_val", String: "string_val"}


def value_of(value: object, dtype: FeastType) -> Value:
    """Feast's message of one value; of None the empty one."""
    return Value() if value is None else Value(**{FIELD_OF[dtype]: value})  # type: ignore[arg-type]


def rows_as_messages(frame: pl.DataFrame, features: Sequence[Field]) -> list[bytes]:
    """A serialised RepeatedValue of the features, in their order, for each row."""
    columns = [_pieces(frame[feature.name], feature.dtype) for feature in features]
    return [b"".join(pieces) for pieces in zip(*columns)]


def _pieces(column: pl.Series, dtype: FeastType) -> list[bytes]:
    if dtype == Float64:
        return _pieces_of_floats(column)
    piece_of = {value: _piece(value, dtype) for value in column.unique()}
    return [piece_of[value] for value in column]


def _pieces_of_floats(column: pl.Series) -> list[bytes]:
    """Floats are of one length and rarely repeat: only their eight bytes differ."""
    head, null = _piece(1.0, Float64)[:-8], _piece(None, Float64)
    data = column.fill_null(0.0).to_numpy().astype("<f8").tobytes()
    return [
        null if is_null else head + data[8 * place : 8 * place + 8]
        for place, is_null in enumerate(column.is_null().to_list())
    ]


def _piece(value: object, dtype: FeastType) -> bytes:
    return RepeatedValue(val=[value_of(value, dtype)]).SerializeToString()
