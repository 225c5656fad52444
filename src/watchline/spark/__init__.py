"""Row rules and daily statistics past one machine: Spark moves the rows, the line's own definitions judge them."""
