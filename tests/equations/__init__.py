"""The methods' equations, one file a paper: computed by hand on tiny batches, or by finite differences."""
