"""The published benchmarks (`waystation bench …`): real processes on this machine, each figure beside another."""
