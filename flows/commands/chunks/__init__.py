"""The command `chunks`: how one file is read and cut, shown before a run does it."""
