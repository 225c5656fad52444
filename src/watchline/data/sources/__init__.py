"""Sources of exposure logs: one file each, behind the contract of base.py."""
