"""The options of `exec`: one table, which the command line is read by and the help is made of."""
