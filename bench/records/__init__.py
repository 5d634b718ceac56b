"""What evaluated cells have given: the lines that boards keep."""
