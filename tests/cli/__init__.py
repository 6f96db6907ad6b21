"""The command line as a user meets it: words in, words and an exit code out."""
