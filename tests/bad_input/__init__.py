"""Bad input, one file for each reader: a sentence that says what to do, never a traceback, never silence."""
