"""The commands of `saetrack`, one module each; they import what is slow only when they run."""
