"""One run at a time becomes many: on this machine, on Ray, on Slurm; compare and reproduce ask it."""
