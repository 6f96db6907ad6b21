"""A module that cannot be imported, for the tests of preloading."""

raise SystemExit("this module ends the process")
