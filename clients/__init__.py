"""Programs that use the recognizer, to run or to copy. None of them loads torch."""
