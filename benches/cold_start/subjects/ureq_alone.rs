//! Nothing: what `--builds` times are the dependencies.
