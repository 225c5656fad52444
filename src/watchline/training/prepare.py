"""Tables to encoded rows before a fit: once, by the first process, into memory-mapped files that all of them read."""

from __future__ import annotations

from watchline.data.columns import Columns
from watchline.data.encoding import EncodedTable, Table, TableEncoder, TableEncoderConfig
from watchline.models.base import FitContext
from watchline.training.distributed import raise_together


def encode_tables(
    train: Table, valid: Table, columns: Columns, config: TableEncoderConfig, context: FitContext, label_per: str = ""
) -> tuple[TableEncoder, EncodedTable, EncodedTable]:
    """The encoder fitted on `train`, and both tables encoded: in `context.run_dir` if there is one, else in memory.

    `label_per` names a column that labels are divided by, if any.
    Raises ValueError or KeyError for tables without rows or columns, on every process.
    """
    if context.run_dir is None:
        encoder = TableEncoder.fit(train, columns, config, label_per)
        return encoder, encoder.transform(train.lazy().collect()), encoder.transform(valid.lazy().collect())
    directory, failure = context.run_dir / "columns", None
    if context.processes.is_first:
        try:
            encoder = TableEncoder.fit(train, columns, config, label_per)
            encoder.save(directory)
            for name, table in (("train", train), ("valid", valid)):
                encoder.write(table, directory / name)
        except Exception as error:
            failure = error
    raise_together(failure, context.processes.device)
    return TableEncoder.load(directory), EncodedTable.open(directory / "train"), EncodedTable.open(directory / "valid")
