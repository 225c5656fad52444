import polars as pl
from feast import Field
from feast.protos.feast.types.Value_pb2 import RepeatedValue
from feast.types import Float64, Int64, String
from hypothesis import given
from hypothesis import strategies as st

from watchline.feature_store.messages import rows_as_messages, value_of

FIELDS = [Field(name="a", dtype=Int64), Field(name="b", dtype=Float64), Field(name="c", dtype=String)]
SCHEMA = {"a": pl.Int64, "b": pl.Float64, "c": pl.String}
ROWS = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=True),
    st.none() | st.text(st.characters(codec="utf-8"), max_size=5),
)


@given(st.lists(ROWS, max_size=20))
def test_every_row_is_what_protobuf_makes_of_its_values(rows):
    expected = [
        RepeatedValue(val=[value_of(value, field.dtype) for value, field in zip(row, FIELDS)]).SerializeToString()
        for row in rows
    ]
    assert rows_as_messages(pl.DataFrame(rows, SCHEMA, orient="row"), FIELDS) == expected
